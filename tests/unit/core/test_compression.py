"""Text is compressed for those who take it so, and everything else goes out as it is."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from dashboard.core.compression import LONGEST_PADDING, SMALLEST, Compression

PAGE = "<p>All is well.</p>" * 200
GZIP = {"Accept-Encoding": "gzip, br"}


def client(response: Response) -> Client:
    return Client(Compression(response))


def page(**headers: str) -> Response:
    return Response(PAGE, mimetype="text/html", headers=headers)


def test_a_page_is_smaller_and_the_same() -> None:
    answer = client(page()).get("/", headers=GZIP)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == len(answer.data) < len(PAGE) / 10
    assert gzip.decompress(answer.data).decode() == PAGE


@pytest.mark.parametrize("accepted", ["", "br", "identity", "gzip;q=0"])
def test_who_does_not_take_gzip_gets_plain_text(accepted: str) -> None:
    answer = client(page()).get("/", headers={"Accept-Encoding": accepted})
    assert answer.text == PAGE
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("headers", [{}, GZIP])
def test_caches_are_told_that_it_varies(headers: dict[str, str]) -> None:
    assert client(page(Vary="Cookie")).get("/", headers=headers).headers["Vary"] == "Cookie, Accept-Encoding"


@pytest.mark.parametrize(
    "response",
    [
        Response("x" * (SMALLEST - 1), mimetype="text/html"),
        Response(b"\x89PNG" * 500, mimetype="image/png"),
        Response(PAGE, mimetype="text/html", headers={"Content-Encoding": "br"}),
        Response(PAGE, mimetype="text/html", status=206, headers={"Content-Range": "bytes 0-99/10000"}),
    ],
    ids=["small", "picture", "compressed", "part"],
)
def test_what_would_gain_nothing_is_left_alone(response: Response) -> None:
    answer = client(response).get("/", headers=GZIP)
    assert answer.data == response.data
    assert answer.headers.get("Content-Encoding") == response.headers.get("Content-Encoding")


def test_a_stream_is_not_held_up() -> None:
    def lines() -> Iterator[str]:
        for _ in range(1000):
            yield "line\n"

    answer = client(Response(lines(), mimetype="text/csv")).get("/", headers=GZIP)
    assert answer.text == "line\n" * 1000
    assert "Content-Encoding" not in answer.headers


def test_an_application_that_begins_late_is_not_held_up() -> None:
    def late(_environ: object, start_response: object) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5000")])  # type: ignore[operator]
        yield b"x" * 5000

    answer = Client(Compression(late)).get("/", headers=GZIP)
    assert answer.data == b"x" * 5000
    assert "Content-Encoding" not in answer.headers


def test_what_was_opened_is_closed() -> None:
    closed = []
    response = page()
    response.call_on_close(lambda: closed.append(True))
    client(response).get("/", headers=GZIP)
    assert closed == [True]


def test_the_length_of_a_page_does_not_betray_what_is_in_it() -> None:
    lengths = {len(client(page()).get("/", headers=GZIP).data) for _ in range(50)}
    assert len(lengths) > 10
    assert max(lengths) - min(lengths) <= LONGEST_PADDING


def test_a_head_has_the_plain_length() -> None:
    answer = client(page()).head("/", headers=GZIP)
    assert int(answer.headers["Content-Length"]) == len(PAGE)
    assert "Content-Encoding" not in answer.headers
