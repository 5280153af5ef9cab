"""A real mail server on loopback that does what a test asks of it, and keeps what it accepted."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from scripts.embedded import HOST

Step = Literal["MAIL", "RCPT", "DATA", "CONTENT"]
Break = Literal["MAIL", "RCPT", "DATA", "AFTER_354", "AFTER_CONTENT"]
POLL_SECONDS = 0.01
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtMail:
    """A mail that the server accepted: its envelope, and its content as it came."""

    sender: str
    recipient: str
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return BytesParser(policy=policy.default).parsebytes(self.content)

    def part(self, kind: Literal["plain", "html"]) -> str:
        body = self.message.get_body((kind,))
        return str(body.get_content()) if body else ""


@dataclass(slots=True)
class MailServerForTests:
    """What the server is asked to do, and what it did.

    `answers` maps (step, recipient) to a reply; for MAIL the recipient is empty. `breaks` maps a recipient to the step
    at which the connection is dropped, as often as `breaks_left` says. A recipient in `held` is answered at the step
    `hold_at` only when the test calls `release`; `waiting` tells when it has come so far. What it keeps it confirms
    after `answers_after` seconds.
    """

    port: int = 0
    mails: list[CaughtMail] = field(default_factory=list)
    answers: dict[tuple[Step, str], str] = field(default_factory=dict)
    breaks: dict[str, Break] = field(default_factory=dict)
    breaks_left: int = 1_000
    held: set[str] = field(default_factory=set)
    hold_at: Literal["RCPT", "CONTENT"] = "RCPT"
    logins: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    answers_after: float = 0.0
    waiting: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def recipients(self) -> list[str]:
        return [mail.recipient for mail in self.mails]

    def release(self) -> None:
        self.released.set()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of a tenant that sends through this server, as fast as it may."""
        return {
            "SMTP_HOST": HOST,
            "SMTP_PORT": self.port,
            "SMTP_TLS": "none",
            "SMTP_USER": "",
            "SEND_RATE": 6000,
            **changes,
        }

    def _breaks_at(self, recipient: str, step: Break) -> bool:
        if self.breaks.get(recipient) != step or self.breaks_left == 0:
            return False
        self.breaks_left -= 1
        return True


@contextmanager
def mail_server(
    *, password: str = "", certificate: ssl.SSLContext | None = None, starttls: bool = False
) -> Iterator[MailServerForTests]:
    """A running server; with a `password` it takes mail only from who signs in with it as `acme`."""
    listener = socket.create_server((HOST, 0))
    server = MailServerForTests(port=listener.getsockname()[1])
    controller = _Controller(server, listener, password=password, certificate=certificate, starttls=starttls)
    controller.start()
    try:
        yield server
    finally:
        server.release()
        controller.stop()


class _Controller(Controller):
    def __init__(
        self,
        server: MailServerForTests,
        listener: socket.socket,
        *,
        password: str,
        certificate: ssl.SSLContext | None,
        starttls: bool,
    ) -> None:
        tls = None if starttls else certificate
        handler = _Handler(server, sign_in=bool(password))
        super().__init__(
            handler, hostname=HOST, port=server.port, ssl_context=tls, server_hostname=HOST, ready_timeout=READY_SECONDS
        )
        self.script = server
        self.listener = listener
        self.password = password
        self.certificate = certificate if starttls else None

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        """Listen at the port that is bound already: nobody can take it in between."""
        return self.loop.create_server(self._factory_invoker, sock=self.listener, ssl=self.ssl_context)

    def factory(self) -> SMTP:
        return _Protocol(
            self.script,
            self.handler,
            hostname="mail.test",
            tls_context=self.certificate,
            require_starttls=self.certificate is not None,
            auth_require_tls=False,
            authenticator=self._authenticate,
        )

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        login, password = data.login.decode(), data.password.decode()
        self.script.logins.append((login, password))
        return AuthResult(success=(login, password) == ("acme", self.password), handled=False)


class _Protocol(SMTP):
    """A conversation that can be broken off at DATA; the handler's hooks come too late for that."""

    def __init__(self, script: MailServerForTests, handler: _Handler, **options: Any) -> None:
        super().__init__(handler, **options)
        self.script = script

    def connection_made(self, transport: Any) -> None:
        self.script.connections += 1
        super().connection_made(transport)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd names it
        assert self.envelope is not None
        recipient = self.envelope.rcpt_tos[0]
        answer = self.script.answers.get(("DATA", recipient))
        if answer:
            await self.push(answer)
        elif self.script._breaks_at(recipient, "DATA"):
            _hang_up(self)
        elif self.script._breaks_at(recipient, "AFTER_354"):
            await self.push("354 Go on")
            await self._reader.readline()
            _hang_up(self)
        else:
            await super().smtp_DATA(arg)


class _Handler:
    def __init__(self, script: MailServerForTests, *, sign_in: bool) -> None:
        self.script = script
        self.sign_in = sign_in

    async def handle_MAIL(  # noqa: N802 - aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.sign_in and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if self.script._breaks_at("", "MAIL"):
            _hang_up(server)
        envelope.mail_from = address
        return self.script.answers.get(("MAIL", ""), "250 OK")

    async def handle_RCPT(  # noqa: N802 - aiosmtpd names it
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        await self._hold(address, "RCPT")
        if self.script._breaks_at(address, "RCPT"):
            _hang_up(server)
        answer = self.script.answers.get(("RCPT", address), "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd names it
        (recipient,) = envelope.rcpt_tos
        answer = self.script.answers.get(("CONTENT", recipient), "250 OK")
        if answer.startswith("2"):
            assert isinstance(envelope.content, bytes)
            sender = envelope.mail_from or ""
            self.script.mails.append(CaughtMail(sender=sender, recipient=recipient, content=envelope.content))
        await self._hold(recipient, "CONTENT")
        await asyncio.sleep(self.script.answers_after)
        if self.script._breaks_at(recipient, "AFTER_CONTENT"):
            _hang_up(server)
        return answer

    async def _hold(self, recipient: str, step: Step) -> None:
        if recipient in self.script.held and step == self.script.hold_at:
            self.script.waiting.set()
            while not self.script.released.is_set():
                await asyncio.sleep(POLL_SECONDS)


def _hang_up(server: SMTP) -> None:
    """Break the connection off as a network does."""
    transport: Any = server.transport
    transport.abort()
    raise asyncio.CancelledError
