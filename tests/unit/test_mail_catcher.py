"""Mail that development sends is caught, kept as files and shown without running any of it."""

import json
import os
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import urllib3

from scripts.embedded import HOST, ROOT, free_port, is_free
from tests.servers import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCatcher:
    smtp_port: int
    page: str
    folder: Path
    process: subprocess.Popen[bytes]

    def send(self, message: EmailMessage) -> None:
        with smtplib.SMTP(HOST, self.smtp_port, timeout=60) as connection:
            connection.login("anybody", "any password")
            connection.send_message(message)

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request("GET", self.page + path, headers=headers, timeout=60)

    def messages(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.get("/messages.json").data)
        return listed


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[RunningCatcher]:
    smtp_port, page_port = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.mailcatcher"],
        cwd=ROOT,
        env={**os.environ, "SMTP_PORT": str(smtp_port), "MAIL_PORT": str(page_port), "MAIL_FOLDER": str(tmp_path)},
    )
    assert wait_until(lambda: not is_free(smtp_port) and not is_free(page_port), timeout_s=60)
    yield RunningCatcher(smtp_port=smtp_port, page=f"http://localhost:{page_port}", folder=tmp_path, process=process)
    process.terminate()
    process.wait(60)


def make_message(subject: str = "Your report", html: str = "<p>It is <b>ready</b>.</p>") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Acme <jobs@acme.example>"
    message["To"] = "olivia@acme.example"
    message["Subject"] = subject
    message["List-Unsubscribe"] = "<http://localhost/stop>"
    message.set_content("It is ready: grüße")
    message.add_alternative(html, subtype="html")
    return message


def test_a_program_gets_text_html_headers_and_envelope(catcher: RunningCatcher) -> None:
    catcher.send(make_message())
    (caught,) = catcher.messages()
    assert caught["envelope_from"] == "jobs@acme.example"
    assert caught["envelope_to"] == ["olivia@acme.example"]
    assert caught["subject"] == "Your report"
    assert caught["text"].strip() == "It is ready: grüße"
    assert caught["html"].strip() == "<p>It is <b>ready</b>.</p>"
    assert ["List-Unsubscribe", "<http://localhost/stop>"] in caught["headers"]


def test_the_newest_message_comes_first(catcher: RunningCatcher) -> None:
    for subject in ("first", "second", "third"):
        catcher.send(make_message(subject))
    assert [message["subject"] for message in catcher.messages()] == ["third", "second", "first"]
    page = catcher.get("/").data.decode()
    assert page.index("third") < page.index("second") < page.index("first")


def test_messages_are_files_that_outlive_the_catcher(catcher: RunningCatcher) -> None:
    catcher.send(make_message())
    catcher.process.terminate()
    catcher.process.wait(60)
    (file,) = catcher.folder.glob("*.eml")
    assert b"Subject: Your report" in file.read_bytes()


def test_a_message_is_shown_with_its_headers_and_its_html_in_a_sandbox(catcher: RunningCatcher) -> None:
    catcher.send(make_message())
    mail_id = catcher.messages()[0]["id"]
    page = catcher.get(f"/messages/{mail_id}/").data.decode()
    assert f'<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" src="/messages/{mail_id}/html"' in page
    assert "List-Unsubscribe" in page
    html = catcher.get(f"/messages/{mail_id}/html")
    assert html.headers["Content-Security-Policy"].startswith("sandbox allow-popups")
    assert b"<b>ready</b>" in html.data


def test_markup_in_a_subject_is_shown_as_text(catcher: RunningCatcher) -> None:
    catcher.send(make_message("<script>alert(1)</script>"))
    page = catcher.get("/")
    assert b"<script" not in page.data
    assert b"&lt;script&gt;alert(1)&lt;/script&gt;" in page.data
    assert "script-src" not in page.headers["Content-Security-Policy"]


def test_delete_all_forgets_every_message(catcher: RunningCatcher) -> None:
    catcher.send(make_message())
    answer = urllib3.request("POST", catcher.page + "/deletions", redirect=False, timeout=60)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert catcher.messages() == []
    assert b"Nothing yet." in catcher.get("/").data


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_another_site_can_neither_delete_nor_read(catcher: RunningCatcher, headers: dict[str, str]) -> None:
    catcher.send(make_message())
    assert urllib3.request("POST", catcher.page + "/deletions", headers=headers, timeout=60).status == 403
    assert catcher.get("/", Host="evil.example").status == 403
    assert len(catcher.messages()) == 1


def test_an_unknown_message_is_404(catcher: RunningCatcher) -> None:
    assert catcher.get("/messages/1/").status == 404
    assert catcher.get("/messages/..%2F..%2Fsecret/").status == 404


def test_it_leaves_only_after_the_last_conversation(catcher: RunningCatcher) -> None:
    with smtplib.SMTP(HOST, catcher.smtp_port, timeout=60) as connection:
        connection.ehlo()
        catcher.process.terminate()
        connection.send_message(make_message("the last one"))
    assert catcher.process.wait(60) == 0
    assert len(list(catcher.folder.glob("*.eml"))) == 1
