"""The connection is as protected as the tenant asked, and what goes wrong with it is told in our words."""

from __future__ import annotations

import socket
import ssl
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from dashboard.emails.failures import (
    BadCertificate,
    MailError,
    MailServerAway,
    MailServerForbidden,
    MailServerRefused,
    MailServerUnknown,
    NoEncryption,
    NoSignIn,
    WrongPassword,
)
from dashboard.emails.smtp import Conversation, MailServer, Protection
from dashboard.jobs.outcomes import PermanentError
from scripts.embedded import HOST
from tests.processes import DEADLINE_SECONDS
from tests.smtp import mail_server

CANARY = "hunter2-canary"
TO = "olivia@acme.example"


def server_at(
    port: int,
    *,
    protection: Protection = "none",
    user: str = "",
    password: str = "",
    private: bool = True,
    host: str = HOST,
    timeout: float = DEADLINE_SECONDS,
) -> MailServer:
    return MailServer(
        host=host,
        port=port,
        protection=protection,
        user=user,
        password=SecretStr(password),
        our_name="jobs.acme.test",
        allow_private=private,
        timeout=timeout,
    )


def send(server: MailServer) -> str:
    """Send a mail and return the state it ends in."""
    conversation = Conversation(server)
    try:
        refused = conversation.begin("jobs@acme.test", TO)
        verdict = refused or conversation.hand(b"Subject: Report\n\nDone.\n.\n..\n")
        conversation.quit()
    finally:
        conversation.close()
    return verdict.state


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate for `name`, and the file of who to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "certificate.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


@contextmanager
def lines_server(*answers: bytes) -> Iterator[int]:
    """A server that greets with the first answer and answers each line with the next; then it is silent."""
    listener = socket.create_server((HOST, 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            for answer in answers:
                connection.sendall(answer)
                lines.readline()
            while lines.readline():
                pass

    thread = Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield listener.getsockname()[1]
    thread.join(DEADLINE_SECONDS)


def test_content_arrives_as_it_was_written_dots_and_all() -> None:
    with mail_server() as server:
        assert send(server_at(server.port)) == "sent"
        assert server.mails[0].content == b"Subject: Report\r\n\r\nDone.\r\n.\r\n..\r\n"


@pytest.mark.parametrize("protection", ["tls", "starttls"])
def test_a_protected_server_with_a_valid_certificate_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protection: Protection
) -> None:
    context, trusted = certificate(tmp_path, HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with mail_server(certificate=context, starttls=protection == "starttls") as server:
        assert send(server_at(server.port, protection=protection)) == "sent"


@pytest.mark.parametrize("protection", ["tls", "starttls"])
@pytest.mark.parametrize(("name", "is_trusted"), [(HOST, False), ("mail.elsewhere.test", True)])
def test_a_certificate_that_nobody_vouches_for_or_for_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protection: Protection, name: str, is_trusted: bool
) -> None:
    context, trusted = certificate(tmp_path, name)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with mail_server(certificate=context, starttls=protection == "starttls") as server:
        with pytest.raises(BadCertificate):
            send(server_at(server.port, protection=protection, user="acme", password=CANARY))
        assert (server.mails, server.logins) == ([], [])


def test_a_server_without_starttls_gets_no_mail_in_the_clear() -> None:
    with mail_server() as server:
        with pytest.raises(NoEncryption):
            send(server_at(server.port, protection="starttls"))
        assert server.mails == []


def test_the_password_is_used_to_sign_in() -> None:
    with mail_server(password="open sesame") as server:
        assert send(server_at(server.port, user="acme", password="open sesame")) == "sent"


@pytest.mark.parametrize("password", [CANARY, "grün" + CANARY])
def test_a_wrong_password_is_told_and_never_repeated(password: str) -> None:
    with mail_server(password="open sesame") as server, pytest.raises(WrongPassword) as caught:
        send(server_at(server.port, user="acme", password=password))
    assert str(caught.value) == WrongPassword.__doc__
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("answers", "error", "user"),
    [
        ((b"554 canary: go away\r\n",), MailServerRefused, ""),
        ((b"421 canary: busy\r\n",), MailServerAway, ""),
        ((b"hello, canary\r\n",), MailServerRefused, ""),
        ((b"220 hi\r\n", b"550 canary\r\n", b"550 canary\r\n"), MailServerRefused, ""),
        ((b"220 hi\r\n", b"250 mail\r\n"), NoSignIn, "acme"),
        ((b"220 hi\r\n", b"250-mail\r\n250 AUTH CANARY\r\n"), NoSignIn, "acme"),
        ((b"220 hi\r\n", b"250-mail\r\n250 AUTH PLAIN\r\n", b"454 canary: later\r\n"), MailServerAway, "acme"),
        ((b"220 hi\r\n", b"250 mail\r\n", b"canary\r\n"), MailServerAway, ""),
        ((b"220 hi\r\n",), MailServerAway, ""),
        ((), MailServerAway, ""),
    ],
    ids=[
        "refuses",
        "is busy",
        "speaks something else",
        "knows no greeting",
        "takes no sign-in",
        "takes a strange sign-in",
        "takes sign-in later",
        "answers nonsense",
        "falls silent",
        "says nothing",
    ],
)
def test_each_way_a_server_may_fail_has_its_sentence_and_none_of_the_servers_words(
    answers: tuple[bytes, ...], error: type[MailError], user: str
) -> None:
    timeout = 1 if error is MailServerAway else DEADLINE_SECONDS  # only what falls silent has to be given up
    with lines_server(*answers) as port, pytest.raises(MailError) as caught:
        send(server_at(port, user=user, password="x", timeout=timeout))
    assert type(caught.value) is error
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_does_not_listen_is_away() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(MailServerAway):
        send(server_at(port))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_name_that_can_not_be_one_is_unknown(host: str) -> None:
    with pytest.raises(MailServerUnknown):
        send(server_at(25, host=host))


def test_a_private_address_is_not_even_connected_to() -> None:
    with mail_server() as server:
        before = server.connections
        for host, port in ((HOST, 25), ("localhost", 587), (HOST, server.port)):
            with pytest.raises(MailServerForbidden):
                send(server_at(port, host=host, private=False))
        assert server.connections == before


def test_only_what_needs_a_person_is_permanent() -> None:
    permanent = {error for error in MailError.__subclasses__() if issubclass(error, PermanentError)}
    assert {error.__name__ for error in set(MailError.__subclasses__()) - permanent} == {
        "MailServerAway",
        "MailServerBusy",
    }
