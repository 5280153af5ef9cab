"""Secrets are kept encrypted, opened by who reads them, and say so when their key is gone."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from dashboard.app import Dashboard
from dashboard.core import secrets
from dashboard.core.secrets import SealedSecret, UnreadableSecret
from worker.faults import secrets_in


def test_what_was_encrypted_is_read_again(app: Dashboard) -> None:
    with app.app_context():
        token = secrets.encrypt("hunter22")
        assert b"hunter22" not in token
        assert secrets.decrypt(token).get_secret_value() == "hunter22"


def test_a_sealed_secret_is_opened_by_who_reads_it_and_shown_to_nobody(app: Dashboard) -> None:
    with app.app_context():
        sealed = SealedSecret(secrets.encrypt("hunter22"))
    assert "hunter22" not in repr(vars(sealed))
    assert str(sealed) == "**********"
    assert [sealed.get_secret_value() for _ in range(2)] == ["hunter22", "hunter22"]
    assert "hunter22" not in f"{sealed} {sealed!r}"


def test_a_secret_whose_key_is_gone_says_so_only_to_who_reads_it(app: Dashboard) -> None:
    with app.app_context():
        sealed = SealedSecret(Fernet(Fernet.generate_key()).encrypt(b"hunter22"))
    with pytest.raises(UnreadableSecret, match="ENCRYPTION_KEYS"):
        sealed.get_secret_value()
    assert secrets_in({"SMTP_PASSWORD": sealed, "other": SecretStr("open")}) == ["open"]
