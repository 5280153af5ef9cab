"""Know every job type: the ones here, and the ones that plugins bring."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib.metadata import entry_points
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
        return job_params.load(
            cls.Params, dict(stored) if version == cls.version else cls._carried_over(stored, version)
        )

    @classmethod
    def key_for(cls, stored: Mapping[str, Any], version: int) -> str | None:
        """Return the concurrency key of a run with these stored parameters, or None if such runs may overlap.

        Parameters that no longer fit have no key: their run fails before it does anything.
        """
        if cls.concurrency_key is None:
            return None
        try:
            params = cls.load_params(stored, version)
        except InvalidInput:
            return None
        return cls.concurrency_key.format_map(params.model_dump(mode="json", include=_named_in(cls.concurrency_key)))

    @classmethod
    def _carried_over(cls, stored: Mapping[str, Any], version: int) -> dict[str, Any]:
        if version > cls.version:
            raise InvalidInput({"": f"A newer version of {cls.label!r} stored these parameters."})
        try:
            return cls().migrate(dict(stored))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput({"": f"{cls.label!r} could not carry its older parameters over: {error}."}) from error


_job_types: dict[str, type[JobType]] = {}
KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
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


def load_plugins(names: Iterable[str]) -> None:
    """Import the modules `names` and the entry points of `stationmaster.jobs`, and register their job types.

    Raises BadJobType, naming the plugin, if one cannot be found or used.
    """
    for name in names:
        _register_all_of(_imported(name))
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found = entry.load()
        except (ImportError, AttributeError) as error:
            raise BadJobType(f"The plugin {entry.name!r} ({entry.value}) cannot be loaded: {error}.") from error
        if isinstance(found, ModuleType):
            _register_all_of(found)
        elif inspect.isclass(found) and issubclass(found, JobType):
            register(found)
        else:
            raise BadJobType(f"The plugin {entry.name!r} ({entry.value}) is neither a module nor a job type.")


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise BadJobType(
            f"PLUGINS names {name!r}, and Python finds no such module. Is it installed, or on PYTHONPATH?"
        ) from None


def _register_all_of(module: ModuleType) -> None:
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if issubclass(cls, JobType) and hasattr(cls, "key"):
            register(cls)


def _check(cls: type[JobType]) -> None:
    wrong = [sentence for is_wrong, sentence in _faults(cls) if is_wrong]
    if wrong:
        raise BadJobType(f"{_name(cls)}: {' '.join(wrong)}")
    try:
        job_params.check_model(cls.Params)
    except UnsupportedField as error:
        raise BadJobType(f"{_name(cls)}: {error}") from None


def _faults(cls: type[JobType]) -> list[tuple[bool, str]]:
    return [
        (not KEY.fullmatch(getattr(cls, "key", "")), "It needs a key like 'acme.nightly_totals'."),
        (not getattr(cls, "label", ""), "It needs a label, like label = 'Nightly totals'."),
        (cls.queue not in QUEUES, f"Its queue must be one of {', '.join(QUEUES)}."),
        (cls.lane not in ("interactive", "bulk"), "Its lane must be interactive or bulk."),
        (cls.timeout < timedelta(seconds=1), "Its timeout must be a timedelta of a second or more."),
        (cls.max_attempts < 1, "Its max_attempts must be 1 or more."),
        (cls.version < 1, "Its version must be 1 or more."),
        (not _is_key(cls), "Its concurrency_key may name parameters that are no secrets, like 'import:{customer}'."),
        (cls.run is JobType.run, "It needs a run(self, ctx, params)."),
    ]


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


def _name(cls: type[JobType]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
