"""Talk to a mail server, one step at a time, so that the ledger can be written between the steps.

A mail leaves in two steps: `begin` up to the server's request for the content (354), of which nothing has left yet,
and `hand` with the content. What happens in between is the caller's.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic import SecretStr

from dashboard.emails.destination import Destination, look_up
from dashboard.emails.failures import (
    BadCertificate,
    MailError,
    MailServerAway,
    MailServerBusy,
    MailServerRefused,
    NoEncryption,
    NoSignIn,
    SenderRefused,
    SignInNeeded,
    WrongPassword,
)
from dashboard.emails.states import BOUNCED, DEFERRED, SENT, UNCERTAIN

Protection = Literal["none", "starttls", "tls"]
OK, GO_ON, CLOSING = 250, 354, 421
SIGN_IN_CODES = frozenset({530, 534, 538})


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where a tenant's mail goes out, and how long to wait for each of the server's answers (seconds)."""

    host: str
    port: int
    protection: Protection
    user: str
    password: SecretStr
    our_name: str
    allow_private: bool
    timeout: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mail: a delivery's state, the reply's code, and a sentence without the server's words."""

    state: str
    code: int | None
    sentence: str


class Conversation:
    """One connection to a mail server, opened when it is needed and used for many mails."""

    def __init__(self, server: MailServer) -> None:
        self.server = server
        self._smtp: smtplib.SMTP | None = None

    def greet(self) -> None:
        """Connect and sign in, as before a mail. Raises a MailError."""
        if self._smtp is None:
            self._smtp = _connected(self.server)

    def begin(self, sender: str, recipient: str) -> Verdict | None:
        """Name sender and recipient and ask to hand over the content; None means that the server waits for it.

        Raises a MailError for what concerns the server and not this recipient. No content has left.
        """
        reused = self._smtp is not None
        try:
            return self._envelope(sender, recipient)
        except MailServerAway:
            if not reused:
                raise
            return self._envelope(sender, recipient)  # a server may close a connection it has had for long enough

    def hand(self, content: bytes) -> Verdict:
        """Send the content and return the verdict; `uncertain` where the server's answer never came."""
        smtp = self._smtp
        if smtp is None:
            raise RuntimeError("hand() follows a begin() that returned None")
        try:
            smtp.send(_dotted(content))
            code, reply = smtp.getreply()
        except (OSError, smtplib.SMTPException):
            self.close()
            return Verdict(UNCERTAIN, None, "The connection broke after the mail had left: it may have arrived.")
        if code == CLOSING:
            self.close()
        if code // 100 not in (2, 4, 5):
            self.close()
            return Verdict(UNCERTAIN, None, "The mail server's answer made no sense: the mail may have arrived.")
        return Verdict(SENT, code, "") if code // 100 == 2 else _refusal(code, reply)

    def close(self) -> None:
        """Drop the connection as it is; a mail whose content was only asked for is forgotten by the server."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def quit(self) -> None:
        """Take leave, if there is anybody to take leave of."""
        if self._smtp is not None:
            with suppress(OSError, smtplib.SMTPException):  # it may be gone already
                self._smtp.docmd("QUIT")
            self.close()

    def _envelope(self, sender: str, recipient: str) -> Verdict | None:
        if self._smtp is None:
            self._smtp = _connected(self.server)
        smtp = self._smtp
        code, _ = self._ask(lambda: smtp.mail(sender))
        if code // 100 != 2:
            self._give_up(code)
        code, reply = self._ask(lambda: smtp.rcpt(recipient))
        if code // 100 == 2:
            code, reply = self._ask(lambda: smtp.docmd("DATA"))
            if code == GO_ON:
                return None
        if code in SIGN_IN_CODES:
            self._give_up(code)
        self._ask(smtp.rset)
        return _refusal(code, reply)

    def _ask(self, command: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
        """Return the reply to a command. Raises MailServerAway, with the connection dropped, if there is none."""
        try:
            code, reply = command()
        except (OSError, smtplib.SMTPException):
            self.close()
            raise MailServerAway from None
        if code == CLOSING or code < 200:
            self.close()
            raise MailServerAway
        return code, reply

    def _give_up(self, code: int) -> NoReturn:
        """The server will not take mail from this sender."""
        self.close()
        if code in SIGN_IN_CODES:
            raise SignInNeeded
        raise MailServerBusy if code // 100 == 4 else SenderRefused


class _Pinned(smtplib.SMTP):
    """An SMTP client that connects to the address that was checked, not to what its name leads to by now."""

    def __init__(self, server: MailServer, destination: Destination) -> None:
        self._destination = destination
        self._tls = ssl.create_default_context() if server.protection == "tls" else None
        super().__init__(destination.host, destination.port, local_hostname=server.our_name, timeout=server.timeout)

    def _get_socket(self, host: str, _port: int, timeout: float) -> socket.socket:
        connection = _first_that_answers(self._destination, timeout)
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise


def _first_that_answers(destination: Destination, timeout: float) -> socket.socket:
    *others, last = destination.addresses
    for address in others:
        try:
            return socket.create_connection((address, destination.port), timeout)
        except OSError:
            continue
    return socket.create_connection((last, destination.port), timeout)


def _connected(server: MailServer) -> smtplib.SMTP:
    """Return a connection that is protected and signed in as the server's settings say."""
    destination = look_up(server.host, server.port, allow_private=server.allow_private)
    try:
        smtp = _Pinned(server, destination)
    except ssl.SSLCertVerificationError:
        raise BadCertificate from None
    except smtplib.SMTPConnectError as error:
        raise _temporarily(error, MailServerRefused) from None
    except (OSError, smtplib.SMTPException):
        raise MailServerAway from None
    try:
        _introduce(smtp, server)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _introduce(smtp: smtplib.SMTP, server: MailServer) -> None:
    try:
        smtp.ehlo_or_helo_if_needed()
        if server.protection == "starttls":
            _protect(smtp)
        if server.user:
            _sign_in(smtp, server)
    except ssl.SSLCertVerificationError:
        raise BadCertificate from None
    except smtplib.SMTPHeloError as error:
        raise _temporarily(error, MailServerRefused) from None
    except (OSError, smtplib.SMTPException):
        raise MailServerAway from None


