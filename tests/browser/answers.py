"""Let a test's server end each answer properly, whatever its browser does meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def read_whole(wsgi_app: WSGIApplication) -> WSGIApplication:
    """Return the application so that the server gets whole bodies, which it need not close.

    Werkzeug's server leaves a body open, and a static file with it, if the browser resets the connection at its end.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = wsgi_app(environ, start_response)
        with closing(ClosingIterator(body)):
            return [b"".join(body)]

    return answer
