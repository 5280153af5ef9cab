"""Runs the whole system as real processes on free ports, with the demo's tenants, for a browser to travel through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from tempfile import TemporaryDirectory

from dashboard.demo.story import PASSWORD
from scripts.embedded import HOST, free_port
from tests.processes import BEAT, BEAT_READY, ROOT, RunningProcess, celery, running
from tests.servers import PostgresAddress, ValkeyServer, temporary_valkey

__all__ = ["PASSWORD", "Place", "Station", "running_station"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tenant of the demo: its name, the root that it is mounted at, and the address of its admin."""

    name: str
    root: str
    admin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """The running system; `mail` is the address of the page that shows the mail it sent."""

    acme: Place
    globex: Place
    platform: str
    mail: str
    broker: ValkeyServer

    @property
    def both(self) -> tuple[Place, Place]:
        return self.acme, self.globex


@contextmanager
def running_station(postgres: PostgresAddress, database: str, base: Mapping[str, str]) -> Iterator[Station]:
    """The system on an empty database and a broker of its own; `base` are the settings that it need not choose."""
    with ExitStack() as stack:
        broker = stack.enter_context(temporary_valkey())
        folder = stack.enter_context(TemporaryDirectory(prefix="stationmaster-mail-"))
        environment = {
            **base,
            **{f"{prefix}DATABASE_URL": postgres.url(role, database) for prefix, role in ROLES.items()},
            **_addresses(),
            "REDIS_URL": broker.url(),
            "MAIL_FOLDER": folder,
            "DEVELOPMENT": "1",
            "FLOWER_AUDIENCE": "operators",
            "FLOWER_BASIC_AUTH": "stationmaster:known only here",
        }
        _flask("db", "upgrade", environment=environment)
        _flask("demo", environment=environment)
        processes = _start(stack, environment)
        yield _station(environment, broker)
        for process in processes:
            process.signal(SIGTERM)


ROLES = {"": "app", "SYSTEM_": "system", "OWNER_": "owner"}


def _addresses() -> dict[str, str]:
    """Return the variables that say where everything listens, as scripts/dev writes them."""
    port, flower, smtp, mail = (free_port() for _ in range(4))
    return {
        "PORT": str(port),
        "PLATFORM_ROOT": f"http://localhost:{port}",
        "FLOWER_PORT": str(flower),
        "FLOWER_URL": f"http://{HOST}:{flower}",
        "SMTP_HOST": HOST,
        "SMTP_PORT": str(smtp),
        "SMTP_TLS": "none",
        "MAIL_PORT": str(mail),
        "MAIL_PAGE_URL": f"http://localhost:{mail}",
    }


def _flask(*command: str, environment: Mapping[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", *command],
        env={"PATH": str(Path(sys.executable).parent), **environment},
        cwd=ROOT,
        check=True,
    )


def _start(stack: ExitStack, environment: Mapping[str, str]) -> list[RunningProcess]:
    """Start what the Procfile starts, all at once, and return it when each is ready."""
    commands = {
        "Listening at": [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "dashboard.wsgi:app"],
        "ready.": [*celery("worker"), "--loglevel=INFO"],
        BEAT_READY: list(BEAT),
        "Visit me": [*celery("flower"), "--conf=config/flower.py"],
        "is shown at": [sys.executable, "-m", "scripts.mailcatcher"],
    }
    settings = {**environment, "REMAP_SIGTERM": "SIGQUIT"}
    started = {said: stack.enter_context(running(command, settings)) for said, command in commands.items()}
    for said, process in started.items():
        process.wait_for(said)
    return list(started.values())


def _station(environment: Mapping[str, str], broker: ValkeyServer) -> Station:
    platform = environment["PLATFORM_ROOT"]
    return Station(
        acme=Place(name="Acme Ltd", root=f"{platform}/acme", admin="olivia@acme.example"),
        globex=Place(
            name="Globex Corporation",
            root=platform.replace("localhost", "globex.localhost"),
            admin="gus@globex.example",
        ),
        platform=platform,
        mail=environment["MAIL_PAGE_URL"],
        broker=broker,
    )
