"""Lead `/flower/` of every host to Flower: named paths and headers only, for its audience, under our own rules.

Flower knows no tenants and no roles. What it may be asked, and what of its answers reaches a browser, is decided here.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import cast
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from flask_login import current_user

from config.settings import Settings
from dashboard.accounts.sessions import current_sign_in
from dashboard.audit.actions import record
from dashboard.core.links import asset
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Actor
from dashboard.extensions import csrf
from dashboard.monitor.audience import flower_audience
from dashboard.monitor.package import inline_script_hash, static_file
from dashboard.monitor.upstream import PREFIX, Answer, Flower, FlowerAway, FlowerBusy

bp = Blueprint("flower", __name__)
csrf.exempt(bp)  # Flower's pages know no token of ours; `_refuse_other_sites` stands in for it.

NAME = r"[A-Za-z0-9_.@:+-]+"
PAGES = re.compile(rf"(?:workers|tasks|broker|worker/{NAME}|task/{NAME}|api/workers)?")
SEARCH = "tasks/datatable"
"""The list of tasks reads by POST."""

CONTROLS = re.compile(
    rf"api/(?P<act>worker/(?:shutdown|pool/(?:restart|grow|shrink|autoscale)|queue/(?:add|cancel)-consumer)"
    rf"|task/(?:timeout|rate-limit|revoke))/(?P<name>{NAME})"
)
"""What its pages can do. Never apply, async-apply or send-task, which would start work past the ledger."""

QUERY = frozenset({"refresh", "json", "limit", "workername"})
CONTROL_FIELDS = frozenset({"workername", "n", "min", "max", "queue", "soft", "hard", "ratelimit", "terminate"})
SENT_ON = ("Accept", "Accept-Language", "Origin", "Sec-Fetch-Site", "X-Requested-With")
PASSED_STATUSES = frozenset({200, 400, 403, 404})
PASSED_TYPES = ("text/html", "application/json", "text/plain")

TERMINATING_SIGNAL = "SIGKILL"
"""Our workers remap SIGTERM, Flower's choice, so that it stops nothing. Here somebody wants a run stopped at last."""

SLOWEST_REFRESH_S = "5"
"""`autorefresh=0` makes Flower's page ask without a pause, hundreds of times a second."""

INLINE_STYLE = re.compile(rb' style="[^"<>]*"')
"""One column's width in Flower's page of a worker; the policy would refuse it and say so in the console."""

COMPRESS_FROM = 1024
STATIC_AGE = timedelta(days=365)


def _connect(state: BlueprintSetupState) -> None:
    settings: Settings = state.app.extensions["settings"]
    if settings.flower_url:
        state.app.extensions["flower"] = Flower(settings.flower_url, settings.flower_basic_auth)


bp.record_once(_connect)


@bp.get("/flower")
@flower_audience
def enter() -> ResponseReturnValue:
    """Lead to the prefix that all of Flower's links have."""
    return redirect(PREFIX, 303)


@bp.get("/flower/static/<path:name>")
@flower_audience
def static(name: str) -> ResponseReturnValue:
    """Serve Flower's own files from the installed package; their links carry a fingerprint."""
    file = static_file(name) or abort(404)
    response = _compressed(Response(file.body, content_type=file.content_type), file.gzipped)
    response.cache_control.private = True
    response.cache_control.max_age = int(STATIC_AGE.total_seconds())
    response.cache_control.immutable = True
    return response


@bp.get("/flower/", defaults={"path": ""})
@bp.get("/flower/<path:path>")
@flower_audience
def show(path: str) -> ResponseReturnValue:
    """Show a page of Flower's."""
    if ".." in path or not PAGES.fullmatch(path):
        abort(404)
    if hasty := _slowed_down(path):
        return redirect(hasty, 303)
    query = {name: value for name, value in request.args.items() if name in QUERY}
    return _ask("GET", path, query=query)


@bp.post("/flower/<path:path>")
@flower_audience
def act(path: str) -> ResponseReturnValue:
    """Search tasks, or, for platform owners who signed in lately, do one of the things that Flower's pages can do."""
    control = CONTROLS.fullmatch(path)
    if ".." in path or not (control or path == SEARCH):
        abort(404)
    _refuse_other_sites()
    if not control:
        return _ask("POST", path, form=list(request.form.items(multi=True)))
    if not current_user.is_platform_owner:
        return _words("Only platform owners may control workers and tasks here.", 403)
    sign_in = current_sign_in()
    if sign_in is None or not sign_in.is_fresh:
        return _words("Sign in again first: this needs a sign-in that is not older than a few minutes.", 403)
    form = [(name, value) for name, value in request.form.items() if name in CONTROL_FIELDS]
    _record(control["act"], control["name"], dict(form))
    if control["act"] == "task/revoke":
        form.append(("signal", TERMINATING_SIGNAL))
    return _ask("POST", path, form=form)


