"""A kept connection that has ended is replaced before anybody uses it, without a question for each that has not."""

from __future__ import annotations

import sqlalchemy as sa

from tests.servers import PostgresAddress


def pid(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_that_lives_is_used_again(engine: sa.Engine) -> None:
    assert pid(engine) == pid(engine)


def test_a_connection_that_the_server_ended_is_replaced(engine: sa.Engine, postgres: PostgresAddress) -> None:
    before = pid(engine)
    admin = sa.create_engine(postgres.url("admin").replace("postgresql://", "postgresql+psycopg://"))
    with admin.connect() as connection:  # with a timeout it waits until the other one is gone
        ended = connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": before}).scalar_one()
    admin.dispose()
    assert ended
    assert pid(engine) != before


def test_news_that_are_no_end_keep_the_connection(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        before = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        connection.execute(sa.text("LISTEN news"))
        connection.commit()
    with sa.create_engine(engine.url, poolclass=sa.NullPool).begin() as other:
        other.execute(sa.text("NOTIFY news"))
    assert pid(engine) == before
