"""Talk to Flower over few connections and briefly, so that a Flower that hangs holds up nothing else."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from pydantic import SecretStr
from urllib3.exceptions import EmptyPoolError, HTTPError

from dashboard.core.errors import StationmasterError

CONNECTIONS = 4
"""At most this many threads of a web process wait for Flower; the others go on serving pages."""

CONNECTION_WAIT_S = 0.25
CONNECT_S = 0.5
ANSWER_S = 5.0
"""Within this Flower's whole answer must be here, however slowly it drips."""

LARGEST_ANSWER = 16 * 1024 * 1024
PIECE = 64 * 1024
PREFIX = "/flower/"


class FlowerBusy(StationmasterError):
    """Flower is busy with other requests. Try again in a moment."""


class FlowerAway(StationmasterError):
    """Flower does not answer. Nothing else here needs it: runs go on, and this dashboard shows them."""


class FlowerDenies(FlowerAway):
    """Flower does not accept the dashboard: FLOWER_BASIC_AUTH must be the same on both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Flower answered, whole."""

    status: int
    content_type: str
    body: bytes


class Flower:
    """A client of the one Flower at `url`; safe for threads. `basic_auth` is `user:password`."""

    def __init__(self, url: str, basic_auth: SecretStr | None) -> None:
        self._path = urlsplit(url).path.rstrip("/") + PREFIX
        self._pool = urllib3.connection_from_url(url, maxsize=CONNECTIONS, block=True)
        self._authorization = _basic(basic_auth) if basic_auth else {}

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        form: list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return Flower's answer to `path`, which is below its prefix and not yet quoted.

        Raises FlowerBusy if all connections are in use, FlowerDenies for wrong credentials, and FlowerAway if it
        can't be reached, is too slow, or answers more than anybody could read.
        """
        target = self._path + quote(path, safe="/@:+") + (f"?{urlencode(query)}" if query else "")
        sent = {**(headers or {}), **self._authorization}
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        deadline = time.monotonic() + ANSWER_S
        try:
            response = self._pool.urlopen(
                method,
                target,
                body=urlencode(form) if form is not None else None,
                headers=sent,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S),
                pool_timeout=CONNECTION_WAIT_S,  # type: ignore[arg-type]  # said to be whole, but no reason why
                preload_content=False,
            )
            body = _read(response, deadline)
        except EmptyPoolError:
            raise FlowerBusy from None
        except HTTPError as error:
            raise FlowerAway from error
        if response.status == 401:
            raise FlowerDenies
        return Answer(status=response.status, content_type=response.headers.get("Content-Type", ""), body=body)


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """Read the body until `deadline`; the connection is given back if all of it came, else closed."""
    pieces = bytearray()
    try:
        while piece := response.read1(PIECE):
            pieces += piece
            if len(pieces) > LARGEST_ANSWER or time.monotonic() > deadline:
                response.close()
                raise FlowerAway
    finally:
        response.release_conn()
    return bytes(pieces)


def _basic(credentials: SecretStr) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials.get_secret_value().encode()).decode()}
