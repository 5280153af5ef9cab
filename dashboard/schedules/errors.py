"""The one error that a rule of recurrence raises, whatever is wrong with it."""

from __future__ import annotations


class RecurrenceError(ValueError):
    """A rule cannot be used; the message tells an operator what to change.

    `field` names the field of `Recurrence` at fault (or "phrase"); `fix` is the corrected value where one is known.
    """

    def __init__(self, field: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.fix = fix
