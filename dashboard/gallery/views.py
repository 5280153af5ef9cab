"""Show every component in every state at /dev/gallery; registered in development only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import default_exceptions

from dashboard.accounts.access import public
from dashboard.core.clock import utc_now
from dashboard.core.htmx import Live, fragment_or_page
from dashboard.core.vocabulary import DELIVERY_WORDS, FLEET_WORDS, PEOPLE_WORDS, RUN_WORDS, SCHEDULE_WORDS

blueprint = Blueprint("gallery", __name__, url_prefix="/dev/gallery")

HOURS = [3, 5, 4, 9, 7, 6, 0, 2, 4, 8, 11, 9, 7, 6, 5, 9, 12, 10, 8, 4, 3, 6, 9, 13]
FEW = [0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0]
OUTCOMES = ["succeeded"] * 5 + ["failed", "retrying", "succeeded", "skipped", "succeeded"]


@dataclass(frozen=True, slots=True)
class Link:
    """A tab or a segment."""

    label: str
    url: str
    active: bool = False
    count: int | None = None
    tone: str | None = None
    icon: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field as forms describe it."""

    name: str
    label: str
    value: Any = ""
    type: str = "text"
    help: str | None = None
    error: str | None = None
    options: list[Any] = field(default_factory=list)
    required: bool = False
    attrs: Mapping[str, Any] = field(default_factory=dict)


FIELDS = (
    Field(name="name", label="Name", value="Invoice reminders", required=True, attrs={"maxlength": 120}),
    Field(name="when", label="When", value="0 9 * * 1-5", help="Cron, or write: weekdays at 9", required=True),
    Field(
        name="rate", label="Send rate", value=0, type="number", required=True,
        help="Messages a minute, 1 to 600.", error="Must be 1 or more.",
    ),
    Field(name="password", label="Password", type="password", attrs={"autocomplete": "off"}),
    Field(
        name="zone", label="Time zone", value="Europe/London", type="select",
        options=[{"group": "Often used", "options": [("UTC", "UTC"), ("Europe/London", "Europe/London")]}],
    ),
    Field(name="at", label="Not before", value="2026-11-25T09:00", type="datetime-local"),
    Field(name="on", label="Until", value="2026-12-31", type="date"),
    Field(name="file", label="Recipients", type="file", help="A CSV of at most 2 MB."),
    Field(name="body", label="Message", value="Hello {{ name }},\n\nyour invoice is due.", type="textarea"),
    Field(name="catch_up", label="Send what was missed, once", value=True, type="checkbox", help="After a pause."),
    Field(
        name="overlap", label="If the last run is still running", value="wait", type="radio",
        options=[("wait", "Wait", "Start when it has ended."), ("skip", "Skip"), ("run", "Run beside it")],
    ),
    Field(name="days", label="Days", value=["mon", "wed"], type="checkboxes",
          options=[("mon", "Monday"), ("tue", "Tuesday"), ("wed", "Wednesday")]),
)  # fmt: skip


@blueprint.get("/")
@public
def index() -> ResponseReturnValue:
    """Render the gallery; its live panel polls this same address."""
    return fragment_or_page(
        "gallery/index.html",
        "gallery/_panel.html",
        live=Live.of(active=True, final="final" in request.args),
        now=utc_now(),
        minutes=lambda count: utc_now() + timedelta(minutes=count),
        words={
            "Runs": RUN_WORDS,
            "Deliveries": DELIVERY_WORDS,
            "Schedules": SCHEDULE_WORDS,
            "Workers": FLEET_WORDS,
            "People and tokens": PEOPLE_WORDS,
        },
        hours=HOURS,
        few=FEW,
        outcomes=OUTCOMES,
        fields=FIELDS,
        views=_views(),
        errors=sorted({400, 401, 403, 404, 409, 413, 421, 422, 429, 500, 503}),
    )


@blueprint.get("/empty")
@public
def empty() -> ResponseReturnValue:
    """Render what a page without anything on it looks like."""
    return render_template("gallery/empty.html")


@blueprint.get("/errors/<int:code>")
@public
def error(code: int) -> ResponseReturnValue:
    """Answer with that error, to see its page and how a live panel bears it."""
    if code in default_exceptions:
        abort(code)
    abort(404)


@blueprint.post("/posts")
@public
def create() -> ResponseReturnValue:
    """Take the sample form and say that it is wrong, as every invalid form is answered."""
    return fragment_or_page("gallery/form.html", "gallery/_form.html", status=422, fields=FIELDS)


def _views() -> list[Link]:
    here = request.script_root + request.path
    return [
        Link("All", here, active=True, count=1284),
        Link("Running", here + "?state=running", count=2),
        Link("Failed", here + "?state=failed", count=2, tone="bad"),
        Link("Succeeded", here + "?state=succeeded", count=1278),
    ]
