"""Bind a tenant: which organisation, at which of its roots, for whom; and overlay its configuration.

A tenant is a place the application is mounted at. The mount (`core.mounting`) binds it for a request, the worker
binds it for a task, `flask … --tenant` binds it for a command. Everything else asks `current_tenant()`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from typing import Any, Literal, NoReturn, ParamSpec, Protocol, Self, TypeVar, cast
from uuid import UUID

from flask import Config, Flask, current_app, has_request_context
from flask.globals import app_ctx

from dashboard.core.errors import NoTenant

Scheme = Literal["http", "https"]
ActorKind = Literal["user", "schedule", "system"]
HTTP: Scheme = "http"
HTTPS: Scheme = "https"
DEFAULT_PORTS = {"http": 80, "https": 443}

CONTEXTS_ARE_ONE = "ctx" in inspect.signature(Flask.process_response).parameters
"""From Flask 3.2 on a request context is an application context with a request."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A verified URL that a tenant is mounted at; `prefix` is empty or starts with `/` and ends without one."""

    id: UUID
    scheme: Scheme
    host: str
    port: int | None
    prefix: str

    @property
    def netloc(self) -> str:
        """Host, and the port where it is not the scheme's own."""
        return self.host if self.port in (None, DEFAULT_PORTS[self.scheme]) else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.prefix}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tenant:
    """An organisation as every process sees it: a snapshot of its record, its roots (canonical first), its values.

    `paused_for` is why the platform lets none of its runs start; empty where they start.
    """

    id: UUID
    slug: str
    name: str
    active: bool
    roots: tuple[Root, ...]
    values: Mapping[str, Any]
    paused_for: str = ""

    def root(self, root_id: UUID | None) -> Root:
        """Return the verified root with this id, else the canonical one: a forged root reaches no link."""
        return next((root for root in self.roots if root.id == root_id), self.roots[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts: a person, a schedule (planned runs act as their schedule), or the system itself."""

    kind: ActorKind
    id: UUID | None = None


SYSTEM = Actor(kind="system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A tenant at one of its roots, for one actor; `settings` are its configuration with what the root implies."""

    tenant: Tenant
    root: Root
    actor: Actor = SYSTEM
    locale: str | None = None
    request_id: UUID | None = None
    settings: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls,
        tenant: Tenant,
        root_id: UUID | None = None,
        *,
        actor: Actor = SYSTEM,
        locale: str | None = None,
        request_id: UUID | None = None,
    ) -> Binding:
        root = tenant.root(root_id)
        return cls(
            tenant=tenant,
            root=root,
            actor=actor,
            locale=locale,
            request_id=request_id,
            settings=_settings(tenant, root),
        )


@lru_cache(maxsize=1024)
def _settings(tenant: Tenant, root: Root) -> Mapping[str, Any]:
    return {**tenant.values, **_implied_by(root, tenant.roots)}


def _implied_by(root: Root, roots: Iterable[Root]) -> dict[str, Any]:
    """What Flask needs so that a plain application context builds the same links as a request at the root."""
    return {
        "SERVER_NAME": root.netloc,
        "APPLICATION_ROOT": root.prefix or "/",
        "PREFERRED_URL_SCHEME": root.scheme,
        "TRUSTED_HOSTS": sorted({each.host for each in roots}),
    }


_bound: ContextVar[Binding | None] = ContextVar("tenant_binding", default=None)


def current_binding() -> Binding | None:
    """Return what is bound here, or None on the platform and in housekeeping."""
    return _bound.get()


def require_binding() -> Binding:
    """Return what is bound here. Raises NoTenant where nothing is."""
    binding = _bound.get()
    if binding is None:
        raise NoTenant("No tenant is bound here.")
    return binding


def current_tenant() -> Tenant:
    """Return the bound tenant. Raises NoTenant where none is."""
    return require_binding().tenant


def bound(binding: Binding | None) -> AbstractContextManager[None]:
    """Make `binding` current inside the block (None: no tenant), and restore what was before."""
    return _Bound(binding)


class _Bound:
    """The block; a class takes a fifth of the time of a generator, and every task enters one."""

    __slots__ = ("binding", "token")

    def __init__(self, binding: Binding | None) -> None:
        self.binding = binding

    def __enter__(self) -> None:
        self.token = _bound.set(self.binding)

    def __exit__(self, *_: object) -> None:
        _bound.reset(self.token)


def act_as(actor: Actor) -> None:
    """Name the actor of the current binding, once sign-in has told who it is."""
    _bound.set(replace(require_binding(), actor=actor))


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` for another thread, executor or greenlet to call: it works for the tenant bound here.

    It may be called often and at once. Each call has `g` and `db.session` of its own, ended after the call.
    Without it a thread has no tenant, and whatever only a tenant can give raises NoTenant.
    """
    context = copy_context()
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def in_own_context(*args: P.args, **kwargs: P.kwargs) -> R:
        with _own_context(app):
            return function(*args, **kwargs)

    @wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(in_own_context, *args, **kwargs)

    return carried


def _own_context(app: Flask) -> AbstractContextManager[Any]:
    """Return a context with `g` and `db.session` of its own, in which the request that is open here stays open."""
    if CONTEXTS_ARE_ONE and has_request_context():
        return cast(AbstractContextManager[Any], cast(Any, app_ctx).copy())
    return app.app_context()


class Resolver(Protocol):
    """Finds tenants; the tenants feature registers one, so that core knows no table."""

    def by_id(self, tenant_id: UUID) -> Tenant | None:
        """Return the tenant, or None if there is none (deleted). Suspended ones have `active` False."""

    def by_slug(self, slug: str) -> Tenant | None:
        """Return the tenant with this slug, or None."""

    def at_host(self, host: str, port: int | None) -> list[tuple[Root, UUID]]:
        """Return the verified roots at this host and port (None: 80 or 443) with their tenants' ids.

        Longest prefix first.
        """


def register_resolver(app: Flask, resolver: Resolver) -> None:
    """Give the app its way to find tenants."""
    app.extensions["tenants"] = resolver


def resolver_of(app: Flask) -> Resolver:
    """Return the app's way to find tenants."""
    return cast(Resolver, app.extensions["tenants"])


class PerTenant:
    """The base value of a key that only a tenant can give."""

    def __repr__(self) -> str:
        return "<set per tenant>"


PER_TENANT = PerTenant()


class TenantConfig(Config):
    """`app.config` whose reads see the bound tenant's values first; it can be written only while none is bound."""

    def __getitem__(self, key: str) -> Any:
        binding = _bound.get()
        if binding is not None and key in binding.settings:
            return binding.settings[key]
        value = dict.__getitem__(self, key)
        if value is PER_TENANT:
            raise NoTenant(f"{key} belongs to a tenant, and none is bound here.")
        return value

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or key in _overlaid()

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.copy())

    def __len__(self) -> int:
        return len(self.copy())

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Say for whom, and no value: the secrets are among them."""
        binding = _bound.get()
        return f"<TenantConfig of {binding.tenant.slug if binding else 'no tenant'}>"

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return dict(other) | self.copy()

    def keys(self) -> Any:
        return self.copy().keys()

    def items(self) -> Any:
        return self.copy().items()

    def values(self) -> Any:
        return self.copy().values()

    def copy(self) -> dict[str, Any]:
        """Return all that can be read here as a plain dict; what only a tenant can give is PER_TENANT without one."""
        return {**{key: dict.__getitem__(self, key) for key in dict.keys(self)}, **_overlaid()}

    def __setitem__(self, key: str, value: Any) -> None:
        _refuse_while_bound(key)
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: str) -> None:
        _refuse_while_bound(key)
        dict.__delitem__(self, key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **values: Any) -> None:
        for key, value in dict(*args, **values).items():
            self[key] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]
        self.update(other)
        return self

    def pop(self, key: str, *default: Any) -> Any:
        _refuse_while_bound(key)
        return dict.pop(self, key, *default)

    def popitem(self) -> NoReturn:
        raise TypeError("Name the key that is to be removed.")

    def clear(self) -> NoReturn:
        raise TypeError("The application cannot run without its configuration.")


def _overlaid() -> Mapping[str, Any]:
    binding = _bound.get()
    return {} if binding is None else binding.settings


def _refuse_while_bound(key: str) -> None:
    if _bound.get() is not None:
        raise RuntimeError(f"config[{key!r}] was written while a tenant is bound: it would change for all tenants.")
