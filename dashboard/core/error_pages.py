"""Answer errors with pages that say what to do and reveal nothing of the inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from flask import Flask, render_template, request
from flask_limiter.errors import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from markupsafe import Markup
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import Conflict, HTTPException, ServiceUnavailable, UnprocessableEntity
from werkzeug.wrappers import Response

from dashboard.core.clock import utc_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.formats import duration
from dashboard.core.mounting import REQUEST_ID
from dashboard.core.templating import local_clock
from dashboard.core.tenancy import current_binding
from dashboard.extensions import limiter

OWN_WORDS = frozenset({403, 409, 421, 422, 503})
"""Errors that our code raises with a sentence for people; other descriptions come from libraries."""

EXPIRED_FORM = (
    "This form is not valid any more, perhaps because you signed in or out since it was opened. "
    "Nothing was changed. Go back, reload the page and send it again."
)

log = structlog.get_logger(__name__)


def init_app(app: Flask) -> None:
    """Register a page for every error; one without a page of its own gets its family's."""
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(CSRFError, lambda error: _page(error, EXPIRED_FORM))
    app.register_error_handler(RateLimitExceeded, lambda error: _page(error, _when_to_try_again()))
    app.register_error_handler(Refused, lambda error: _page(Conflict(), str(error)))
    app.register_error_handler(InvalidInput, lambda error: _page(UnprocessableEntity(), str(error)))
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(away, _database_is_away)


def _explain(error: HTTPException) -> Response:
    own_words = error.code in OWN_WORDS and error.description != type(error).description
    return _page(error, (error.description or "") if own_words else "")


def _page(error: HTTPException, message: str = "") -> Response:
    code, binding = error.code or 500, current_binding()
    response = error.get_response()
    response.content_type = "text/html; charset=utf-8"
    response.data = render_template(
        [f"errors/{code}.html", f"errors/{code // 100}00.html"],
        message=message,
        request_id=request.environ.get(REQUEST_ID, ""),
        **({"brand": binding.settings["BRAND_NAME"]} if binding else {}),
    )
    return response


def _when_to_try_again() -> str:
    limit = limiter.current_limit
    if limit is None:
        return ""
    moment = datetime.fromtimestamp(limit.reset_at, UTC)
    wait = max(moment - utc_now(), timedelta(seconds=1))
    return Markup("There were too many attempts. Try again in {}, at {}.").format(
        duration(timedelta(seconds=round(wait.total_seconds()))), local_clock(moment)
    )


def _database_is_away(error: Exception) -> Response:
    log.error("database_is_away", exc_info=error)
    return _page(ServiceUnavailable())
