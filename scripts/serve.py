"""Runs the embedded PostgreSQL or Valkey as a process of honcho that leaves after everybody else has."""

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import psycopg

from scripts.embedded import (
    HOST,
    ROLES,
    ROOT,
    PostgresServer,
    Server,
    ServerError,
    ValkeyServer,
    catch_farewell,
    development_folder,
    wait_until,
)

# honcho kills whatever is left 5 s after the first process ended; stopping PostgreSQL takes up to half a second.
PATIENCE_S = 4.5
REDIS_PORT = 6379  # where a redis:// address without a port leads
QUIET_S = 0.4  # a worker between two transactions may have no connection for a moment
ROLE_URLS = dict(zip(ROLES, ("OWNER_DATABASE_URL", "SYSTEM_DATABASE_URL", "DATABASE_URL"), strict=True))


def embedded_postgres(environment: Mapping[str, str]) -> PostgresServer | None:
    """The server that DATABASE_URL leads to, if that is one of ours; None if it is somebody else's."""
    port = environment.get("POSTGRES_PORT")
    if not leads_here(environment.get("DATABASE_URL"), port):
        return None
    missing = [name for name in ROLE_URLS.values() if not leads_here(environment.get(name), port)]
    if missing:
        raise ServerError(f"DATABASE_URL is the embedded PostgreSQL, and so must be {' and '.join(missing)}.")
    passwords = {role: unquote(urlsplit(environment[name]).password or "") for role, name in ROLE_URLS.items()}
    return PostgresServer(development_folder(), port=int(port or 0), passwords=passwords)


def embedded_valkey(environment: Mapping[str, str]) -> ValkeyServer | None:
    """The server that REDIS_URL leads to, if that is one of ours; None if it is somebody else's."""
    port = environment.get("REDIS_PORT")
    if not leads_here(environment.get("REDIS_URL"), port):
        return None
    return ValkeyServer(ROOT / "var" / "valkey", port=int(port or 0))


def leads_here(url: str | None, port: str | None) -> bool:
    """Whether a URL leads to this port on loopback."""
    address = urlsplit(url or "")
    return bool(port) and address.hostname == HOST and str(address.port) == port


def serve(server: Server) -> None:
    """Run the server until SIGTERM or SIGINT and then until nobody is connected, for PATIENCE_S at most."""
    asked_to_leave = catch_farewell()
    with server:
        print(f"{server.name} listens on {HOST}:{server.port}; its log is {server.log}", flush=True)
        wait_until(lambda: asked_to_leave() or server.pid is None, timeout_s=math.inf)
        if server.pid is None:
            raise ServerError(f"{server.name} ended by itself; {server.log} may say why.")
        wait_until_unused(server)


def wait_until_unused(server: Server) -> None:
    """Wait until nobody has been connected for QUIET_S, for PATIENCE_S at most."""
    deadline = time.monotonic() + PATIENCE_S
    last_used = time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - last_used < QUIET_S:
        if clients(server):
            last_used = time.monotonic()
        time.sleep(0.1)


def clients(server: Server) -> int:
    """How many are connected; none if the server does not answer any more."""
    try:
        return server.clients()
    except (OSError, psycopg.OperationalError):
        return 0


def idle(name: str) -> None:
    """Stay until SIGTERM, because honcho ends all processes when one ends."""
    print(f"{name} is somebody else's: there is nothing to run here", flush=True)
    signal.pause()


def wait_until_ready(environment: Mapping[str, str], *, timeout_s: float = 60.0) -> None:
    """Return when the database and the broker answer; ServerError says which does not."""
    deadline = time.monotonic() + timeout_s
    while problem := problem_with(environment):
        if time.monotonic() > deadline:
            raise ServerError(problem)
        time.sleep(0.1)


def problem_with(environment: Mapping[str, str]) -> str | None:
    """Why work can't begin yet, as a sentence; None if it can."""
    database = environment["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        psycopg.connect(database, connect_timeout=2).close()
    except psycopg.OperationalError as error:
        return f"The database of DATABASE_URL does not answer: {str(error).strip().splitlines()[0]}"
    broker = urlsplit(environment["REDIS_URL"])
    try:
        socket.create_connection((broker.hostname or HOST, broker.port or REDIS_PORT), timeout=2).close()
    except OSError as error:
        return f"The broker of REDIS_URL does not answer: {error}"
    return None


def main(task: str, command: list[str]) -> None:
    """Do what the Procfile asks for: serve `postgres` or `redis`, or become `command` `when-ready`."""
    if task == "when-ready":
        wait_until_ready(os.environ)
        os.execvp(command[0], command)
    server = embedded_postgres(os.environ) if task == "postgres" else embedded_valkey(os.environ)
    if server is None:
        idle({"postgres": "PostgreSQL (DATABASE_URL)", "redis": "Redis (REDIS_URL)"}[task])
    else:
        serve(server)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except ServerError as error:
        sys.exit(f"error: {error}")
