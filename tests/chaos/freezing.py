"""Freezes a server: its sockets still take what they are sent, and nobody reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import urllib3

from scripts.embedded import Server

ANSWER_SECONDS = 40.0
"""Who has no answer by then has been left hanging."""


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop every process of the server where it stands (SIGSTOP); afterwards they go on as if nothing had been."""
    assert server.pid is not None
    leader = psutil.Process(server.pid)
    leader.suspend()  # first, so that it can start no others
    members = leader.children(recursive=True)
    for member in members:
        member.suspend()
    try:
        yield
    finally:
        for process in (*members, leader):
            process.resume()


def answer_of(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the body that a real request is answered with."""
    response = urllib3.request("GET", url, headers=headers, timeout=ANSWER_SECONDS, retries=False)
    return response.status, response.data.decode()
