"""Know every job type: the ones here, and the ones that plugins bring."""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Iterable, Mapping
from datetime import timedelta
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from string import Formatter
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeVar
from uuid import UUID

from markupsafe import Markup
from pydantic import BaseModel

from config.queues import DEFAULT_QUEUE, QUEUES
from dashboard.core.errors import InvalidInput, StationmasterError
from dashboard.jobs import params as job_params
from dashboard.jobs.context import RunContext
from dashboard.jobs.kinds import UnsupportedField, kind_of
from dashboard.jobs.outcomes import Result

Lane = Literal["interactive", "bulk"]
ENTRY_POINTS = "stationmaster.jobs"
ATTEMPTS_IF_IDEMPOTENT = 3
"""How often a job that may run twice is tried, unless it says otherwise."""

LONGEST_KEY = 200
"""Characters of a concurrency key at most: PostgreSQL refuses a run whose key is longer than an index entry."""


class BadJobType(StationmasterError):
    """A job type cannot be used as it is written."""


class UnknownJobType(StationmasterError, KeyError):
    """There is no job type with this key: the plugin that brought it is gone, or its name was misspelt."""

    __str__ = Exception.__str__


class NoParams(BaseModel):
    """The parameters of a job type that needs none."""


class JobType:
    """One kind of work: what it is called, what it needs to know, and what it does.

    `key` is permanent: it is stored with every schedule and run. An `idempotent` job may be run again after a crash;
    one that is not ends `interrupted` and waits for a person. `timeout` bounds one attempt. Runs of a tenant with the
    same `concurrency_key` never run at once; it may name parameters, like `"import:{customer}"`. Raise `version` when
    Params changes its shape, and carry what is stored over in `migrate`.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    description: ClassVar[str] = ""
    queue: ClassVar[str] = DEFAULT_QUEUE
    lane: ClassVar[Lane] = "bulk"
    timeout: ClassVar[timedelta] = timedelta(minutes=15)
    idempotent: ClassVar[bool] = False
    max_attempts: ClassVar[int] = 1
    concurrency_key: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = NoParams

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.idempotent and not any("max_attempts" in each.__dict__ for each in cls.__mro__[:-2]):
            cls.max_attempts = ATTEMPTS_IF_IDEMPOTENT

    def run(self, ctx: RunContext, params: Any) -> Result:
        """Do the work; `params` is a `Params`. Raise PermanentError or RetryLater to decide about another attempt."""
        raise NotImplementedError

    def detail(self, run_id: UUID) -> Markup:  # noqa: ARG002 - for those that override it
        """Return what a run's page shows beyond what every run has, as HTML; nothing unless a job type has more."""
        return Markup()

    def migrate(self, old: dict[str, Any]) -> dict[str, Any]:
        """Return parameters of this version from those of an earlier one."""
        return old

    @classmethod
    def load_params(cls, stored: Mapping[str, Any], version: int) -> BaseModel:
        """Return stored parameters of `version`, carried over to this one.

        Raises InvalidInput if they no longer fit: a schedule with such ones needs attention.
        """
        return job_params.load(cls.Params, cls.carried_over(stored, version))

    @classmethod
    def has_shape(cls, stored: Mapping[str, Any], version: int) -> bool:
        """Whether stored parameters of `version` are those that Params asks for, by their names.

        Then they fitted when they were stored, and do now. It asks no validator, as `load_params` does: a planner with
        thousands of schedules has no time for that.
        """
        fields = cls.Params.model_fields
        needed = (name for name, info in fields.items() if info.is_required())
        return version == cls.version and stored.keys() <= fields.keys() and all(name in stored for name in needed)

    @classmethod
    def key_for(cls, stored: Mapping[str, Any], version: int) -> str | None:
        """Return the concurrency key of a run with these stored parameters, or None if such runs may overlap.

        Parameters that no longer fit have no key: their run fails before it does anything. A key of more than
        LONGEST_KEY characters ends in a hash of all of it.
        """
        if cls.concurrency_key is None:
            return None
        try:
            params = cls.load_params(stored, version)
        except InvalidInput:
            return None
        named = params.model_dump(mode="json", include=_named_in(cls.concurrency_key))
        return _shortened(cls.concurrency_key.format_map(named))

    @classmethod
    def carried_over(cls, stored: Mapping[str, Any], version: int) -> dict[str, Any]:
        """Return stored parameters of `version` as this one would have stored them. Raises InvalidInput."""
        if version == cls.version:
            return dict(stored)
        if version > cls.version:
            raise InvalidInput({"": f"A newer version of {cls.label!r} stored these parameters."})
        try:
            return cls().migrate(dict(stored))
        except Exception as error:  # it is a plugin's own code
            why = str(error).rstrip(".")
            raise InvalidInput({"": f"{cls.label!r} could not carry its older parameters over: {why}."}) from error


_job_types: dict[str, type[JobType]] = {}
_brought: dict[str, tuple[str, ...]] = {}
KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
MOST_ATTEMPTS = 100
LONGEST_TIMEOUT = timedelta(days=365)
MOST_VERSIONS = 2_147_483_647
"""What the ledger's column of versions holds."""

J = TypeVar("J", bound=type[JobType])


def register(cls: J) -> J:
    """Make a job type known; also a decorator. Registering the same class again does nothing.

    Raises BadJobType, saying what to change, for a job type that could not work.
    """
    _check(cls)
    known = _job_types.setdefault(cls.key, cls)
    if known is not cls:
        raise BadJobType(
            f"Two job types have the key {cls.key!r}: {_name(known)} and {_name(cls)}. Give one of them another key."
        )
    return cls


