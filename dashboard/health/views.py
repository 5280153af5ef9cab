"""Tell probes that the process lives and is ready, and Prometheus how much there is to do."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from flask import Blueprint, Response, abort, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from config.patience import patience
from dashboard.accounts.access import public
from dashboard.core.tenancy import current_binding
from dashboard.health.checks import Check, broker, database, migrations, settings_here
from dashboard.health.metrics import exposition

bp = Blueprint("health", __name__)

DATABASE_PATIENCE_SECONDS = 2.0
"""A probe gives up early: whoever asks has a deadline of a few seconds himself."""

READY_CHECKS: dict[str, Check] = {"database": database, "migrations": migrations, "broker": broker}


@bp.before_request
def _at_hosts_only() -> None:
    """A tenant's prefix has no probes of its own."""
    if current_binding() is not None:
        abort(404)


@bp.get("/healthz")
@public
def live() -> ResponseReturnValue:
    """Answer while the process does."""
    return _answer(jsonify(status="ok"))


@bp.get("/readyz")
@public
def ready() -> ResponseReturnValue:
    """Answer 200 if requests can be served, else 503; which part is missing, but no detail of it."""
    with patience(DATABASE_PATIENCE_SECONDS):
        checks = {part: _state(check) for part, check in READY_CHECKS.items()}
    is_ready = "fail" not in checks.values()
    response = _answer(jsonify(status="ready" if is_ready else "not ready", checks=checks))
    response.status_code = 200 if is_ready else 503
    return response


@bp.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """Show the numbers to whoever has METRICS_TOKEN; without the token it is as if there were nothing here."""
    token = settings_here().metrics_token
    given = request.headers.get("Authorization", "")
    expected = f"Bearer {token.get_secret_value()}" if token else ""
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        abort(404)
    body, content_type = exposition()
    return _answer(Response(body, content_type=content_type))


def _state(check: Check) -> str:
    try:
        return "fail" if any(_failures(check)) else "ok"
    except SQLAlchemyError:
        return "fail"


def _failures(check: Check) -> Iterator[bool]:
    return (finding.status == "fail" for finding in check())


def _answer(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
