"""The database as models and sessions know it, made once and bound to an app by the factory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.orm import DeclarativeBase

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

MIGRATIONS = Path(__file__).parent.parent / "migrations"
"""Where the schema's revisions are. `HEAD` in it names the newest."""


class Base(DeclarativeBase):
    """The declarative base of every model."""

    metadata = sa.MetaData(naming_convention=NAMING)


class WalledSession(Session):
    """A session that works either for the bound tenant or, if `info` names a reason, for the system.

    `core.orm` puts the walls on it; here it only chooses the engine.
    """

    def get_bind(self, *_: Any, **__: Any) -> sa.Engine | sa.Connection:
        return self._db.engines["system" if "system" in self.info else None]


db = SQLAlchemy(
    model_class=Base, disable_autonaming=True, session_options={"class_": WalledSession, "expire_on_commit": False}
)
