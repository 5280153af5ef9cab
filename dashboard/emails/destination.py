"""Decide to which address a tenant's mail server name may lead, so that it never leads into our own network."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dashboard.emails.failures import MailServerAway, MailServerForbidden, MailServerUnknown

ALLOWED_PORTS = frozenset({25, 465, 587, 2525})
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 §2.5.5.1, deprecated, and still routed by some
NOT_FOUND = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An address that was looked up and checked once; `host` stays the name that TLS must prove."""

    host: str
    addresses: tuple[str, ...]
    port: int


def look_up(host: str, port: int, *, allow_private: bool) -> Destination:
    """Resolve `host` once and check every address that it has.

    Raises MailServerForbidden, MailServerUnknown, or MailServerAway while the name service does not answer.
    """
    if not allow_private and port not in ALLOWED_PORTS:
        raise MailServerForbidden
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        raise (MailServerUnknown if error.errno in NOT_FOUND else MailServerAway)() from None
    except UnicodeError:  # what no name can be: an empty or endless label
        raise MailServerUnknown from None
    addresses = tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    if not allow_private and not all(is_public(address) for address in addresses):
        raise MailServerForbidden
    return Destination(host=host, addresses=addresses, port=port)


def is_public(address: str) -> bool:
    """Whether an address is a public one, also where it only wraps another."""
    try:
        bare = ipaddress.ip_address(address)
    except ValueError:
        return False
    real = _unwrapped(bare) if isinstance(bare, IPv6Address) else bare
    return real is not None and real.is_global and not (real.is_multicast or real.is_reserved or _is_site_local(real))


def _unwrapped(address: IPv6Address) -> IPv4Address | IPv6Address | None:
    """Return the IPv4 address that `address` leads to, itself if it is a plain one, or None where nobody can say."""
    if address.scope_id or address in LOCAL_NAT64 or address.teredo:
        return None
    if address in NAT64 or address in COMPATIBLE:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _is_site_local(address: IPv4Address | IPv6Address) -> bool:
    return isinstance(address, IPv6Address) and address.is_site_local