def job_type(key: str) -> JobType:
    """Return the job type with this key. Raises UnknownJobType."""
    if key not in _job_types:
        raise UnknownJobType(f"There is no job type {key!r}: its plugin is missing, or its name is misspelt.")
    return _job_types[key]()


def all_job_types() -> list[JobType]:
    """Return every job type, by label."""
    return [cls() for cls in sorted(_job_types.values(), key=lambda cls: cls.label.lower())]


def plugins() -> Mapping[str, tuple[str, ...]]:
    """Return what was loaded as a plugin, by its name, and the keys of the job types that each one brought."""
    return _brought


def load_plugins(names: Iterable[str]) -> None:
    """Import the modules `names` and the entry points of `stationmaster.jobs`, and register their job types.

    Raises BadJobType, naming the plugin, if one cannot be found, imported or used.
    """
    for name in names:
        _brought[name] = _register_all_of(_imported(name))
    for entry in entry_points(group=ENTRY_POINTS):
        found = _loaded(entry)
        if isinstance(found, ModuleType):
            _brought[entry.value] = _register_all_of(found)
        elif inspect.isclass(found) and issubclass(found, JobType):
            _brought[entry.value] = (register(found).key,)
        else:
            raise BadJobType(f"The plugin {entry.name!r} ({entry.value}) is neither a module nor a job type.")


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # it is somebody else's code
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise BadJobType(
                f"PLUGINS names {name!r}, and Python finds no such module. Is it installed, or on PYTHONPATH?"
            ) from None
        raise BadJobType(f"PLUGINS names {name!r}, which cannot be imported: {_told(error)}") from error


def _loaded(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:  # it is somebody else's code
        raise BadJobType(
            f"The plugin {entry.name!r} ({entry.value}) of an installed package cannot be imported: {_told(error)}"
        ) from error


def _told(error: Exception) -> str:
    """Return what was wrong and in which line, for whoever sees no traceback."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error}."  # it names its line
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})."


def _register_all_of(module: ModuleType) -> tuple[str, ...]:
    """Register each class that has a key or a label, and return the keys; one with neither is a base of others."""
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, JobType)]
    return tuple(register(cls).key for cls in classes if hasattr(cls, "key") or hasattr(cls, "label"))


def _check(cls: type[JobType]) -> None:
    wrong = [sentence for is_right, sentence in _demands(cls) if not is_right]
    if wrong:
        raise BadJobType(f"{_name(cls)}: {' '.join(wrong)}")
    try:
        job_params.check_model(cls.Params)
    except UnsupportedField as error:
        raise BadJobType(f"{_name(cls)}: {error}") from None
    if not _is_key(cls):
        raise BadJobType(
            f"{_name(cls)}: Its concurrency_key may name parameters that are no secrets, like 'import:{{customer}}'."
        )


def _demands(cls: type[JobType]) -> list[tuple[bool, str]]:
    key, label, queue = (getattr(cls, name, "") for name in ("key", "label", "queue"))
    return [
        (isinstance(key, str) and bool(KEY.fullmatch(key)), "It needs a key like 'acme.nightly_totals'."),
        (isinstance(label, str) and bool(label), "It needs a label, like label = 'Nightly totals'."),
        (isinstance(cls.description, str), "Its description must be text."),
        (isinstance(queue, str) and queue in QUEUES, f"Its queue must be one of {', '.join(QUEUES)}."),
        (cls.lane in ("interactive", "bulk"), "Its lane must be interactive or bulk."),
        (_lasts(cls.timeout), "Its timeout must be a timedelta, of a second to a year, like timedelta(minutes=10)."),
        (_counts(cls.max_attempts, MOST_ATTEMPTS), f"Its max_attempts must be a whole number, 1 to {MOST_ATTEMPTS}."),
        (_counts(cls.version, MOST_VERSIONS), "Its version must be a whole number, 1 or more."),
        (isinstance(cls.idempotent, bool), "Its idempotent must be True or False."),
        (isinstance(cls.concurrency_key, str | None), "Its concurrency_key must be text, like 'import:{customer}'."),
        (_is_model(cls.Params), "Its Params must be a pydantic model: class Params(BaseModel)."),
        (_can_be_called(cls), "It needs a run(self, ctx, params), which is no async one."),
    ]


def _lasts(timeout: object) -> bool:
    return isinstance(timeout, timedelta) and timedelta(seconds=1) <= timeout <= LONGEST_TIMEOUT


def _counts(number: object, most: int) -> bool:
    return isinstance(number, int) and 1 <= number <= most


def _is_model(params: object) -> bool:
    return inspect.isclass(params) and issubclass(params, BaseModel)


def _can_be_called(cls: type[JobType]) -> bool:
    """Whether `run` is the job type's own and takes what a worker gives it."""
    if cls.run is JobType.run or inspect.iscoroutinefunction(cls.run):
        return False
    try:
        inspect.signature(cls.run).bind(None, None, None)
    except TypeError:
        return False
    return True


def _is_key(cls: type[JobType]) -> bool:
    """Whether the concurrency key can be made of parameters; a run's key is shown, and so it must hold no secret."""
    if cls.concurrency_key is None:
        return True
    known = {name for name, info in cls.Params.model_fields.items() if not kind_of(info).secret}
    try:
        return bool(cls.concurrency_key) and _named_in(cls.concurrency_key) <= known
    except ValueError:
        return False


def _named_in(template: str) -> set[str]:
    """Return the names in braces. Raises ValueError for braces that do not pair."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def _shortened(key: str) -> str:
    if len(key) <= LONGEST_KEY:
        return key
    digest = sha256(key.encode()).hexdigest()
    return f"{key[: LONGEST_KEY - len(digest) - 1]}…{digest}"


def _name(cls: type[JobType]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
