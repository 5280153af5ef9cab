"""Unexpected errors reach Sentry where that is asked for, without the values that the code was working on."""

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.embedded import HOST, ROOT

FAILS_AND_LOGS = """
import logging, sys
from config import reporting
from config.settings import Settings
from scripts.development import PREFERRED_PORTS, fresh_values
values = fresh_values(PREFERRED_PORTS)
if sys.argv[1:]:
    values["SENTRY_DSN"] = sys.argv[1]
reporting.configure(Settings.from_env(values))
def deliver(password):
    raise ValueError("the mail server went away")
try:
    deliver("canary-" + "4711")
except ValueError:
    logging.getLogger("worker").exception("A run failed")
if sys.argv[1:]:
    import sentry_sdk
    sentry_sdk.flush(60)
else:
    print("sentry_sdk" in sys.modules)
"""


class Reports(BaseHTTPRequestHandler):
    """Takes reports as Sentry does."""

    taken: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def sentry() -> Iterator[ThreadingHTTPServer]:
    Reports.taken = []
    with ThreadingHTTPServer((HOST, 0), Reports) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(*arguments: str) -> str:
    command = [sys.executable, "-c", FAILS_AND_LOGS, *arguments]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_logged_error_is_reported_with_its_traceback_and_no_values(sentry: ThreadingHTTPServer) -> None:
    run(f"http://key@{HOST}:{sentry.server_port}/1")
    (report,) = Reports.taken
    assert b"the mail server went away" in report
    assert b'"function":"deliver"' in report
    assert b"canary-4711" not in report
    assert b"breadcrumbs" not in report or b'"breadcrumbs":{"values":[]}' in report


def test_without_an_address_it_is_not_even_imported() -> None:
    assert run().strip() == "False"
