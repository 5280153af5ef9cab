"""Brings up the whole system on one machine: .env, embedded servers, migrations, demo, then honcho."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from cryptography.fernet import Fernet
from honcho.environ import parse

from scripts.embedded import HOST, ROLES, ROOT, ServerError, is_free, postgres_binaries, role_name, say, version_of
from scripts.serve import ROLE_URLS, embedded_postgres, embedded_valkey, wait_until_ready

ENV_FILE = ROOT / ".env"
PREFERRED_PORTS = {
    "PORT": 5000,
    "FLOWER_PORT": 5555,
    "SMTP_PORT": 8025,
    "MAIL_PORT": 8026,
    "POSTGRES_PORT": 54320,
    "REDIS_PORT": 63790,
}
LAST_PORT = 65535
NOTE = """\
# Written once by scripts/dev for this machine alone; yours to change. honcho prefers it to the environment.
# ENCRYPTION_KEYS opens what the database keeps encrypted: lose it and those secrets are lost.
# To use a database or broker of your own, replace the addresses below.
"""


def main() -> None:
    """Do every step of scripts/dev once .venv is there, and become honcho."""
    if not ENV_FILE.exists():
        say("Writing .env")
        write_env(ENV_FILE, fresh_values(settled(PREFERRED_PORTS, lambda _: True)))
    environment = effective_environment(parse(ENV_FILE.read_text()), os.environ)
    prepare(environment)
    remember_moves(ENV_FILE, environment, os.environ)
    announce(environment)
    sys.stdout.flush()
    # Everything is in the environment already; .env would beat it and undo a port that moved.
    os.execvpe("honcho", ["honcho", "start", "--env", os.devnull, "--procfile", "Procfile.dev"], environment)


def fresh_values(ports: Mapping[str, int]) -> dict[str, str]:
    """The variables of a new .env: secrets at random and every address on loopback."""
    passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    database = f"{HOST}:{ports['POSTGRES_PORT']}/stationmaster"
    return {
        "PROCFILE": "Procfile.dev",
        **{name: str(port) for name, port in ports.items()},
        "DEVELOPMENT": "1",
        "LOG_FORMAT": "console",
        "PLATFORM_ROOT": f"http://localhost:{ports['PORT']}",
        "SECRET_KEY": secrets.token_urlsafe(32),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        **{ROLE_URLS[role]: f"postgresql://{role_name(role)}:{passwords[role]}@{database}" for role in ROLES},
        "REDIS_URL": f"redis://{HOST}:{ports['REDIS_PORT']}/0",
        "FLOWER_URL": f"http://{HOST}:{ports['FLOWER_PORT']}",
        "FLOWER_BASIC_AUTH": f"stationmaster:{secrets.token_urlsafe(24)}",
        "FLOWER_AUDIENCE": "operators",
        "METRICS_TOKEN": secrets.token_urlsafe(24),
        "SMTP_HOST": HOST,
        "SMTP_TLS": "none",
        "MAIL_SENDER": "stationmaster@localhost",
        "MAIL_PAGE_URL": f"http://localhost:{ports['MAIL_PORT']}",
        "ALLOW_PRIVATE_NETWORKS": "1",
        # A tenant may have half of the slots: with two runs at once, a mail does not wait for a long job before it.
        "WORKER_CONCURRENCY": "4",
        # honcho kills 5 s after the first process has ended, so a worker finishes what it can in less.
        "SOFT_SHUTDOWN_SECONDS": "2",
    }


def write_env(file: Path, values: Mapping[str, str]) -> None:
    """Write the variables quoted, because honcho cuts a bare value at `#` and joins its words; only we may read it."""
    lines = [f'{name}="{value}"\n' for name, value in values.items()]
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(NOTE + "".join(lines))


def remember_moves(file: Path, environment: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Write down what moved: `honcho start` and `flask` read the file, and the demo's tenants moved along.

    So are ports that the caller gave: other lines of the file, and the demo's addresses, name them.
    """
    lines = file.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        for name, value in parse(line).items():
            if (name not in given or name in PREFERRED_PORTS) and environment.get(name, value) != value:
                lines[number] = f'{name}="{environment[name]}"\n'
    file.write_text("".join(lines))


def effective_environment(written: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What the processes get: .env, then what the caller's environment says otherwise, on ports that are free."""
    values = dict(written)
    if "DATABASE_URL" in given:  # the other roles of .env belong to another server
        values = {name: value for name, value in values.items() if name not in ROLE_URLS.values()}
    values |= given
    if not values.get("DATABASE_URL") or not values.get("REDIS_URL"):
        raise ServerError(".env has no DATABASE_URL or no REDIS_URL: add it, or move .env away to get a new one.")
    wanted = {name: port_in(values, name) for name in PREFERRED_PORTS if is_ours(name, values)}
    for name, port in settled(wanted, lambda name: name not in given).items():
        before = written.get(name, str(port))
        if str(port) != before:
            say(f"{name} is {port} from now on" + ("" if name in given else f", because {before} is taken"))
        values = moved(values, before, port) | {name: str(port)}
    return values


def is_ours(port_name: str, values: Mapping[str, str]) -> bool:
    """Whether a process of this checkout listens there; a port of somebody else's server is in use, and rightly so."""
    if port_name == "POSTGRES_PORT":
        return embedded_postgres(values) is not None
    if port_name == "REDIS_PORT":
        return embedded_valkey(values) is not None
    return True


def port_in(values: Mapping[str, str], name: str) -> int:
    """The port that a variable names, or the usual one."""
    text = values.get(name, str(PREFERRED_PORTS[name]))
    if not text.isdigit() or not 0 < int(text) <= LAST_PORT:
        raise ServerError(f"{name} is {text!r}: it must be a number from 1 to {LAST_PORT}.")
    return int(text)


def settled(wanted: Mapping[str, int], may_move: Callable[[str], bool]) -> dict[str, int]:
    """Ports that are free, all different: the wanted ones, or the next ones where they may move."""
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        candidates = range(port, LAST_PORT + 1) if may_move(name) else [port]
        free = next((each for each in candidates if each not in chosen.values() and is_free(each)), None)
        if free is None:
            raise ServerError(f"Port {port} is taken: set {name} to another one, or stop what uses it.")
        chosen[name] = free
    return chosen


def moved(values: Mapping[str, str], before: str, port: int) -> dict[str, str]:
    """The variables with every local address on one port led to another."""
    address = re.compile(rf"(?<=[@/])(localhost|{re.escape(HOST)}):{before}(?=/|$)")
    return {name: address.sub(rf"\1:{port}", value) for name, value in values.items()}


def prepare(environment: Mapping[str, str]) -> None:
    """Bring the database to the present schema and fill it with the demo; the servers stop again afterwards."""
    with ExitStack() as servers:
        if postgres := embedded_postgres(environment):
            say(f"Starting PostgreSQL {version_of(postgres_binaries())} in {shown(postgres.folder)}")
            servers.enter_context(postgres)
        if valkey := embedded_valkey(environment):
            say(f"Starting Valkey in {shown(valkey.folder)}")
            servers.enter_context(valkey)
        wait_until_ready(environment)
        done = subprocess.run([sys.executable, "-m", "scripts.database"], env=environment, cwd=ROOT, check=False)
    if done.returncode:
        raise ServerError("The database is not ready; the lines above say why.")


def announce(environment: Mapping[str, str]) -> None:
    """Say what the demo, which has just said where its tenants are and who signs in, does not know."""
    say(f"Every mail sent from here is shown at http://localhost:{environment['MAIL_PORT']}")
    say("Ctrl-C ends everything; the data stays.")


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
