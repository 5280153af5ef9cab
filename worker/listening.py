"""Listen to PostgreSQL, so that what was committed is acted upon at once and not at the next look."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import psycopg
import structlog
from psycopg import sql

from config.settings import Settings
from dashboard.runs.load import CHANNEL
from worker.outages import first_line

CONNECT_TIMEOUT_SECONDS = 5
QUIET_SECONDS = 1.0
"""How long it waits for a notification before it looks whether it should stop."""

RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Listener:
    """Calls `wake[word]` for each word that is notified, over a connection of its own that passes any pooler by.

    While it is not connected nobody is woken, and everybody looks for himself once a second.
    """

    def __init__(self, settings: Settings, wake: Mapping[str, Callable[[], None]]) -> None:
        self.url = settings.listen_url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)
        self.wake = wake
        self._stopping = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                self._say_away(error)
                self._stopping.wait(RETRY_SECONDS)

    def _say_away(self, error: psycopg.Error) -> None:
        if not self._is_away:
            log.warning("database_is_away", loop="listener", reason=first_line(error))
        self._is_away = True

    def _listen(self) -> None:
        with psycopg.connect(
            self.url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="stationmaster listener",
        ) as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            self._is_away = False
            for wake in self.wake.values():  # something may have happened before
                wake()
            while not self._stopping.is_set():
                for word in {notify.payload for notify in connection.notifies(timeout=QUIET_SECONDS, stop_after=1)}:
                    self._pass_on(word)

    def _pass_on(self, word: str) -> None:
        wake = self.wake.get(word)
        if wake is not None:
            wake()
