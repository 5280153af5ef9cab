"""Name the ways a job may end: a result, never again, or once more later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import to_json

from dashboard.core.errors import StationmasterError

Result = Mapping[str, Any] | None
"""What a job returns: values that JSON can hold, shown on the run's page."""


class PermanentError(StationmasterError):
    """This cannot succeed by trying again."""


class RetryLater(StationmasterError):
    """Not now: the run waits for its next attempt, `after` from now, as long as it has attempts left."""

    def __init__(self, after: timedelta, reason: str = "") -> None:
        super().__init__(reason or "The job asked for another try later.")
        self.after = after


class RunStopped(StationmasterError):
    """The run was cancelled, or another worker holds it now: whatever the job does next must not happen."""


class BadResult(PermanentError):
    """The job returned no JSON object, or one too deep; its work is done, but its result cannot be kept."""


def as_json(result: object) -> dict[str, Any] | None:
    """Return `result` as it will be stored.

    Raises BadResult for what is neither None nor a JSON object, and for one so deep that a page could not read it.
    """
    if result is None:
        return None
    if not isinstance(result, Mapping):
        raise BadResult
    try:
        stored: dict[str, Any] = json.loads(json.dumps(dict(result), allow_nan=False))
        to_json(stored)  # it goes 250 deep
    except (TypeError, ValueError, RecursionError):
        raise BadResult from None
    return stored
