"""Read the environment once into a frozen `Settings`, reporting every problem together."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parseaddr
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

MIN_SECRET_LENGTH = 32
FERNET_KEY_BYTES = 32
DATABASE_DRIVER = "postgresql+psycopg"


class SettingsError(Exception):
    """The environment does not describe a system that could run; the message lists every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The settings have problems:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


def _database_url(url: SecretStr) -> SecretStr:
    scheme, _, rest = url.get_secret_value().partition("://")
    address = f"{DATABASE_DRIVER}://{rest}"
    try:
        is_address = bool(make_url(address).database) and scheme in {"postgres", "postgresql", DATABASE_DRIVER}
    except (ValueError, ArgumentError):
        is_address = False
    if not is_address:
        raise ValueError("must be a PostgreSQL address like postgresql://user:password@host:5432/name")
    return SecretStr(address)


def _redis_url(url: SecretStr) -> SecretStr:
    parts = _parts(url.get_secret_value())
    if parts is None or parts.scheme not in {"redis", "rediss"}:
        raise ValueError("must be an address like redis://host:6379/0 or rediss://…")
    return url


def _secret_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < MIN_SECRET_LENGTH:
        raise ValueError(f"must have at least {MIN_SECRET_LENGTH} characters; make one with: openssl rand -base64 32")
    return key


def _root(url: str) -> str:
    parts = _parts(url)
    if parts is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an address like https://jobs.example.com")
    return url.rstrip("/")


