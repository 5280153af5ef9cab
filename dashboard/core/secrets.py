"""Encrypt what must be kept secret at rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from cryptography.fernet import Fernet, MultiFernet
from flask import Flask, current_app
from pydantic import SecretStr


def init_app(app: Flask, keys: Sequence[SecretStr]) -> None:
    """Use `keys`, newest first: the first encrypts, each may decrypt."""
    app.extensions["secrets"] = MultiFernet([Fernet(key.get_secret_value()) for key in keys])


def encrypt(text: str) -> bytes:
    """Return `text` as a token that only our keys open."""
    return _box().encrypt(text.encode())


def decrypt(token: bytes) -> SecretStr:
    """Return what the token holds. Raises cryptography.fernet.InvalidToken if no key in use made `token`."""
    return SecretStr(_box().decrypt(token).decode())


def _box() -> MultiFernet:
    return cast(MultiFernet, current_app.extensions["secrets"])
