"""Describe an error for the ledger, with every secret blanked out."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from config.logging import URL_PASSWORD
from dashboard.core.secrets import UnreadableSecret
from dashboard.runs.leases import Fault

BLANK = "[redacted]"
LONGEST_MESSAGE = 2_000
LONGEST_TRACEBACK = 20_000
SHORTEST_SECRET = 4
"""A shorter value is blanked nowhere: it would blank half of the text and tell what it is."""

ASSIGNMENT = re.compile(
    r"(?P<name>[\w-]*(?:password|passwd|secret|token|api[_-]?key|authorization)[\w-]*[\"']?\s*[=:]\s*)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|(?:Bearer |Basic )?[^\s,;&)]+)",
    re.IGNORECASE,
)


def fault_of(error: BaseException, secrets: Iterable[str] = ()) -> Fault:
    """Return type, message and traceback of `error` without `secrets`, passwords in addresses, and named secrets."""
    known = list(secrets)
    lines = "".join(traceback.format_exception(error))
    return Fault(
        type=type(error).__name__,
        message=redacted(_sentence_of(error) or type(error).__name__, known)[:LONGEST_MESSAGE],
        traceback=redacted(lines, known)[-LONGEST_TRACEBACK:],
    )


def _sentence_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is a plugin's own code
        return ""


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with what is secret in it blanked, and what PostgreSQL cannot hold replaced.

    NUL is dropped; half of a surrogate pair, as in the name of a file that is not UTF-8, becomes a question mark.
    """
    for secret in sorted((secret for secret in secrets if len(secret) >= SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, BLANK)
    text = URL_PASSWORD.sub(rf"\1:{BLANK}@", text.replace("\0", "").encode(errors="replace").decode())
    return ASSIGNMENT.sub(rf"\g<name>{BLANK}", text)


def secrets_in(values: object) -> list[str]:
    """Return the secret values inside a mapping, a model or a list, however deep they lie."""
    match values:
        case SecretStr():
            return _opened(values)
        case BaseModel():
            return secrets_in(dict(values))
        case Mapping():
            return secrets_in(list(values.values()))
        case list() | tuple() | set():
            return [secret for each in values for secret in secrets_in(each)]
        case _:
            return []


def _opened(secret: SecretStr) -> list[str]:
    try:
        return [secret.get_secret_value()]
    except UnreadableSecret:
        return []  # whoever needs it says so; here nobody can let it slip


def secrets_of(settings: Mapping[str, Any], params: object) -> list[str]:
    """Return what a run may know that nobody may read: its tenant's secrets and its own."""
    return [*secrets_in(settings), *secrets_in(params)]