def _reporting_address(url: str) -> str:
    parts = _parts(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.username or not parts.path.strip("/"):
        raise ValueError("must be an address like https://key@host/project")
    return url


def _parts(url: str) -> SplitResult | None:
    """Return the parts of an address with a host, or None; Python's own words would repeat a piece of it."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _basic_auth(pair: SecretStr) -> SecretStr:
    user, _, password = pair.get_secret_value().partition(":")
    if not user or not password:
        raise ValueError("must be like user:password")
    return pair


def _sender(text: str) -> str:
    if text and (not text.isprintable() or "@" not in parseaddr(text)[1]):
        raise ValueError("must be one mail address like Acme <jobs@acme.example>")
    return text


def _fernet_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if not keys:
        raise ValueError("needs at least one key")
    if not all(_is_fernet_key(key.get_secret_value()) for key in keys):
        raise ValueError(
            "each key must be 32 url-safe base64-encoded bytes; make one with: "
            'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
    return keys


def _is_fernet_key(key: str) -> bool:
    """Whether Fernet would take it; Fernet itself is not asked, because it takes 7 MB in processes that need none."""
    try:
        return len(base64.urlsafe_b64decode(key)) == FERNET_KEY_BYTES
    except ValueError:
        return False


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _empty_is_unset(value: object) -> object:
    return None if value == "" else value


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
OptionalDatabaseUrl = Annotated[DatabaseUrl | None, BeforeValidator(_empty_is_unset)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_unset)]
OptionalBasicAuth = Annotated[
    Annotated[SecretStr, AfterValidator(_basic_auth)] | None, BeforeValidator(_empty_is_unset)
]
OptionalReportingAddress = Annotated[
    Annotated[str, AfterValidator(_reporting_address)] | None, BeforeValidator(_empty_is_unset)
]
OptionalRoot = Annotated[Annotated[str, AfterValidator(_root)] | None, BeforeValidator(_empty_is_unset)]


class Settings(BaseModel):
    """Everything the processes take from the environment; a field's name in capitals is its variable.

    Durations are whole seconds. Build it with `from_env`, never by hand outside tests.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: DatabaseUrl = Field(description="PostgreSQL as the app role: tenant rows only.")
    system_database_url: OptionalDatabaseUrl = Field(
        None, description="PostgreSQL as the system role. Without it one credential serves all, a thinner wall."
    )
    owner_database_url: OptionalDatabaseUrl = Field(
        None, description="PostgreSQL as the owner of the tables, for migrations. Without it DATABASE_URL migrates."
    )
    direct_database_url: OptionalDatabaseUrl = Field(
        None, description="PostgreSQL past a transaction pooler, for LISTEN. Without it DATABASE_URL listens."
    )
    database_pool_size: int = Field(10, ge=1, le=200, description="Connections each process keeps, per role.")
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(description="Redis or Valkey, the broker.")
    redis_tls_verify: bool = Field(True, description="Set to 0 for rediss:// with a self-signed certificate.")
    secret_key: Annotated[SecretStr, AfterValidator(_secret_key)] = Field(
        description="Signs message headers and form tokens. At least 32 characters."
    )
    encryption_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_split), AfterValidator(_fernet_keys)] = Field(
        description="Fernet keys for secrets at rest, newest first, separated by commas."
    )
    platform_root: Annotated[str, AfterValidator(_root)] = Field(
        description="The platform's own address: sign-in, tenant chooser, back office."
    )
    port: int = Field(5000, ge=1, le=65535, description="The port the web process listens on.")
    host: str = Field("127.0.0.1", description="The address the web process listens on; 0.0.0.0 in a container.")
    proxy_hops: int = Field(0, ge=0, le=5, description="How many trusted proxies stand before the web process.")
    development: bool = Field(
        False,
        description="For one's own machine: component gallery, demo job types, where local mail arrives.",
    )
    log_level: LogLevel = Field("INFO", description="The least log level shown.")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")
    flower_url: OptionalRoot = Field(None, description="Where Flower listens. Without it the fleet view stands.")
    flower_basic_auth: OptionalBasicAuth = Field(None, description="user:password that the gateway and Flower share.")
    flower_audience: Literal["platform", "operators"] = Field(
        "platform", description="Who sees the embedded Flower: platform owners, or every operator and admin."
    )
    metrics_token: OptionalSecret = Field(None, description="Bearer token for /metrics; without it: 404.")
    plugins: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (), description="Python modules that bring job types and tasks, separated by commas."
    )
    allow_private_networks: bool = Field(
        False, description="Lets tenants' SMTP hosts be private or loopback addresses. Development only."
    )
    smtp_host: str = Field("", description="The mail server of tenants that set none of their own.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_user: str = Field("", description="Its user name; empty for none.")
    smtp_password: OptionalSecret = Field(None, description="Its password.")
    smtp_tls: Literal["none", "starttls", "tls"] = Field("starttls", description="How its connection is protected.")
    mail_sender: Annotated[str, AfterValidator(_sender)] = Field(
        "", description="The sender of tenants that set none of their own."
    )
    mail_page_url: OptionalRoot = Field(None, description="The local mail catcher's page, in development.")
    lease_seconds: int = Field(30, ge=2, le=600, description="How long a run may go without a heartbeat.")
    heartbeat_seconds: int = Field(10, ge=1, le=200, description="How often a worker renews its leases.")
    worker_pool: Literal["prefork", "threads", "gevent", "solo"] = Field("prefork", description="Celery's pool.")
    worker_concurrency: int = Field(2, ge=1, le=1000, description="Runs that one worker process does at once.")
    worker_max_memory_mb: int = Field(
        0, ge=0, le=1_000_000, description="Memory of one pool process, after which a new one takes its place; 0: any."
    )
    artifact_mb: int = Field(20, ge=1, le=1000, description="How large a file that a run makes may be, in megabytes.")
    artifacts_mb_per_run: int = Field(
        100, ge=1, le=10_000, description="How large all files of one run may be together, in megabytes."
    )
    soft_shutdown_seconds: int = Field(20, ge=0, le=600, description="How long a stopping worker finishes its runs.")
    celery_events: bool = Field(True, description="Lets Flower see tasks; costs throughput.")
    session_days: int = Field(14, ge=1, le=365, description="How long an idle sign-in lasts.")
    sentry_dsn: OptionalReportingAddress = Field(None, description="Where errors are reported; empty for nowhere.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return the settings in `environ` (the process's own by default).

        Raises SettingsError naming every variable that is missing or wrong; values are never repeated in it.
        """
        source = os.environ if environ is None else environ
        values = {name: source[name.upper()] for name in cls.model_fields if name.upper() in source}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError([_problem(item["loc"], item["msg"]) for item in error.errors()]) from None
        if settings.heartbeat_seconds * 2 > settings.lease_seconds:
            raise SettingsError(["HEARTBEAT_SECONDS: must be at most half of LEASE_SECONDS"])
        return settings

    @property
    def one_credential(self) -> bool:
        """Whether one database credential serves all scopes, so that a setting stands where roles would."""
        return self.system_database_url is None

    @property
    def system_url(self) -> SecretStr:
        return self.system_database_url or self.database_url

    @property
    def owner_url(self) -> SecretStr:
        return self.owner_database_url or self.database_url

    @property
    def listen_url(self) -> SecretStr:
        return self.direct_database_url or self.system_url

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)


def _problem(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]).upper() if location else "settings"
    reason = "is not set" if message == "Field required" else message.removeprefix("Value error, ")
    return f"{name}: {reason}"
