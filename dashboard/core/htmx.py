"""Answer htmx: a fragment or the whole page, nothing new, and what the browser shall do next.

HX-Request only says what to render. It is never a permission: anybody can send it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from flask import Request, Response, make_response, redirect, render_template, request

TAG_HEADER = "HX-PTag"
"""Sent by the ptag extension with each poll, and by us with each answer: the version of the panel."""

IDLE_SECONDS = 10
PACES = ("off", "2", "5", "15")
"""What the Live chip offers, in seconds; the first means: do not poll."""

DEFAULT_PACE = "2"


def is_htmx(request: Request) -> bool:
    """Whether htmx sent this request."""
    return request.headers.get("HX-Request") == "true"


def wants_fragment(request: Request) -> bool:
    """Whether htmx will put the answer into a part of the page; it asks for whole pages as well."""
    return is_htmx(request) and request.headers.get("HX-Request-Type") != "full"


def fragment_or_page(
    page: str, fragment: str, /, *, status: int = 200, tag: str | None = None, **context: object
) -> Response:
    """Render `fragment` for htmx and `page` for everybody else, from the same context.

    The page includes the fragment. `tag` is the version that the next poll compares (see `unchanged`). What a poll
    brings has the alerts above the page with it, so that a page which stays open hears of them.
    """
    is_answer = wants_fragment(request)
    body = render_template(fragment if is_answer else page, **context)
    if is_answer and tag is not None:
        body += render_template("layouts/_alerts.html", is_answer=True)
    return uncached(make_response(body, status), tag)


def form_page(name: str, /, *, errors: Mapping[str, str], status: int | None = None, **context: object) -> Response:
    """Render the page of a form: 422 if something typed needs another value, unless `status` says what is wrong."""
    page = render_template(name, errors=errors, **context)
    return uncached(make_response(page, status or (422 if errors else 200)))


def fragment_or_redirect(fragment: str, url: str, /, **context: object) -> Response:
    """After an act: render `fragment` for htmx, else lead the browser to `url` (303)."""
    if wants_fragment(request):
        return uncached(make_response(render_template(fragment, **context)))
    return redirect(url, 303)  # type: ignore[return-value]


def unchanged(tag: str) -> Response | None:
    """Return 304 if the panel that asks shows version `tag` already, else None: render it."""
    if wants_fragment(request) and request.headers.get(TAG_HEADER) == tag:
        return uncached(Response(status=304), tag)
    return None


def uncached(response: Response, tag: str | None = None) -> Response:
    """Keep what was rendered for one person out of caches, and fragment and page apart."""
    response.headers["Cache-Control"] = "private, no-store"
    response.vary.add("HX-Request")
    if tag is not None:
        response.headers[TAG_HEADER] = tag
    return response


def see_other(url: str) -> Response:
    """Lead the browser to `url`: 303, or HX-Redirect for htmx, whose fetch would swap the next page into a row."""
    if is_htmx(request):
        return uncached(Response(status=204, headers={"HX-Redirect": url}))
    return redirect(url, 303)  # type: ignore[return-value]


def refresh() -> Response:
    """Make htmx load the whole page again."""
    return uncached(Response(status=204, headers={"HX-Refresh": "true"}))


def trigger(response: Response, event: str, detail: dict[str, str] | None = None) -> Response:
    """Fire `event` on the element that asked, after the swap; several calls add up."""
    events = json.loads(response.headers.get("HX-Trigger", "{}"))
    response.headers["HX-Trigger"] = json.dumps({**events, event: detail or {}})
    return response


def with_flash(response: Response, message: str, tone: str = "ok") -> Response:
    """Show a message beside a fragment; tone: ok, info, warn or bad."""
    return trigger(response, "flash", {"message": message, "tone": tone})


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOption:
    """One choice of the Live chip."""

    label: str
    url: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """When a live panel asks again: `seconds` (None: not by itself), at which `url`, knowing which version `tag`."""

    pace: str
    seconds: int | None
    url: str
    tag: str | None = None

    @classmethod
    def of(cls, *, active: bool, final: bool = False, tag: str | None = None) -> Live:
        """Read the viewer's pace from the query (`live=off|2|5|15`) of the page that is being answered.

        active: something moves, so the pace is kept; otherwise the panel asks every 10 s or slower.
        final: nothing can change any more, so it does not ask at all.
        """
        asked = request.args.get("live", DEFAULT_PACE)
        pace = asked if asked in PACES else DEFAULT_PACE
        seconds = None
        if pace != "off" and not final:
            seconds = int(pace) if active else max(int(pace), IDLE_SECONDS)
        return cls(pace=pace, seconds=seconds, url=_same_page(pace), tag=tag)

    @property
    def label(self) -> str:
        if self.pace == "off":
            return "Live: off"
        return f"Live: every {self.seconds} s" if self.seconds else "Live: finished"

    @property
    def options(self) -> Iterator[LiveOption]:
        for pace in PACES:
            label = "Off" if pace == "off" else f"{pace} s"
            yield LiveOption(label=label, url=_same_page(pace), active=pace == self.pace)


def _same_page(pace: str) -> str:
    """Return the address of this page, same query, with another pace."""
    query = request.args.copy()
    query.pop("live", None)
    if pace != DEFAULT_PACE:
        query["live"] = pace
    encoded = urlencode(list(query.items(multi=True)))
    return quote(request.script_root + request.path) + (f"?{encoded}" if encoded else "")