def _slowed_down(path: str) -> str | None:
    """Return the same address with a bearable refresh, or None. Flower's script reads it from the address."""
    given = request.args.get("autorefresh")
    if given is None or (given.isdecimal() and int(given) > 0):
        return None
    return f"{PREFIX}{path}?{urlencode({**request.args, 'autorefresh': SLOWEST_REFRESH_S})}"


def _refuse_other_sites() -> None:
    """Take a POST from our own pages only: browsers say where it comes from, and nobody else has a session here."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    ours = site == "same-origin" if site else origin is not None and urlsplit(origin).netloc == request.host
    if not ours:
        abort(403, "This must come from a page of this dashboard.")


def _record(act: str, name: str, details: dict[str, str]) -> None:
    """Write the audit row before it is done, so that nothing is done without one."""
    with system_scope("control through Flower") as session:
        record(
            session,
            "flower." + act.replace("/", "."),
            subject=(act.partition("/")[0], None, name),
            actor=Actor(kind="user", id=current_user.id),
            actor_name=current_user.email,
            details=details,
        )


def _ask(
    method: str, path: str, *, query: Mapping[str, str] | None = None, form: list[tuple[str, str]] | None = None
) -> Response:
    sent = {name: request.headers[name] for name in SENT_ON if name in request.headers}
    flower = cast(Flower, current_app.extensions["flower"])
    try:
        answer = flower.ask(method, path, query=query, form=form, headers={**sent, "Host": request.host})
    except FlowerBusy as error:
        return _unavailable(str(error), 503)
    except FlowerAway as error:
        return _unavailable(str(error), 502)
    media_type = answer.content_type.partition(";")[0].strip().lower()
    if answer.status not in PASSED_STATUSES or media_type not in PASSED_TYPES:
        return _unavailable("Flower ran into an error. Its log says which.", 502)
    return _guarded(answer, media_type)


def _guarded(answer: Answer, media_type: str) -> Response:
    """Build the response anew: nothing of Flower's headers but the media type reaches the browser."""
    body = _dressed(answer.body) if media_type == "text/html" else answer.body
    response = Response(body, answer.status, content_type=f"{media_type}; charset=utf-8")
    response.headers["Content-Security-Policy"] = _policy()
    response.headers["Cache-Control"] = "private, no-store"
    return _compressed(response)


def _dressed(page: bytes) -> bytes:
    """Give the page our style sheets: no navigation of its own in our frame, no controls that would be refused."""
    sheets = []
    if request.headers.get("Sec-Fetch-Dest") == "iframe":
        sheets.append("css/flower/framed.css")
    if not current_user.is_platform_owner:
        sheets.append("css/flower/read-only.css")
    links = "".join(f'<link rel="stylesheet" href="{asset(sheet)}">' for sheet in sheets)
    return INLINE_STYLE.sub(b"", page).replace(b"</head>", links.encode() + b"</head>", 1)


@cache
def _policy() -> str:
    return (
        f"default-src 'none'; script-src 'self' {inline_script_hash()}; style-src 'self'; img-src 'self' data:;"
        " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )


def _compressed(response: Response, gzipped: bytes | None = None) -> Response:
    response.vary.add("Accept-Encoding")
    if len(response.get_data()) < COMPRESS_FROM:
        return response
    if request.accept_encodings.quality("gzip") > 0:
        response.set_data(gzipped or gzip.compress(response.get_data(), compresslevel=5))
        response.headers["Content-Encoding"] = "gzip"
    return response


def _unavailable(sentence: str, status: int) -> Response:
    """Say what is the matter: in words to Flower's scripts, which show them, and on a page to people."""
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        response = _words(sentence, status)
    else:
        response = Response(render_template("monitor/away.html", sentence=sentence), status)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Retry-After"] = SLOWEST_REFRESH_S
    return response


def _words(sentence: str, status: int) -> Response:
    return Response(sentence, status, content_type="text/plain; charset=utf-8")
