"""Clicks *Run now* in a real browser's stead, again and again, and remembers which clicks were answered."""

from __future__ import annotations

import re
import threading
from http.client import HTTPConnection, HTTPException
from typing import Self
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

from dashboard.core.tenancy import Tenant
from tests.chaos.site import Site
from tests.factories import make_user
from tests.factories.schedules import make_schedule
from tests.signing_in import sign_in
from tests.worker.ledger_probes import job

PAUSE_SECONDS = 0.5
ANSWER_SECONDS = 5.0
RUN = re.compile(r"/runs/([0-9a-f-]{36})$")


class Clicker:
    """An operator with little patience. `promised` are the runs whose page the answer to a click led to."""

    def __init__(self, site: Site, tenant: Tenant, *, port: int) -> None:
        email = f"ada@{tenant.slug}.test"
        make_user(site.app, email, roles={tenant.id: "operator"})
        browser = sign_in(site.app, tenant, email)
        self.headers = {
            "Cookie": browser.cookie_line,
            "X-CSRFToken": browser.token,
            "Referer": tenant.roots[0].url,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        fields = {**job("witnessed_again", port=port), "max_attempts": 100, "overlap": "queue_all"}
        schedule = make_schedule(site.app, tenant, next_at=None, **fields)
        self.root = urlsplit(tenant.roots[0].url)
        self.path = f"{self.root.path}/schedules/{schedule.id}/runs"
        self.promised: list[UUID] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._click_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _click_on(self) -> None:
        while not self._enough.wait(PAUSE_SECONDS):
            try:
                self._click()
            except (OSError, HTTPException):
                continue  # nobody promised anything

    def _click(self) -> None:
        connection = HTTPConnection(self.root.netloc, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", self.path, urlencode({"token": uuid4()}), self.headers)
            answer = RUN.search(connection.getresponse().getheader("Location", ""))
        finally:
            connection.close()
        if answer:
            self.promised.append(UUID(answer[1]))
