"""Whatever the environment holds, its problems are told together, in words, and without what it holds."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from config.settings import Settings, SettingsError

CANARY = "canary-of-a-secret"
GOOD = {
    "DATABASE_URL": "postgres://app:secret@db.example:5432/station",
    "REDIS_URL": "redis://broker.example:6379/0",
    "SECRET_KEY": "x" * 32,
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "PLATFORM_ROOT": "https://jobs.example",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as found:
        Settings.from_env({**GOOD, **changes})
    return found.value.problems


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"postgresql://app:{CANARY}@db.example:{CANARY}/station"),
        ("DATABASE_URL", f"postgresql://app:{CANARY}@db.example:5432"),
        ("DATABASE_URL", f"mysql://app:{CANARY}@db.example/station"),
        ("REDIS_URL", f"redis://:{CANARY}@broker.example:{CANARY}/0"),
        ("REDIS_URL", f"redis://[{CANARY}/0"),
        ("PLATFORM_ROOT", f"https://ada:{CANARY}@jobs.example"),
        ("PLATFORM_ROOT", f"https://jobs.example:{CANARY}"),
        ("PLATFORM_ROOT", f"https://jobs.example?{CANARY}"),
        ("FLOWER_URL", f"http://127.0.0.1:{CANARY}"),
        ("FLOWER_BASIC_AUTH", CANARY),
        ("FLOWER_BASIC_AUTH", f":{CANARY}"),
        ("MAIL_SENDER", CANARY),
        ("MAIL_SENDER", f"jobs@acme.example\r\nBcc: {CANARY}@acme.example"),
        ("SENTRY_DSN", CANARY),
        ("SENTRY_DSN", f"https://{CANARY}@"),
        ("SECRET_KEY", CANARY),
        ("ENCRYPTION_KEYS", CANARY),
        ("PORT", CANARY),
    ],
)
def test_a_value_that_cannot_work_is_named_and_not_repeated(name: str, value: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name}: ")
    assert CANARY not in problem


def test_all_problems_are_told_together() -> None:
    found = problems(DATABASE_URL="x", REDIS_URL="x", FLOWER_BASIC_AUTH="x", MAIL_SENDER="x", SENTRY_DSN="x", PORT="x")
    names = {problem.partition(":")[0] for problem in found}
    assert names == {"DATABASE_URL", "REDIS_URL", "FLOWER_BASIC_AUTH", "MAIL_SENDER", "SENTRY_DSN", "PORT"}


def test_what_works_is_taken() -> None:
    settings = Settings.from_env(
        {
            **GOOD,
            "REDIS_URL": "rediss://:pass%2Fword@broker.example/1",
            "FLOWER_BASIC_AUTH": "station:p:w",
            "MAIL_SENDER": '"Acme, Ltd." <jobs@acme.example>',
            "SENTRY_DSN": "https://key@errors.example/1",
            "FLOWER_URL": "",
        }
    )
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://app:secret@db.example:5432/station"
    assert settings.flower_url is None
