"""Watches what jobs do, from a process that knows nothing of the product and reads none of its stores.

A job opens a connection for as long as it works, and says when it starts and when it does what must not be done twice.
Where the connection breaks without a farewell, its process was killed: the time until the run's next start is a
recovery. `python -m tests.chaos.witness` is the process; it says at which port it listens.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, Self, cast

from scripts.embedded import HOST
from tests.processes import running

START, EFFECT, FAREWELL, REPORT = "start", "effect", "farewell", "report"
HEARD = b"heard\n"
LISTENING = "Listening at port "
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What was seen of each run, by its id. `orphaned` are runs whose process was killed, by Unix time, since when
    nobody has worked on them; `recoveries` are the seconds after which others were started again."""

    starts: dict[str, int]
    effects: dict[str, int]
    orphaned: dict[str, float]
    recoveries: list[float]


@dataclass(slots=True)
class Memory:
    """What the witness has seen so far."""

    starts: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    orphaned: dict[str, float] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def started(self, run: str) -> None:
        with self.lock:
            self.starts[run] += 1
            if run in self.orphaned:
                self.recoveries.append(time.time() - self.orphaned.pop(run))

    def did(self, run: str) -> None:
        with self.lock:
            self.effects[run] += 1

    def lost(self, run: str) -> None:
        with self.lock:
            self.orphaned[run] = time.time()

    def as_json(self) -> bytes:
        with self.lock:
            told = {name: getattr(self, name) for name in ("starts", "effects", "orphaned", "recoveries")}
            return json.dumps(told).encode() + b"\n"


class Hearing(StreamRequestHandler):
    """One connection: a job's, or that of somebody who asks for the report."""

    def handle(self) -> None:
        memory = cast(Server, self.server).memory
        word, _, run = self._line().partition(" ")
        if word == REPORT:
            self.wfile.write(memory.as_json())
            return
        memory.started(run)
        said = [START]
        while said[-1]:
            self.wfile.write(HEARD)
            said.append(self._line())
            if said[-1] == EFFECT:
                memory.did(run)
            elif said[-1] == FAREWELL:
                return
        if EFFECT not in said:
            memory.lost(run)

    def _line(self) -> str:
        """Return the next line, or nothing where the other side is gone."""
        try:
            return self.rfile.readline().decode().strip()
        except ConnectionError:
            return ""


class Server(ThreadingTCPServer):
    """Listens to many jobs at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__((HOST, 0), Hearing)
        self.memory = Memory()


class Witnessed:
    """A job's side of the connection."""

    def __init__(self, port: int, run: object) -> None:
        self.connection = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        self.heard = self.connection.makefile("rb")
        self.say(f"{START} {run}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.sendall(f"{FAREWELL}\n".encode())
        self.connection.close()

    def say(self, word: str) -> None:
        """Say it, and return once it was heard."""
        self.connection.sendall(f"{word}\n".encode())
        if self.heard.readline() != HEARD:
            raise ConnectionError("The witness is gone.")


@contextmanager
def witness() -> Iterator[int]:
    """A witness that listens at the port that is yielded."""
    with running([sys.executable, "-m", "tests.chaos.witness"], {}, ready=LISTENING) as process:
        yield int(process.output().partition(LISTENING)[2])


def what_was_seen(port: int) -> Testimony:
    """Return what the witness has seen so far."""
    with socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"{REPORT}\n".encode())
        told: Any = json.loads(connection.makefile("rb").readline())
    return Testimony(**told)


if __name__ == "__main__":
    with Server() as server:
        print(f"{LISTENING}{server.server_address[1]}", flush=True)
        server.serve_forever()
