"""Who waits for the database gives up in time, and whoever has time may take it."""

from __future__ import annotations

import socket

import pytest
import sqlalchemy as sa

from config import patience
from tests.processes import wait_until

LONG = sa.text("SELECT pg_sleep(60)")
SHORT = sa.text("SELECT pg_sleep(0.3)")


@pytest.fixture(autouse=True)
def a_calm_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told to stop has the time to hear it, and nobody knows of an earlier test's silence."""
    monkeypatch.setattr(patience, "CANCEL_SECONDS", 30.0)
    monkeypatch.setattr(patience, "KNOWN_SILENCE_SECONDS", 30.0)
    monkeypatch.setattr(patience._known, "is_silent", False)


def is_answered(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(sa.text("SELECT true")).scalar_one())


def test_a_question_that_takes_too_long_is_given_up_and_stopped_in_the_server(engine: sa.Engine) -> None:
    with (
        patience.patience(0.2),
        pytest.raises(sa.exc.OperationalError, match="did not answer in time"),
        engine.connect() as connection,
    ):
        connection.execute(LONG)
    with engine.connect() as watching:
        still = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
        )
        wait_until(lambda: watching.execute(still).scalar_one() == 0)


def test_the_next_one_is_answered_once_the_database_does(engine: sa.Engine) -> None:
    with patience.patience(0.2), pytest.raises(sa.exc.OperationalError), engine.connect() as connection:
        connection.execute(LONG)
    with patience.patience(30):
        assert is_answered(engine)


def test_nobody_asks_again_in_the_same_block_after_a_silence(engine: sa.Engine) -> None:
    with patience.patience(0.2):
        for _ in range(2):
            with pytest.raises(sa.exc.OperationalError, match="did not answer in time"), engine.connect() as connection:
                connection.execute(LONG)
        with pytest.raises(sa.exc.OperationalError, match="did not answer in time"):
            is_answered(engine)


def test_without_such_a_block_a_question_may_take_its_time(engine: sa.Engine) -> None:
    with patience.patience(0.1):
        pass
    with engine.connect() as connection:
        connection.execute(SHORT)


def test_an_inner_block_cannot_make_the_outer_one_more_patient(engine: sa.Engine) -> None:
    with (
        patience.patience(0.1),
        patience.patience(60),
        pytest.raises(sa.exc.OperationalError, match="did not answer in time"),
        engine.connect() as connection,
    ):
        connection.execute(LONG)


def test_a_door_that_opens_and_says_nothing_is_left(engine: sa.Engine) -> None:
    """The kernel of a frozen server accepts connections in its name."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = engine.url.set(port=silent.getsockname()[1])
        frozen = sa.create_engine(url, connect_args={"connect_timeout": 60})
        with patience.patience(1), pytest.raises(sa.exc.OperationalError, match="timeout"):
            is_answered(frozen)
    assert is_answered(engine)
