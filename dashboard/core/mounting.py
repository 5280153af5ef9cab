"""Mount the application: map host and prefix of a request to a tenant before Flask opens the request.

Outside Flask, because the session is opened when the request context is pushed and must already know the tenant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from flask import Flask, has_request_context, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import LanguageAccept
from werkzeug.exceptions import HTTPException, MisdirectedRequest, NotFound, ServiceUnavailable
from werkzeug.http import parse_accept_header
from werkzeug.sansio.utils import get_host

from config.patience import patience
from dashboard.core.ids import new_id
from dashboard.core.tenancy import DEFAULT_PORTS, Binding, bound, current_binding, resolver_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST_MOUNTS = frozenset({"static", "flower", "healthz", "readyz", "metrics"})
"""First path segments that belong to every host and bind no tenant; reserved as prefixes."""

ANY_HOST = HOST_MOUNTS - {"flower"}
"""Those that answer whatever Host a probe or a proxy sends."""

DATABASE_PATIENCE_SECONDS = 8.0
"""How long a request waits for the database in all, and each later piece of its answer again, before it gives up."""

LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})?")
"""The language tags that are carried, such as `de` and `de-CH`; of a longer one nothing is."""

log = structlog.get_logger(__name__)

_REFUSAL = "stationmaster.refusal"
REQUEST_ID = "stationmaster.request_id"
TASK = "stationmaster.task"
TASK_ID = "stationmaster.task_id"
"""The task that a worker opened a request for; a browser's has neither."""
KNOWN_HOST = "stationmaster.host"
"""The host a request came to, if it is one of ours and sessions may live there; absent for probes and refusals."""


class Mount:
    """WSGI middleware: bind the tenant whose root the request names, and move its prefix into SCRIPT_NAME.

    A host that is nobody's is answered 421 (RFC 9110 §15.5.20), an unknown prefix of a known host 404.
    """

    def __init__(self, app: Flask, wsgi_app: WSGIApplication) -> None:
        self.app = app
        self.wsgi_app = wsgi_app
        platform = urlsplit(app.config["PLATFORM_ROOT"])
        self.platform_host = (platform.hostname or "", normal_port(platform.port))
        self.platform_scheme = platform.scheme
        self.platform_netloc = platform.netloc
        self.platform_prefix = platform.path

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with patience(DATABASE_PATIENCE_SECONDS):
            return self._answer(environ, start_response)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[REQUEST_ID] = new_id()
        # A root is a whole path: what a server in front took for its own prefix is put back before it is looked up.
        environ["PATH_INFO"] = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
        environ["SCRIPT_NAME"] = ""
        binding = None
        try:
            binding = self._mount(environ)
        except HTTPException as refusal:
            environ[_REFUSAL] = refusal
        except SQLAlchemyError:
            log.warning("host_lookup_failed", exc_info=True)
            environ[_REFUSAL] = ServiceUnavailable()
        with bound(binding):
            return _BoundBody(self.wsgi_app(environ, start_response), current_binding())

    def _mount(self, environ: WSGIEnvironment) -> Binding | None:
        path = environ["PATH_INFO"]
        first_segment = path.removeprefix("/").partition("/")[0]
        if first_segment in ANY_HOST:
            return None
        host, port = host_and_port(environ)
        resolver = resolver_of(self.app)
        roots = resolver.at_host(host, port)
        at_platform = (host, port) == self.platform_host
        if not roots and not at_platform:
            raise MisdirectedRequest(f"No tenant is served at {host or 'this address'}.")
        environ[KNOWN_HOST] = host
        environ["wsgi.url_scheme"] = self.platform_scheme if at_platform else roots[0][0].scheme
        if first_segment in HOST_MOUNTS:
            return None
        for root, tenant_id in roots:
            if starts_with(path, root.prefix):
                tenant = resolver.by_id(tenant_id)
                if tenant is None:
                    break
                _enter(environ, root.scheme, root.netloc, root.prefix)
                return Binding.of(tenant, root.id, locale=_language(environ), request_id=environ[REQUEST_ID])
        if not at_platform or not starts_with(path, self.platform_prefix):
            raise NotFound
        _enter(environ, self.platform_scheme, self.platform_netloc, self.platform_prefix)
        return None


def _language(environ: WSGIEnvironment) -> str | None:
    """Return the language that the browser asks for first (RFC 9110, section 12.5.4): tasks ask for the same."""
    wanted = parse_accept_header(environ.get("HTTP_ACCEPT_LANGUAGE"), LanguageAccept).best
    return wanted if wanted and LANGUAGE.fullmatch(wanted) else None


class _BoundBody:
    """A response body that is produced, piece by piece, under the binding it was begun with."""

    def __init__(self, body: Iterable[bytes], binding: Binding | None) -> None:
        self.body = body
        self.pieces = iter(body)
        self.binding = binding

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with bound(self.binding), patience(DATABASE_PATIENCE_SECONDS):
            return next(self.pieces)

    def close(self) -> None:
        close = getattr(self.body, "close", None)
        if close is not None:
            with bound(self.binding):
                close()


def init_app(app: Flask) -> None:
    """Put the mount around `app`, and let refused requests through to its error pages."""
    app.wsgi_app = Mount(app, app.wsgi_app)  # type: ignore[method-assign]
    app.before_request_funcs.setdefault(None, []).insert(0, _refuse)  # before forms' tokens are looked at


def _refuse() -> None:
    refusal: Any = request.environ.get(_REFUSAL)
    if refusal is not None:
        raise refusal


def name_origin(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put on a log line which tenant, request and task it is of (a structlog processor)."""
    binding = current_binding()
    if binding is not None:
        event.setdefault("tenant", binding.tenant.slug)
    if has_request_context():
        for key, name in ((REQUEST_ID, "request_id"), (TASK, "task"), (TASK_ID, "task_id")):
            if request.environ.get(key) is not None:
                event.setdefault(name, str(request.environ[key]))
    return event


def starts_with(path: str, prefix: str) -> bool:
    """Whether `path` lies under `prefix`, on a segment's boundary."""
    return path == prefix or path.startswith(prefix + "/")


def normal_port(port: int | None) -> int | None:
    """Return None for a scheme's own port: a proxy that ends TLS leaves the scheme unknown, but never the port."""
    return None if port in DEFAULT_PORTS.values() else port


def _enter(environ: WSGIEnvironment, scheme: str, netloc: str, prefix: str) -> None:
    """Make the request one for this root, spelled as the root is, whatever stands in its Host header."""
    environ["wsgi.url_scheme"] = scheme
    environ["HTTP_HOST"] = netloc
    environ["SCRIPT_NAME"] = prefix
    environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)


def host_and_port(environ: WSGIEnvironment) -> tuple[str, int | None]:
    """Return host and port as the client asked for them; empty for a Host that is no host."""
    netloc = get_host(environ["wsgi.url_scheme"], environ.get("HTTP_HOST"), None)
    try:
        parts = urlsplit(f"//{netloc}")
        return (parts.hostname or "").rstrip("."), normal_port(parts.port)
    except ValueError:
        return "", None
