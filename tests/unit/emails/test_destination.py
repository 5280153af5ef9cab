"""A tenant's mail server is never an address inside our own network, however it is written."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from dashboard.emails.destination import is_public, look_up
from dashboard.emails.failures import MailServerForbidden

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::808:808",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:7f00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "not an address",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "0"])
def test_every_way_to_write_loopback_is_refused(host: str) -> None:
    with pytest.raises(MailServerForbidden):
        look_up(host, 25, allow_private=False)


@pytest.mark.parametrize("port", [22, 80, 443, 5432, 6379, 11211])
def test_a_port_that_is_no_mail_port_is_refused(port: int) -> None:
    with pytest.raises(MailServerForbidden):
        look_up("8.8.8.8", port, allow_private=False)


@pytest.mark.parametrize("port", [25, 465, 587, 2525])
def test_a_mail_port_of_a_public_address_is_allowed(port: int) -> None:
    assert look_up("8.8.8.8", port, allow_private=False).addresses == ("8.8.8.8",)


def test_a_name_with_one_private_address_among_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_addresses(host: str, port: int, **_options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with pytest.raises(MailServerForbidden):
        look_up("rebinding.example", 25, allow_private=False)


def test_development_may_use_loopback_at_any_port() -> None:
    assert look_up("127.0.0.1", 8025, allow_private=True).addresses == ("127.0.0.1",)
