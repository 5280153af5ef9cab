"""The database's history, and what each role may touch in it."""

from __future__ import annotations

from flask import Flask
from flask_migrate import Migrate

from dashboard.database import MIGRATIONS, db

TURN_LOCK = 0x4D494752415445
"""The key of the advisory lock that makes migrations take turns: two releases may start at once."""


def attach(app: Flask) -> None:
    """Let `flask db` and Flask-Migrate's functions migrate the database of `app`.

    The factory does not do it, because workers and beats never migrate: Alembic would cost them 3 MB and a part of the
    start.
    """
    Migrate(app, db, directory=str(MIGRATIONS))
