"""Name the ways a job may end: a result, never again, or once more later."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import to_json

from dashboard.core.errors import StationmasterError

Result = Mapping[str, Any] | None
"""What a job returns: values that JSON can hold, shown on the run's page."""


NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""NUL as JSON writes it; after an odd number of backslashes it would be text about it."""


class PermanentError(StationmasterError):
    """This cannot succeed by trying again."""


LONGEST_RETRY = timedelta(days=366)


class RetryLater(StationmasterError):
    """Not now: the run waits for its next attempt, `after` from now, as long as it has attempts left.

    A negative wait is none. Raises TypeError or ValueError for one that is no timedelta, or longer than LONGEST_RETRY:
    then the run is tried again as after any error, and shows this one.
    """

    def __init__(self, after: timedelta, reason: str = "") -> None:
        if not isinstance(after, timedelta):
            raise TypeError(f"RetryLater takes a timedelta, not {after!r}.")
        if after > LONGEST_RETRY:
            raise ValueError(
                f"RetryLater takes {LONGEST_RETRY.days} days at most, not {after}. Let the job ask for less."
            )
        super().__init__(reason or "The job asked for another try later.")
        self.after = max(after, timedelta())


class RunStopped(StationmasterError):
    """The run was cancelled, or another worker holds it now: whatever the job does next must not happen."""


class BadResult(PermanentError):
    """What the job returned cannot be kept: it must be a dict that JSON and PostgreSQL can hold, or None."""

    def __init__(self, why: object) -> None:
        super().__init__(f"What the job returned cannot be kept: {str(why).rstrip('.')}.")


def as_json(result: object) -> dict[str, Any] | None:
    """Return `result` as it will be stored.

    Raises BadResult for what is neither None nor a JSON object, for one so deep that a page could not read it, and for
    text with NUL or half of a surrogate pair, which jsonb refuses.
    """
    if result is None:
        return None
    if not isinstance(result, Mapping):
        raise BadResult(f"it is of type {type(result).__name__}, and must be a dict or None")
    try:
        stored: dict[str, Any] = json.loads(json.dumps(dict(result), allow_nan=False))
        written = to_json(stored)  # it goes 250 deep, and knows no half of a pair
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResult(error) from None
    if NUL.search(written):
        raise BadResult("it has text with NUL")
    return stored
