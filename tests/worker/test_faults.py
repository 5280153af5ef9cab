"""What the ledger keeps of an error tells no secret."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, SecretStr

from worker.faults import LONGEST_MESSAGE, fault_of, redacted, secrets_in


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("at postgresql://joe:hunter2@db/x", "at postgresql://joe:[redacted]@db/x"),
        ("password=hunter2 user=joe", "password=[redacted] user=joe"),
        ("{'api_key': 'hunter2', 'page': 2}", "{'api_key': [redacted], 'page': 2}"),
        ("Authorization: Bearer hunter2", "Authorization: [redacted]"),
        ("it is open sesame now", "it is [redacted] now"),
        ("nothing\0 to hide", "nothing to hide"),
        ("no such file: \udcff.csv", "no such file: ?.csv"),
        ("the token was refused", "the token was refused"),
    ],
)
def test_secrets_are_blanked(said: str, kept: str) -> None:
    assert redacted(said, ["open sesame", "", "no"]) == kept


def test_secrets_are_found_however_deep_they_lie() -> None:
    class Params(BaseModel):
        tokens: list[SecretStr]

    values = {"SMTP_PASSWORD": SecretStr("one"), "more": Params(tokens=[SecretStr("two")]), "plain": "three"}
    assert secrets_in(values) == ["one", "two"]


def test_an_error_keeps_its_type_message_and_traceback() -> None:
    try:
        raise ValueError("x" * 5000)
    except ValueError as error:
        fault = fault_of(error)
    assert fault.type == "ValueError"
    assert len(fault.message) == LONGEST_MESSAGE
    assert fault.traceback.startswith("Traceback") or len(fault.traceback) == 20_000


def test_an_error_without_words_is_named() -> None:
    assert fault_of(KeyError()).message == "KeyError"
