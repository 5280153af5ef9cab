"""A real Flower for tests, a stand-in that misbehaves on request, and an app that is connected to either."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from scripts.embedded import free_port
from tests.application import disconnect
from tests.processes import celery, running
from tests.signing_in import Browser, origin

BASIC_AUTH = "stationmaster:a, password # of odd signs"


@contextmanager
def flower_process(environment: Mapping[str, str]) -> Iterator[str]:
    """A Flower of ours on loopback; yields its address."""
    port = free_port()
    settings = {**environment, "FLOWER_BASIC_AUTH": BASIC_AUTH, "FLOWER_PORT": str(port)}
    with running([*celery("flower"), "--conf=config/flower.py"], settings, ready="Visit me"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def app_with_flower(environment: Mapping[str, str], url: str, *, audience: str = "platform") -> Iterator[Dashboard]:
    """The application, connected to the Flower at `url`."""
    settings = Settings.from_env(
        {**environment, "FLOWER_URL": url, "FLOWER_AUDIENCE": audience, "FLOWER_BASIC_AUTH": BASIC_AUTH}
    )
    app = create_app(settings)
    app.testing = True
    yield app
    disconnect(app)


def through(browser: Browser, path: str, *, method: str = "GET", **options: Any) -> TestResponse:
    """Return what the gateway answers this browser; Flower's pages are not of ours, so nothing checks them as such."""
    options.setdefault("base_url", origin(browser.root))
    return FlaskClient.open(browser, path, method=method, **options)


@dataclass
class Asked:
    """A request that reached the stand-in."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class FakeFlower:
    """What the stand-in answers, and what it was asked; it waits for `release` before it answers /flower/workers."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/html; charset=UTF-8"})
    body: bytes = b"<html><head></head><body>Flower</body></html>"
    hangs: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""


@contextmanager
def fake_flower() -> Iterator[FakeFlower]:
    """A server on loopback that answers as told."""
    fake = FakeFlower()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length).decode()
            fake.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            if fake.hangs:
                fake.release.wait(30)
            self.send_response(fake.status)
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(fake.body)))
            self.end_headers()
            self.wfile.write(fake.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
