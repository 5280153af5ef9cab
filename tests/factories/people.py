"""Makes the people that tests about permissions stand on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from flask import Flask

from dashboard.core.tenancy import Tenant
from tests.factories import make_user
from tests.signing_in import PASSWORD, hash_of


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Alice is Acme's admin, Olivia an operator, Victor a viewer; Mallory is Globex's admin; Root owns the platform."""

    alice: UUID
    olivia: UUID
    victor: UUID
    mallory: UUID
    root: UUID


def make_people(app: Flask, acme: Tenant, globex: Tenant) -> People:
    """Return the ids of five people who can sign in, as `alice@acme.test` and so on."""

    def person(email: str, tenant: Tenant | None = None, role: str = "", owner: bool = False) -> UUID:
        roles = {tenant.id: role} if tenant else {}
        return make_user(app, email, password_hash=hash_of(PASSWORD), owner=owner, roles=roles)

    return People(
        alice=person("alice@acme.test", acme, "admin"),
        olivia=person("olivia@acme.test", acme, "operator"),
        victor=person("victor@acme.test", acme, "viewer"),
        mallory=person("mallory@globex.test", globex, "admin"),
        root=person("root@platform.test", owner=True),
    )
