"""Where contestants meet: the same PostgreSQL and Valkey, emptied before each, and each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

from scripts.embedded import PostgresServer, ValkeyServer, temporary_folder
from tests.benchmarks.peers import OURS, ROOT, installed
from tests.benchmarks.programs.contest import ANSWER, Task

STAGE_SECONDS = 900
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


class Failed(Exception):
    """A contestant could not do a stage; the message says what it said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much work there is; `quick` only shows that everything works. `alone` leaves the peers out."""

    schedules: int = 100_000
    many: int = 1_000_000
    due: int = 10_000
    edited: int = 10_000
    ticks: int = 5000
    edits: int = 5
    rounds: int = 3
    budget: float = 10.0
    jobs: int = 3000
    pings: int = 200
    messages: int = 2000
    backlogged: int = 1000
    waiting: int = 1000
    looks: int = 300
    flood: int = 100_000
    visits: int = 40
    alone: bool = False

    @classmethod
    def quick(cls) -> Sizes:
        return cls(
            schedules=200,
            many=2000,
            due=50,
            edited=50,
            ticks=20,
            edits=1,
            rounds=1,
            budget=1.0,
            jobs=50,
            pings=5,
            messages=50,
            backlogged=20,
            waiting=200,
            looks=20,
            flood=50,
            visits=3,
        )


@dataclass(slots=True)
class Arena:
    """Two servers and a folder; `place` gives one contestant a clean place in them."""

    postgres: PostgresServer
    valkey: ValkeyServer
    sizes: Sizes
    folder: Path
    _places: int = field(default=0, init=False)

    def why_not(self, name: str) -> str:
        """Return why a peer does not compete; empty if it does."""
        return "left out" if self.sizes.alone else installed(environment_of(name)).problem

    @contextmanager
    def place(self, name: str, schedules: int = 0, program: str = "") -> Iterator[Place]:
        """Give contestant `name` an empty database and an empty broker, and take them away afterwards.

        Its `program` has its name unless told otherwise; what follows a + in the name is how it is set up.
        """
        self._places += 1
        database = f"bench_{self._places}"
        self.postgres.address.create_database(database)
        redis.Redis.from_url(self.valkey.url()).flushall()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield Place(
                arena=self,
                name=name,
                program=program or environment_of(name).replace("-", "_"),
                database=database,
                folder=folder,
                schedules=schedules,
            )
        finally:
            self.postgres.address.drop_database(database)
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One contestant's."""

    arena: Arena
    name: str
    program: str
    database: str
    folder: Path
    schedules: int

    def ask(self, stage: str) -> dict[str, Any]:
        """Let the contestant do a stage and return its answer. Raises Failed."""
        began = time.time()
        process = self._start(stage)
        try:
            out, _ = process.communicate(timeout=STAGE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"took longer than {STAGE_SECONDS} s") from None
        lines = out.strip().splitlines() or ["it said nothing"]
        if process.returncode or not lines[-1].startswith(ANSWER):
            raise Failed(lines[-1][:300])
        return {"began_at": began, **json.loads(lines[-1].removeprefix(ANSWER))}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Let the contestant work meanwhile."""
        process = self._start("serve")
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.communicate()

    def _start(self, stage: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                self._python(),
                "-m",
                f"tests.benchmarks.programs.{self.program}",
                stage,
                json.dumps(asdict(self._task())),
            ],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _python(self) -> str:
        if self.name == OURS and self.arena.sizes.alone:
            return sys.executable
        place = installed(environment_of(self.name))
        if place.problem:
            raise Failed(place.problem)
        return str(place.python)

    def _task(self) -> Task:
        sizes = self.arena.sizes
        return Task(
            schedules=self.schedules,
            due=min(sizes.due, self.schedules),
            ticks=sizes.ticks,
            edits=sizes.edits,
            budget=sizes.budget,
            jobs=sizes.jobs,
            pings=sizes.pings,
            messages=sizes.messages,
            looks=sizes.looks,
            flood=sizes.flood,
            visits=sizes.visits,
            variant=self.name.partition("+")[2],
            database_url=self.arena.postgres.url("owner", self.database),
            redis_url=self.arena.valkey.url(),
            folder=str(self.folder),
        )

    def _environment(self) -> dict[str, str]:
        inherited = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        return {**inherited, "PYTHONPATH": str(ROOT), **(self._our_settings() if self.name == OURS else {})}

    def _our_settings(self) -> Mapping[str, str]:
        url = self.arena.postgres.url
        return {
            "DATABASE_URL": url("app", self.database),
            "SYSTEM_DATABASE_URL": url("system", self.database),
            "OWNER_DATABASE_URL": url("owner", self.database),
            "REDIS_URL": self.arena.valkey.url(),
            "SECRET_KEY": "a-secret-key-of-the-benchmarks-0123456789",
            "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "PLATFORM_ROOT": "http://platform.test",
            "LOG_LEVEL": "WARNING",
            "PLUGINS": "tests.benchmarks.programs.noop",
        }


def environment_of(name: str) -> str:
    """Return the environment of a contestant: several of them, set up in different ways, share one."""
    return name.partition("+")[0]


@contextmanager
def arena(sizes: Sizes) -> Iterator[Arena]:
    """Servers as scripts/dev starts them, safe against power cuts, thrown away afterwards."""
    folder = temporary_folder()
    try:
        with PostgresServer(folder / "postgres") as postgres, ValkeyServer(folder / "valkey", durable=False) as valkey:
            yield Arena(postgres, valkey, sizes, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
