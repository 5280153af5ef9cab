"""Build links that lie outside the mounted tenant: the platform's, another tenant's, and the host's own."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, current_app, url_for

from dashboard.core.tenancy import Tenant

STATIC = Path(__file__).parent.parent / "static"


def host_url(path: str) -> str:
    """Return the link of a host-level mount such as `/static/…` or `/flower/`: no tenant's prefix goes before it."""
    return "/" + path.removeprefix("/")


def asset(name: str) -> str:
    """Return the link of a static file, with its content's fingerprint so that it may be cached for ever."""
    return host_url(f"static/{name}?v={_fingerprint(name)}")


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def platform_url(endpoint: str, **values: object) -> str:
    """Return the absolute link of a platform page, whichever tenant is bound."""
    adapter = current_app.url_map.bind("platform.invalid")
    return str(current_app.config["PLATFORM_ROOT"]) + adapter.build(endpoint, values)


def tenant_url(tenant: Tenant, endpoint: str, **values: object) -> str:
    """Return the absolute link of a page of `tenant` at its canonical root."""
    adapter = current_app.url_map.bind("tenant.invalid")
    return tenant.roots[0].url + adapter.build(endpoint, values)


def page_url(path: str = "/") -> str:
    """Return the absolute link of a path of the bound tenant's dashboard, at the root in use."""
    return url_for("overview.index", _external=True).rstrip("/") + "/" + path.removeprefix("/")


def init_app(app: Flask) -> None:
    """Let templates build these links."""
    app.add_template_global(asset)
    app.add_template_global(host_url)
    app.add_template_global(platform_url)
