"""Harden responses and redirects: security headers, and which `next` targets are ours."""

from __future__ import annotations

from itertools import chain

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, UnprocessableEntity

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'self'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
HEADERS_ON_TLS = {**HEADERS, "Strict-Transport-Security": "max-age=31536000"}


UNSTORABLE = "\x00"
"""The one character that PostgreSQL's text cannot hold."""


def init_app(app: Flask) -> None:
    """Put the headers on every response that does not bring its own, and refuse text that no column could hold."""
    app.after_request(_add_headers)
    app.before_request(_refuse_unstorable)


def _refuse_unstorable() -> None:
    typed = chain(request.args.items(multi=True), request.form.items(multi=True))
    if any(UNSTORABLE in text for pair in typed for text in pair):
        raise UnprocessableEntity("A field holds an invisible character (U+0000). Take it out and send it again.")


def _add_headers(response: Response) -> Response:
    present = {name.lower() for name, _ in response.headers}
    for name, value in (HEADERS_ON_TLS if request.is_secure else HEADERS).items():
        if name.lower() not in present:
            response.headers.add(name, value)
    return response


def safe_next(app: Flask, target: str | None) -> str | None:
    """Return `target` if it is a path of this mount that a GET would find, else None; see `is_page`."""
    prefix = request.script_root
    if not target or not target.startswith(prefix) or not is_page(app, target.removeprefix(prefix)):
        return None
    return target


def is_page(app: Flask, target: str) -> bool:
    """Whether `target`, like `/runs?state=failed`, is a path below a mount that a GET would find.

    It starts with one `/`, goes on with neither `/` nor a backslash, holds no control character, and matches a route.
    An app without pages, which only beat is, has no routes: what was stored was looked at where there are some.
    """
    if not target or target[0] != "/" or target[1:2] in {"/", "\\"} or any(ord(char) < 32 for char in target):
        return False
    path = target.partition("?")[0]
    if ".." in path:
        return False
    if not app.view_functions:
        return True
    try:
        app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        return False
    return True
