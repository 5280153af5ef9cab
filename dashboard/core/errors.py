"""The errors that the product itself raises; a class's docstring is what an operator reads."""

from __future__ import annotations


class StationmasterError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class NoTenant(StationmasterError):
    """No tenant is bound here."""


class WrongTenant(StationmasterError):
    """This belongs to another tenant."""


class Refused(StationmasterError):
    """This cannot be done now."""


class InvalidInput(StationmasterError):
    """Some fields need another value; `errors` maps each field's name to a sentence."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors
