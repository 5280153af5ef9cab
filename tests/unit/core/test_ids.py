"""Identifiers are UUIDs of version 7, in the order in which a thread makes them, and no two are the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import time_machine

from dashboard.core.ids import earliest_id, new_id


def many(number: int = 20_000) -> list[UUID]:
    return [new_id() for _ in range(number)]


def test_ids_are_in_the_order_of_their_making() -> None:
    ids = many()
    assert ids == sorted(ids)


@time_machine.travel(datetime(2026, 11, 21, 12, tzinfo=UTC), tick=False)
def test_within_one_millisecond_too() -> None:
    ids = many()
    assert ids == sorted(set(ids))
    assert {each.int >> 80 for each in ids} == {int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1000)}


def test_no_two_threads_make_the_same() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [new for ids in pool.map(lambda _: many(5000), range(4)) for new in ids]
    assert len(set(made)) == len(made)


def test_they_are_of_version_7() -> None:
    assert {(each.version, each.variant) for each in many(1000)} == {(7, RFC_4122)}


def test_a_clock_that_is_set_back_counts_at_once() -> None:
    before = datetime.now(UTC)
    with time_machine.travel(before + timedelta(days=1), tick=False):
        tomorrow = new_id()
    assert earliest_id(before) <= new_id() < tomorrow
