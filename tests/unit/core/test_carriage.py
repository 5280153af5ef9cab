"""The message header is small, the same for the same context, and worth nothing when changed."""

from __future__ import annotations

import base64
from dataclasses import replace
from uuid import UUID

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from dashboard.core.carriage import HEADER, BadHeader, GoneTenant, header_key, pack, unpack
from dashboard.core.tenancy import Actor, Binding, Root, Tenant, register_resolver

KEY = header_key("a secret")
ROOTS = tuple(
    Root(id=UUID(int=number), scheme="https", host=f"{number}.acme.test", port=None, prefix="") for number in (1, 2)
)
ACME = Tenant(id=UUID(int=3), slug="acme", name="Acme", active=True, roots=ROOTS, values={})

ids = st.uuids().filter(lambda each: each.int > 0)
actors = st.one_of(st.just(Actor(kind="system")), st.builds(Actor, kind=st.sampled_from(["user", "schedule"]), id=ids))
bindings = st.builds(
    lambda root, actor, locale, request_id: Binding.of(
        ACME, root.id, actor=actor, locale=locale, request_id=request_id
    ),
    st.sampled_from(ROOTS),
    actors,
    st.one_of(st.none(), st.from_regex(r"[a-z]{2,3}(-[A-Z]{2})?", fullmatch=True)),
    st.one_of(st.none(), ids),
)


class OneTenant:
    """Finds the tenant it was given."""

    def __init__(self, tenant: Tenant | None) -> None:
        self.tenant = tenant

    def by_id(self, tenant_id: UUID) -> Tenant | None:
        return self.tenant if self.tenant and self.tenant.id == tenant_id else None

    def by_slug(self, slug: str) -> Tenant | None:
        return self.tenant

    def at_host(self, host: str, port: int | None) -> list[tuple[Root, UUID]]:
        return []


def app_with(tenant: Tenant | None) -> Flask:
    app = Flask(__name__)
    register_resolver(app, OneTenant(tenant))
    return app


APP = app_with(ACME)


@given(bindings)
def test_what_is_packed_is_unpacked(binding: Binding) -> None:
    assert unpack(APP, pack(binding, KEY), KEY) == binding


@given(bindings)
def test_the_header_is_small_and_constant(binding: Binding) -> None:
    header = pack(binding, KEY)
    assert len(HEADER) + len(header) <= 200
    assert header == pack(unpack(APP, header, KEY), KEY)


@given(st.text())
def test_the_header_is_small_whatever_language_was_asked_for(locale: str) -> None:
    header = pack(Binding.of(ACME, locale=locale), KEY)
    assert len(HEADER) + len(header) <= 200
    unpack(APP, header, KEY)


@given(bindings, st.data())
def test_a_header_with_any_byte_changed_is_refused(binding: Binding, data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(pack(binding, KEY)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadHeader):
        unpack(APP, base64.urlsafe_b64encode(raw).decode(), KEY)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.none(), st.dictionaries(st.text(), st.text())))
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(BadHeader):
        unpack(APP, value, KEY)


def test_another_secret_makes_another_signature() -> None:
    with pytest.raises(BadHeader):
        unpack(APP, pack(Binding.of(ACME), header_key("another secret")), KEY)


@pytest.mark.parametrize("tenant", [None, replace(ACME, active=False)], ids=["deleted", "suspended"])
def test_a_tenant_that_is_gone_is_refused(tenant: Tenant | None) -> None:
    with pytest.raises(GoneTenant):
        unpack(app_with(tenant), pack(Binding.of(ACME), KEY), KEY)


def test_a_root_that_is_gone_becomes_the_canonical_one() -> None:
    header = pack(Binding.of(ACME, ROOTS[1].id), KEY)
    assert unpack(app_with(replace(ACME, roots=ROOTS[:1])), header, KEY).root is ROOTS[0]


def test_what_the_tenant_changed_since_is_what_the_task_sees() -> None:
    header = pack(Binding.of(ACME), KEY)
    renamed = replace(ACME, values={"MAIL_SENDER": "new@acme.test"})
    assert unpack(app_with(renamed), header, KEY).settings["MAIL_SENDER"] == "new@acme.test"
