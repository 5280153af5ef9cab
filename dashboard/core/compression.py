"""Compress text on its way out, pages and fragments as well as static files, so that slow lines carry little."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache
from gzip import GzipFile
from io import BytesIO
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers
from werkzeug.http import parse_accept_header

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SMALLEST = 500
"""Bytes; what is smaller gains less than the header costs."""

TYPES = ("text/", "application/javascript", "application/json", "image/svg+xml")
QUICK, SMALL = 5, 9
KEPT_FILES = 128

LONGEST_PADDING = 100
"""Bytes at random in a page's gzip header, so that its length does not betray a secret in it (BREACH).

From Django's GZipMiddleware, after "Heal the Breach" by Palacios, Fariña Jove and others, 2022.
"""


class Compression:
    """A WSGI application around another. What has no length yet streams through as it is."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Our ETags of compressed files are weak, and WhiteNoise compares its own as text (RFC 9110, 13.1.2: weakly).
        if "HTTP_IF_NONE_MATCH" in environ:
            environ["HTTP_IF_NONE_MATCH"] = environ["HTTP_IF_NONE_MATCH"].removeprefix("W/")
        answer = _Answer(start_response, is_wanted=_is_wanted(environ))
        body = self.wsgi_app(environ, answer.start)
        answer.is_wanted = False  # who begins only now streams
        return answer.compressed(body) if answer.is_held else body


class _Answer:
    """Holds an answer's beginning back if its body is to be compressed; else it goes out at once."""

    def __init__(self, start_response: StartResponse, *, is_wanted: bool) -> None:
        self.start_response = start_response
        self.is_wanted = is_wanted
        self.is_held = False
        self.status = ""
        self.headers = Headers()

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        self.status, self.headers = status, Headers(headers)
        if self.headers.get("Content-Type", "").startswith(TYPES):
            self.headers["Vary"] = ", ".join([*self.headers.getlist("Vary"), "Accept-Encoding"])
        self.is_held = self.is_wanted and status.startswith("200 ") and _shrinks(self.headers)
        if self.is_held:
            return _refuse_to_write
        return self.start_response(status, self.headers.to_wsgi_list(), exc_info)

    def compressed(self, body: Iterable[bytes]) -> list[bytes]:
        """Read the whole body, and send it on smaller."""
        try:
            text = b"".join(body)
        finally:
            getattr(body, "close", _nothing)()
        if "ETag" in self.headers:
            small = _compress_file(text)
            self.headers["ETag"] = "W/" + self.headers["ETag"].removeprefix("W/")
        else:
            small = _compress_page(text)
        self.headers["Content-Encoding"] = "gzip"
        self.headers["Content-Length"] = str(len(small))
        self.start_response(self.status, self.headers.to_wsgi_list())
        return [small]


def _is_wanted(environ: WSGIEnvironment) -> bool:
    accepted = parse_accept_header(environ.get("HTTP_ACCEPT_ENCODING", ""))
    return environ["REQUEST_METHOD"] != "HEAD" and accepted.quality("gzip") > 0


def _shrinks(headers: Headers) -> bool:
    return (
        headers.get("Content-Type", "").startswith(TYPES)
        and "Content-Encoding" not in headers
        and headers.get("Content-Length", 0, type=int) >= SMALLEST
    )


def _refuse_to_write(_: bytes) -> object:
    raise RuntimeError("Return the body; what is written past it would not be compressed.")


def _nothing() -> None:
    """Close what needs no closing."""


@lru_cache(maxsize=KEPT_FILES)
def _compress_file(text: bytes) -> bytes:
    return _gzip(text, SMALL)


def _compress_page(text: bytes) -> bytes:
    return _gzip(text, QUICK, padding="a" * secrets.randbelow(LONGEST_PADDING))


def _gzip(text: bytes, level: int, padding: str = "") -> bytes:
    """Compress `text`; `padding` stands where the name of a file would."""
    small = BytesIO()
    with GzipFile(filename=padding, mode="wb", compresslevel=level, fileobj=small, mtime=0) as file:
        file.write(text)
    return small.getvalue()
