"""Encrypt what must be kept secret at rest."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

from flask import Flask, current_app
from pydantic import SecretStr

from dashboard.core.errors import StationmasterError


class UnreadableSecret(StationmasterError):
    """No key in use opens this secret; perhaps ENCRYPTION_KEYS lost the key that it was kept with."""


def init_app(app: Flask, keys: Sequence[SecretStr]) -> None:
    """Use `keys`, newest first: the first encrypts, each may decrypt."""
    app.extensions["secrets"] = _Box(keys)


def encrypt(text: str) -> bytes:
    """Return `text` as a token that only our keys open."""
    return _box().close(text)


def decrypt(token: bytes) -> SecretStr:
    """Return what the token holds. Raises UnreadableSecret if no key in use made `token`."""
    return SecretStr(_box().open(token))


def renew(token: bytes) -> bytes:
    """Return a token that the newest key opens for what this one holds: the same if it does so already.

    Raises UnreadableSecret if no key in use made `token`.
    """
    return _box().renew(token)


class _Box:
    """Our keys, and what opens and closes secrets with them."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self.keys = keys

    @cached_property
    def library(self) -> Any:
        """Return cryptography, loaded when the first secret is met: it takes 7 MB in each process."""
        return importlib.import_module("cryptography.fernet")

    @cached_property
    def fernet(self) -> Any:
        return self.library.MultiFernet([self.library.Fernet(key.get_secret_value()) for key in self.keys])

    def close(self, text: str) -> bytes:
        token: bytes = self.fernet.encrypt(text.encode())
        return token

    def open(self, token: bytes) -> str:
        try:
            text: bytes = self.fernet.decrypt(token)
        except self.library.InvalidToken:
            raise UnreadableSecret from None
        return text.decode()

    @cached_property
    def newest(self) -> _Box:
        """Return a box with the newest key alone."""
        return _Box(self.keys[:1])

    def renew(self, token: bytes) -> bytes:
        try:
            self.newest.open(token)
        except UnreadableSecret:
            return self.close(self.open(token))
        return token


class SealedSecret(SecretStr):
    """A kept secret that is opened by whoever reads it first: who only passes it on needs neither key nor library."""

    def __init__(self, token: bytes) -> None:
        super().__init__("sealed")  # no more than that it is there
        self.token = token
        self.box = _box()

    def get_secret_value(self) -> str:
        """Return the secret. Raises UnreadableSecret if no key in use made its token."""
        token = self.token  # another thread may be opening it
        if token:
            self._secret_value, self.token = self.box.open(token), b""
        return self._secret_value


def _box() -> _Box:
    return cast(_Box, current_app.extensions["secrets"])
