"""Hash and check passwords with argon2id, and judge new ones."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dashboard.core.errors import InvalidInput

MIN_LENGTH = 10
MAX_LENGTH = 200

# OWASP's password storage cheat sheet: 19 MiB and two passes; the library's default takes 64 MiB per sign-in.
HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


def check_new(password: str, email: str) -> str:
    """Return the password. Raises InvalidInput for one that is too easy to guess."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidInput({"password": f"Use {MIN_LENGTH} to {MAX_LENGTH} characters; a few words are fine."})
    if password.lower() in {email.lower(), email.lower().partition("@")[0]} or len(set(password)) < MIN_LENGTH // 3:
        raise InvalidInput(
            {"password": "This is too easy to guess. A few words that do not belong together are better."}
        )
    return password


def hash_password(password: str) -> str:
    """Return the hash, with its parameters and salt in it."""
    return HASHER.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the hashed one. Without a hash it takes as long, and the answer is no."""
    try:
        HASHER.verify(password_hash or _nobodys_hash(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return password_hash is not None


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(password_hash)


@cache
def _nobodys_hash() -> str:
    return HASHER.hash("nobody's password")
