"""Pack a tenant's context into one signed message header, and unpack it.

Layout, before base64url: version, actor kind (a byte each), tenant, root, actor, request id (16 bytes each), locale,
then 16 bytes of keyed BLAKE2b over all before it (RFC 7693 §2.9; quicker than an HMAC). A zero id is none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from flask import Flask

from dashboard.core.errors import StationmasterError
from dashboard.core.tenancy import Actor, ActorKind, Binding, resolver_of

HEADER = "stationmaster"
"""The message header's name."""

VERSION = 1
KINDS: tuple[ActorKind, ...] = ("system", "user", "schedule")
NO_ID = bytes(16)
MAC_BYTES = 16
LOCALE_AT = 2 + 4 * 16
MAX_LOCALE = 16
_FIRST_BYTES = {kind: bytes((VERSION, number)) for number, kind in enumerate(KINDS)}
KEPT = 4096
"""How many headers a process keeps that it verified: the messages of a click or a schedule all bring the same."""


class BadHeader(StationmasterError):
    """The message's tenant header is missing, malformed or not ours."""


class GoneTenant(StationmasterError):
    """The message's tenant no longer exists or is suspended."""


class GoneActor(StationmasterError):
    """The person who asked for this is no longer a member here."""


def pack(binding: Binding, key: bytes) -> str:
    """Return the header's value for what is bound: about 120 bytes, constant over retries."""
    actor, locale = binding.actor, binding.locale
    body = b"".join(
        (
            _FIRST_BYTES[actor.kind],
            binding.tenant.id.bytes,
            binding.root.id.bytes,
            actor.id.bytes if actor.id else NO_ID,
            binding.request_id.bytes if binding.request_id else NO_ID,
            locale.encode("ascii", "ignore")[:MAX_LOCALE] if locale else b"",
        )
    )
    return base64.urlsafe_b64encode(body + _mac(body, key)).decode()


def unpack(app: Flask, value: object, key: bytes) -> Binding:
    """Return what the header's value binds; a root that is no longer verified becomes the canonical one.

    Raises BadHeader for a value we did not write, GoneTenant for a tenant that is deleted or suspended.
    """
    if not isinstance(value, str):
        raise BadHeader
    known = _verified(value, key)
    tenant = resolver_of(app).by_id(known.tenant_id)
    if tenant is None or not tenant.active:
        raise GoneTenant
    return Binding.of(
        tenant, known.root_id, actor=known.actor, locale=known.locale or None, request_id=known.request_id
    )


def header_key(secret_key: str) -> bytes:
    """Derive the signing key, so that no other use of SECRET_KEY makes the same signatures."""
    return hashlib.sha256(b"stationmaster message header\0" + secret_key.encode()).digest()


class _Contents(NamedTuple):
    """What a header of ours says."""

    tenant_id: UUID
    root_id: UUID
    actor: Actor
    request_id: UUID | None
    locale: str


@lru_cache(maxsize=KEPT)
def _verified(value: str, key: bytes) -> _Contents:
    """Return what the header says. Raises BadHeader."""
    try:
        raw = base64.urlsafe_b64decode(value)
    except (binascii.Error, ValueError):
        raise BadHeader from None
    body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if len(body) < LOCALE_AT or not hmac.compare_digest(mac, _mac(body, key)):
        raise BadHeader
    if body[0] != VERSION or body[1] >= len(KINDS):
        raise BadHeader
    return _Contents(
        tenant_id=UUID(bytes=body[2:18]),
        root_id=UUID(bytes=body[18:34]),
        actor=Actor(kind=KINDS[body[1]], id=_id(body[34:50])),
        request_id=_id(body[50:66]),
        locale=body[LOCALE_AT:].decode(),
    )


def _id(raw: bytes) -> UUID | None:
    return None if raw == NO_ID else UUID(bytes=raw)


def _mac(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=MAC_BYTES).digest()