def _protect(smtp: smtplib.SMTP) -> None:
    try:
        smtp.starttls(context=ssl.create_default_context())
    except smtplib.SMTPNotSupportedError:
        raise NoEncryption from None
    except smtplib.SMTPHeloError:
        raise
    except smtplib.SMTPResponseException as error:
        raise _temporarily(error, NoEncryption) from None
    smtp.ehlo_or_helo_if_needed()


def _sign_in(smtp: smtplib.SMTP, server: MailServer) -> None:
    try:
        smtp.login(server.user, server.password.get_secret_value())
    except smtplib.SMTPAuthenticationError as error:
        raise _temporarily(error, WrongPassword) from None
    except UnicodeError:  # smtplib knows only ASCII in names and passwords
        raise WrongPassword from None
    except (smtplib.SMTPServerDisconnected, smtplib.SMTPHeloError):
        raise
    except smtplib.SMTPException:
        raise NoSignIn from None


def _temporarily(error: smtplib.SMTPResponseException, otherwise: type[MailError]) -> MailError:
    return MailServerAway() if error.smtp_code // 100 == 4 else otherwise()


def _dotted(content: bytes) -> bytes:
    """Return the content as DATA wants it: CRLF lines, a dot before each leading dot, a dot alone at the end."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    lines = re.sub(rb"(?m)^\.", b"..", lines)
    return lines + (b"" if lines.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def _refusal(code: int, reply: bytes) -> Verdict:
    """The server's no, told by its codes (RFC 3463): its own words may be anything."""
    enhanced = re.match(rb"[245]\.(\d{1,3})\.(\d{1,3})\b", reply)
    subject = f"{int(enhanced[1])}.{int(enhanced[2])}" if enhanced else ""
    reason = _REASONS.get(subject) or _REASONS.get(subject.partition(".")[0]) or ""
    if code // 100 == 4:
        return Verdict(DEFERRED, code, f"The mail server asked to try again later{reason} ({code}).")
    return Verdict(BOUNCED, code, f"The mail server refused it{reason} ({code}).")


_REASONS = {
    "1.1": ": there is no such address",
    "1.2": ": there is no such domain",
    "1.10": ": the domain takes no mail",
    "1": ": something is wrong with the address",
    "2.1": ": the mailbox is disabled",
    "2.2": ": the mailbox is full",
    "2": ": something is wrong with the mailbox",
    "3.4": ": the mail is too large",
    "4": ": it could not be passed on",
    "6": ": it does not like the content",
    "7.1": ": we may not send to this address",
    "7": ": a rule of the server forbids it",
}
