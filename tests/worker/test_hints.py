"""A message that only hints is not written down while it is on its way; any other is, and none is lost by a stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Queue

from config.celery import KEY_PREFIX
from config.queues import EXECUTE
from worker.connecting import PatientConnection

QUEUE = Queue("hints", routing_key="hints")


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def connection(redis_url: str, broker: redis.Redis) -> Iterator[PatientConnection]:
    with PatientConnection(redis_url, transport_options={"global_keyprefix": KEY_PREFIX}) as connection:
        yield connection


def take(connection: PatientConnection, tasks: list[str]) -> list[Any]:
    """Send a message of each task, and return them as a worker takes them."""
    taken: list[Any] = []
    producer = connection.Producer()
    for task in tasks:
        producer.publish({}, routing_key="hints", headers={"task": task}, declare=[QUEUE])
    consumer = connection.Consumer(QUEUE, callbacks=[lambda _, message: taken.append(message)])
    consumer.consume()
    while len(taken) < len(tasks):
        connection.drain_events(timeout=60)
    return taken


def written_down(broker: Any) -> list[str]:
    return [json.loads(each)[0]["headers"]["task"] for each in broker.hvals(f"{KEY_PREFIX}unacked")]


def waiting(broker: Any) -> list[str]:
    return sorted(json.loads(each)["headers"]["task"] for each in broker.lrange(f"{KEY_PREFIX}hints", 0, -1))


def test_only_messages_that_the_ledger_does_not_know_are_written_down(
    connection: PatientConnection, broker: redis.Redis
) -> None:
    messages = take(connection, [EXECUTE, "tasks.report"])
    assert written_down(broker) == ["tasks.report"]
    for message in messages:
        message.ack()
    assert written_down(broker) == []
    qos = messages[0].channel.qos
    qos._flush()
    assert not qos._delivered


def test_what_was_taken_and_not_begun_goes_back_when_the_worker_stops(
    connection: PatientConnection, broker: redis.Redis
) -> None:
    begun, *_ = take(connection, [EXECUTE, EXECUTE, "tasks.report"])
    begun.ack()
    begun.channel.close()
    assert waiting(broker) == [EXECUTE, "tasks.report"]
    assert written_down(broker) == []


def test_a_hint_that_is_rejected_goes_back_at_once(connection: PatientConnection, broker: redis.Redis) -> None:
    (message,) = take(connection, [EXECUTE])
    message.requeue()
    assert waiting(broker) == [EXECUTE]
