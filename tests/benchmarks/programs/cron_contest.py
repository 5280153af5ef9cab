"""The rules that all recurrence engines are measured by: the same expressions, zone and clock.

It is run by the Python of each contestant's own environment, so it imports nothing of ours.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from tests.benchmarks.programs.contest import ANSWER

ZONE = "Europe/Berlin"
START = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo(ZONE))
COMMON = ("* * * * *", "*/15 * * * *", "5 * * * *", "0 9 * * 1-5", "30 2 * * *", "0 0 1 * *")
CRAFTED = (
    "0 0 30 2 *",
    "0 0 31 2,4,6,9,11 *",
    "59 23 29 2 *",
    "59 23 29 2 1#5",
    "0 0 29 2 0,1,2,3,4,5,6",
    "0 0 31 12 *",
    "0 0 L 2 *",
    "0 0 * 2 5#5",
    "0-59 0-23 1-31 1-12 0-6",
    ",".join(["59"] * 30) + " 23 29 2 1",
    "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14 29 2 1#5",
    "1-59/59 1-23/23 29 2 6#5",
)
PREVIEW = 10

Fires = Callable[[str, datetime], Iterator[datetime]]
"""Takes an expression and an aware start; gives the fires after it. May raise for an expression."""


def compete(fires: Fires) -> None:
    """Measure, and print the answer: next fires per second, a preview of ten and the worst expression in ms."""
    nexts = int(sys.argv[1])
    answer = {
        "per_second": _per_second(fires, nexts),
        "preview_ms": statistics.median(_preview(fires, expression) for expression in COMMON),
        "worst_ms": max(_first(fires, expression) for expression in CRAFTED),
    }
    print(ANSWER + json.dumps(answer), flush=True)


def _per_second(fires: Fires, nexts: int) -> float:
    began = time.process_time()
    for expression in COMMON:
        for _ in islice(fires(expression, START), nexts):
            pass
    return nexts * len(COMMON) / (time.process_time() - began)


def _preview(fires: Fires, expression: str) -> float:
    times = []
    for _ in range(20):
        began = time.process_time()
        list(islice(fires(expression, START), PREVIEW))
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times)


def _first(fires: Fires, expression: str) -> float:
    """Return how long the first fire of an expression, or its refusal, takes."""
    began = time.process_time()
    try:
        next(fires(expression, START), None)
    except Exception as error:  # noqa: BLE001 - each library has refusals of its own
        str(error)
    return (time.process_time() - began) * 1000
