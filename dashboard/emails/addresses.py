"""Accept mail addresses: one in a header, many recipients in a parameter."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated

import idna
from pydantic import AfterValidator, EmailStr, Field

MOST_RECIPIENTS = 10_000
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make text read in another order than it is written (Unicode TR 9)."""


class BadAddress(ValueError):
    """This is not one mail address."""


def is_plain_line(text: str) -> bool:
    """Whether `text` is one line without control characters or marks that reorder it."""
    return not any(char in BIDI_CONTROLS or unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in text)


def plain_line(text: str) -> str:
    """Return `text` as one line: line ends and control characters become spaces, reordering marks are dropped."""
    kept = (char for char in text if char not in BIDI_CONTROLS)
    spaced = ("\x20" if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in kept)
    return " ".join("".join(spaced).split())


def one_mailbox(text: str) -> Address:
    """Return the one mailbox, like `Acme <jobs@acme.example>`, that a header may name.

    Raises BadAddress for none, for several, and for text that is not one plain line.
    """
    parsed = getaddresses([text])
    if not is_plain_line(text) or len(parsed) != 1:
        raise BadAddress
    name, address = parsed[0]
    try:
        return Address(name, addr_spec=_on_the_wire(address))
    except (ValueError, IndexError):  # headerregistry raises IndexError for some unfinished addresses
        raise BadAddress from None


def _on_the_wire(address: str) -> str:
    """Return `address` in ASCII, which every server takes; few take other letters before the @ (RFC 6531)."""
    local, at, domain = address.rpartition("@")
    if not at or not local.isascii():
        raise BadAddress
    try:
        return f"{local}@{domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        raise BadAddress from None


def _unique(addresses: Sequence[str]) -> list[str]:
    """Drop repeats. Domains are compared without case; what stands before the @ is its server's affair (RFC 5321)."""
    unique: dict[str, None] = {}
    for address in addresses:
        try:
            unique[_on_the_wire(address)] = None
        except BadAddress:
            raise ValueError(f"“{address}”: only plain letters, digits and signs can stand before the @") from None
    return list(unique)


Recipients = Annotated[list[EmailStr], Field(min_length=1, max_length=MOST_RECIPIENTS), AfterValidator(_unique)]
"""One or more addresses, each once, in the form that goes over the wire."""
