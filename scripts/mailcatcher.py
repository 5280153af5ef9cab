"""Catches all mail that development sends: an SMTP server that keeps every message, and a page that shows them."""

import itertools
import json
import math
import os
import threading
import time
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import localtime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.embedded import HOST, ROOT, catch_farewell, require_free, wait_until

TEMPLATES = Path(__file__).with_name("mail_page")
NEWEST_SHOWN = 200
LARGEST_BYTES = 32 * 1024 * 1024
# honcho's five seconds for everybody begin with the first one to leave: that must not be us, a moment after Ctrl-C.
QUIET_S = 1.5
PATIENCE_S = 4.0
# The page shows untrusted mail: nothing in it runs, and mail itself may only bring its own style and inline images.
# Its links open a tab of their own, which is as free as any: what they lead to refuses to be framed.
PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'"
MAIL_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
MAIL_POLICY = (
    f"sandbox {MAIL_SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
LINKS_OPEN_TABS = '<base target="_blank">'


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtMail:
    """One message as a person or a test wants to see it."""

    id: str
    received_at: str
    envelope_from: str
    envelope_to: list[str]
    subject: str
    headers: list[tuple[str, str]]
    text: str
    html: str
    attachments: list[str]

    @classmethod
    def read(cls, file: Path) -> "CaughtMail":
        """Parse an .eml file that MailFolder wrote."""
        message = BytesParser(policy=policy.default).parsebytes(file.read_bytes())
        return cls(
            id=file.stem,
            received_at=str(message["X-Caught-At"]),
            envelope_from=str(message["X-Envelope-From"]),
            envelope_to=str(message["X-Envelope-To"]).split(", "),
            subject=str(message["Subject"] or ""),
            headers=[(name, str(value)) for name, value in message.items()],
            text=_body(message, "plain"),
            html=_body(message, "html"),
            attachments=[part.get_filename() or part.get_content_type() for part in message.iter_attachments()],
        )

    def as_json(self) -> dict[str, Any]:
        """The message for a program; all values are text or lists of text."""
        return {name: getattr(self, name) for name in self.__slots__}


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part else ""


def _with_tabs(html: str) -> str:
    before, head, after = html.partition("<head>")
    return before + head + LINKS_OPEN_TABS + after if head else LINKS_OPEN_TABS + html


class MailFolder:
    """A folder of .eml files whose names sort by arrival."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, envelope: Envelope) -> None:
        """Store a message with its envelope in front; it gets its name only when it is complete."""
        caught = (
            f"X-Caught-At: {localtime().isoformat(timespec='seconds')}\r\n"
            f"X-Envelope-From: {envelope.mail_from}\r\n"
            f"X-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        )
        content = envelope.content or b""
        body = content if isinstance(content, bytes) else content.encode()
        name = f"{time.time_ns():020d}-{next(self._numbers):06d}"
        unfinished = self.folder / f"{name}.part"
        unfinished.write_bytes(caught.encode() + body)
        unfinished.rename(self.folder / f"{name}.eml")

    def files(self) -> list[Path]:
        """Every message's file, newest first."""
        return sorted(self.folder.glob("*.eml"), reverse=True)

    def find(self, mail_id: str) -> Path | None:
        """The file of one message, or None."""
        return next((file for file in self.files() if file.stem == mail_id), None)

    def delete_all(self) -> None:
        """Forget every message."""
        for file in self.files():
            file.unlink(missing_ok=True)


class CountedSMTP(SMTP):
    """An SMTP conversation that is counted, so that the catcher can leave when nobody is talking."""

    open_sessions: ClassVar[set["CountedSMTP"]] = set()
    quiet_since: ClassVar[float] = 0.0

    @classmethod
    def have_been_quiet(cls) -> bool:
        """Whether nobody has talked for QUIET_S."""
        return not cls.open_sessions and time.monotonic() - cls.quiet_since > QUIET_S

    def connection_made(self, transport: Any) -> None:
        """Count a conversation that begins."""
        self.open_sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Count it no more."""
        self.open_sessions.discard(self)
        CountedSMTP.quiet_since = time.monotonic()
        super().connection_lost(error)


class Catcher(Controller):
    """The SMTP server; any user name and password will do."""

    def __init__(self, mail: MailFolder, port: int) -> None:
        super().__init__(self, hostname=HOST, port=port)
        self.mail = mail

    def factory(self) -> SMTP:
        """Make the protocol of one conversation."""
        return CountedSMTP(
            self,
            authenticator=lambda *_: AuthResult(success=True),
            auth_require_tls=False,
            data_size_limit=LARGEST_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
        )

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the message (aiosmtpd calls this after the final dot)."""
        self.mail.keep(envelope)
        return "250 2.0.0 Caught"


class MailPage(BaseHTTPRequestHandler):
    """The page: a list, one message with its headers, text and HTML, and the same as JSON."""

    server_version = "mail"
    templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)

    def __init__(self, *args: Any, mail: MailFolder) -> None:
        self.mail = mail
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer a page, a file or JSON."""
        if not self._is_for_loopback():
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "This page is for this machine only.")
            return
        match urlsplit(self.path).path.split("/")[1:]:
            case [""]:
                self._list()
            case ["page.css"]:
                self._answer(HTTPStatus.OK, "text/css", (TEMPLATES / "page.css").read_text())
            case ["messages.json"]:
                caught = [CaughtMail.read(file).as_json() for file in self.mail.files()]
                self._answer(HTTPStatus.OK, "application/json", json.dumps(caught))
            case ["messages", mail_id, *view] if file := self.mail.find(mail_id):
                self._show(file, "/".join(view))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "There is no such page or message.")

    def do_POST(self) -> None:
        """Delete all messages, when the page itself asks."""
        origin = self.headers.get("Origin")
        own = origin is None or urlsplit(origin).netloc == self.headers.get("Host")
        if not (own and self._is_for_loopback()):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "Only this page may delete.")
        elif self.path == "/deletions":
            self.mail.delete_all()
            self._answer(HTTPStatus.SEE_OTHER, "text/plain", "", Location="/")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "There is nothing to delete here.")

    def log_message(self, *_: object) -> None:
        """Keep the console for what matters."""

    def _list(self) -> None:
        files = self.mail.files()
        shown = [CaughtMail.read(file) for file in files[:NEWEST_SHOWN]]
        page = self.templates.get_template("list.html").render(messages=shown, total=len(files))
        self._answer(HTTPStatus.OK, "text/html", page)

    def _show(self, file: Path, view: str) -> None:
        if view == "source":
            self._answer(HTTPStatus.OK, "text/plain", file.read_bytes().decode(errors="replace"))
            return
        message = CaughtMail.read(file)
        if view == "html":
            self._answer(HTTPStatus.OK, "text/html", _with_tabs(message.html), Content_Security_Policy=MAIL_POLICY)
        elif view == "":
            page = self.templates.get_template("message.html").render(message=message, sandbox=MAIL_SANDBOX)
            self._answer(HTTPStatus.OK, "text/html", page)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "There is no such view of a message.")

    def _is_for_loopback(self) -> bool:
        """Whether the browser was sent here by a loopback name, and not by a name that somebody rebound."""
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return name in {"localhost", HOST}

    def _answer(self, status: HTTPStatus, kind: str, body: str, **headers: str) -> None:
        content = body.encode()
        standing = {
            "Content_Type": f"{kind}; charset=utf-8",
            "Content_Length": str(len(content)),
            "Content_Security_Policy": PAGE_POLICY,
            "X_Content_Type_Options": "nosniff",
            "Cache_Control": "no-store",
        }
        self.send_response(status)
        for name, value in {**standing, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


def serve(mail: MailFolder, *, smtp_port: int, page_port: int) -> None:
    """Catch mail until SIGTERM or SIGINT, and then until no conversation is open, for a few seconds at most."""
    asked_to_leave = catch_farewell()
    page = ThreadingHTTPServer((HOST, page_port), partial(MailPage, mail=mail))
    threading.Thread(target=page.serve_forever, daemon=True).start()
    Catcher(mail, smtp_port).start()
    print(f"Mail for {HOST}:{smtp_port} is shown at http://localhost:{page_port}", flush=True)
    wait_until(asked_to_leave, timeout_s=math.inf)
    CountedSMTP.quiet_since = time.monotonic()
    wait_until(CountedSMTP.have_been_quiet, timeout_s=PATIENCE_S)


def main() -> None:
    """Serve the ports that SMTP_PORT and MAIL_PORT name, with the mail in MAIL_FOLDER (var/mail)."""
    smtp_port, page_port = int(os.environ.get("SMTP_PORT", "8025")), int(os.environ.get("MAIL_PORT", "8026"))
    require_free(smtp_port, "the mail catcher")
    require_free(page_port, "the mail page")
    folder = Path(os.environ.get("MAIL_FOLDER", ROOT / "var" / "mail"))
    serve(MailFolder(folder), smtp_port=smtp_port, page_port=page_port)


if __name__ == "__main__":
    main()
