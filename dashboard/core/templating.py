"""Equip templates: strict variables, filters for what people read, and the globals that components use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from flask import Flask
from jinja2 import StrictUndefined
from markupsafe import Markup

from dashboard.core import formats
from dashboard.core.clock import utc_now
from dashboard.core.links import STATIC
from dashboard.core.vocabulary import state_word
from dashboard.core.zones import display_zone, tenant_zone

HTMX_CONFIG = {
    "extensions": "ptag",
    "history": "reload",
    "includeIndicatorCSS": False,
    "morphIgnore": ["data-htmx-powered", "open", "aria-busy"],
    "noSwap": [204, 304, "40x", "41x", 421, 423, 429, "5xx"],
}
"""For <meta name="htmx-config">. A morph leaves open details and dialogs open. 422 alone is swapped in of the errors:
it is the form with its messages; any other error's page would replace a row or a panel, and app.js tells it instead."""

BAR_STEP, BAR_TOP = 10, 40


@dataclass(frozen=True, slots=True)
class BarShape:
    """One bar of a chart, in the units of a viewBox `10 × count` wide and 40 high."""

    x: int
    y: float
    height: float
    empty: bool


def register(app: Flask) -> None:
    """Make every undefined variable an error, and add the filters and globals."""
    # On the environment, not in jinja_options: extensions have made the environment before us.
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        local_time=local_time,
        local_clock=local_clock,
        local_date=local_date,
        ago=ago,
        wall_time=wall_time,
        instant=instant,
        duration=formats.duration,
        number=formats.number,
        percent=formats.percent,
        filesize=formats.filesize,
        plural=formats.plural,
        place=formats.place,
    )
    app.jinja_env.globals.update(
        bar_shapes=bar_shapes, htmx_config=HTMX_CONFIG, state_word=state_word, stylesheets=stylesheets
    )


def local_time(moment: datetime | None, *, seconds: bool = False) -> Markup:
    """Show date, time and zone: 25 Nov, 09:14 GMT. In the zone of who reads it (`core.zones`)."""
    if moment is None:
        return _nothing()
    local = moment.astimezone(display_zone())
    return _time(local, f"{formats.short_day(local, utc_now())}, {_clock(local, seconds)}", zone=True)


def local_clock(moment: datetime | None, *, seconds: bool = True) -> Markup:
    """Show the time of day and its zone: 09:14:03 GMT. The date is in the tooltip."""
    if moment is None:
        return _nothing()
    local = moment.astimezone(display_zone())
    return _time(local, _clock(local, seconds), zone=True)


def local_date(moment: datetime | None) -> Markup:
    """Show the date in the viewer's zone: 25 Nov. The time and zone are in the tooltip."""
    if moment is None:
        return _nothing()
    local = moment.astimezone(display_zone())
    return _time(local, formats.short_day(local, utc_now()))


def ago(moment: datetime | None) -> Markup:
    """Show how long ago or how soon; app.js keeps it current, and the tooltip says exactly when."""
    if moment is None:
        return _nothing()
    local = moment.astimezone(display_zone())
    return _time(local, formats.relative(moment, utc_now()), counting=True)


def wall_time(moment: datetime) -> str:
    """Write a moment as the tenant's forms read it: 2026-11-25T09:14, in the tenant's zone."""
    return f"{moment.astimezone(tenant_zone()):%Y-%m-%dT%H:%M}"


def instant(moment: datetime, seconds_later: int = 0) -> str:
    """Write a moment as links and hidden fields name it, with its offset: a wall time may be there twice."""
    return (moment + timedelta(seconds=seconds_later)).astimezone(UTC).isoformat()


def bar_shapes(values: Sequence[float], most: float | None = None) -> list[BarShape]:
    """Return a bar for each value (0 or more), the largest reaching the top; a zero leaves a low foot.

    `most` is what reaches the top instead, for charts that stand beside each other.
    """
    largest = most or max(values, default=0) or 1
    shapes = []
    for index, value in enumerate(values):
        height = round(max(3.0, BAR_TOP * value / largest), 1) if value else 2.0
        shapes.append(BarShape(x=index * BAR_STEP, y=round(BAR_TOP - height, 1), height=height, empty=not value))
    return shapes


@cache
def stylesheets() -> tuple[str, ...]:
    """Return the style sheets of every page under static/, reset first: it fixes the order of the layers."""
    first = ("css/reset.css", "css/tokens.css", "css/base.css")
    components = sorted(f"css/components/{file.name}" for file in (STATIC / "css/components").glob("*.css"))
    return (*first, *components, "css/modules/shell.css", "css/modules/plain.css", "css/utilities.css")


def _clock(local: datetime, seconds: bool) -> str:
    return f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"


def _time(local: datetime, text: str, *, zone: bool = False, counting: bool = False) -> Markup:
    label = Markup(' <span class="zone">{}</span>').format(formats.zone_label(local)) if zone else ""
    return Markup('<time datetime="{}" title="{}"{}>{}{}</time>').format(
        formats.iso(local), formats.full_moment(local), Markup(" data-ago") if counting else "", text, label
    )


def _nothing() -> Markup:
    return Markup('<span class="none">{}</span>').format(formats.NOTHING)
