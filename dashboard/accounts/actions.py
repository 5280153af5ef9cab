"""What may be done about people: create them, their passwords, their memberships; the caller's transaction, audited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from dashboard.accounts.access import Role
from dashboard.accounts.models import Credential, Membership, User, WebSession
from dashboard.accounts.passwords import check_new, hash_password
from dashboard.audit.actions import record
from dashboard.core.clock import database_now, zone_names
from dashboard.core.errors import InvalidInput, Refused
from dashboard.tenants.models import TenantRecord

EMAIL = re.compile(r"[^@\s\x00-\x1f,;<>\"]{1,64}@[^@\s\x00-\x1f,;<>\"]{1,190}")
MAX_NAME_LENGTH = 80


class OnlyAdmin(Refused):
    """This is the only admin. Make somebody else an admin first."""


def create_user(session: Session, email: str, name: str, password: str, platform_owner: bool = False) -> User:
    """Add a person who can sign in, and return them. Needs a system session.

    Raises InvalidInput for an address that is malformed or taken, a name or a password that will not do.
    """
    email, name = email.strip(), _checked_name(name)
    if not EMAIL.fullmatch(email):
        raise InvalidInput({"email": "Write an address like ada@acme.example."})
    if user_by_email(session, email) is not None:
        raise InvalidInput({"email": f"{email} belongs to somebody already."})
    password_hash = hash_password(check_new(password, email))
    user = User(email=email, name=name, is_platform_owner=platform_owner)
    session.add(user)
    session.flush()
    session.add(Credential(user_id=user.id, password_hash=password_hash))
    record(session, "user.create", subject=("user", user.id, email), details={"platform_owner": platform_owner})
    return user


def update_user(
    session: Session, user_id: UUID, *, name: str, platform_owner: bool, disabled: bool, by: UUID | None
) -> User:
    """Change what a platform owner may change of a person; a disabled one is signed out. Needs a system session.

    Raises Refused if the owner `by` (None: the command line), or everybody, would lose the back office by it.
    """
    user = _locked_person(session, user_id, stays_owner=platform_owner and not disabled, by=by)
    user.name = _checked_name(name)
    user.is_platform_owner = platform_owner
    user.disabled_at = (user.disabled_at or database_now(session)) if disabled else None
    if disabled:
        session.execute(sa.delete(WebSession).where(WebSession.user_id == user_id))
    details = {"name": user.name, "platform_owner": platform_owner, "disabled": disabled}
    record(session, "user.change", subject=("user", user_id, user.email), details=details)
    return user


def delete_user(session: Session, user_id: UUID, *, by: UUID | None) -> User:
    """Delete a person for good, with their memberships, sessions and password. Needs a system session.

    What they made stays, and the audit trail keeps what they did, and their name. Raises Refused if the owner `by`
    (None: the command line), or everybody, would lose the back office by it, or if a tenant would have no admin left.
    """
    user = _locked_person(session, user_id, stays_owner=False, by=by)
    memberships = memberships_of(session, user_id)
    left_alone = [slug for tenant_id, slug in memberships if not _removed(session, tenant_id, user_id)]
    if left_alone:
        raise Refused(f"{user.email} is the only admin of {', '.join(left_alone)}. Make somebody else an admin first.")
    record(
        session,
        "user.delete",
        subject=("user", user_id, user.email),
        of_platform=True,
        details={"name": user.name, "memberships": [slug for _, slug in memberships]},
    )
    session.flush()
    session.execute(sa.delete(User).where(User.id == user_id))
    return user


def memberships_of(session: Session, user_id: UUID) -> Sequence[tuple[UUID, str]]:
    """Return the tenants that a person is a member of: ids with slugs, by slug. Needs a system session."""
    query = sa.select(TenantRecord.id, TenantRecord.slug).join(Membership, Membership.tenant_id == TenantRecord.id)
    rows = session.execute(query.where(Membership.user_id == user_id).order_by(TenantRecord.slug))
    return [(row.id, row.slug) for row in rows]


def _removed(session: Session, tenant_id: UUID, user_id: UUID) -> bool:
    try:
        remove_member(session, tenant_id, user_id)
    except OnlyAdmin:
        return False
    return True


def set_password(session: Session, user: User, password: str) -> None:
    """Give a person another password and end all their sessions at once. Needs a system session."""
    password_hash = hash_password(check_new(password, user.email))
    credential = session.get(Credential, user.id)
    if credential is None:
        session.add(Credential(user_id=user.id, password_hash=password_hash))
    else:
        credential.password_hash = password_hash
    session.execute(sa.delete(WebSession).where(WebSession.user_id == user.id))
    record(session, "user.password", subject=("user", user.id, user.email), of_platform=True)


def set_timezone(session: Session, user_id: UUID, zone: str) -> None:
    """Keep the zone that a person wants times in; empty for each tenant's. Needs a system session.

    Raises InvalidInput for a zone that is none.
    """
    if zone and zone not in zone_names():
        raise InvalidInput({"timezone": "Choose a time zone from the list, like Europe/London."})
    user = session.get_one(User, user_id)
    before = user.timezone or ""
    if zone == before:
        return
    user.timezone = zone or None
    details = {"before": before, "after": zone}
    record(session, "user.timezone", subject=("user", user_id, user.email), of_platform=True, details=details)


def add_member(session: Session, email: str, slug: str, role: str) -> Membership:
    """Make a person a member of a tenant with a role, or change the role they have. Needs a system session.

    Raises InvalidInput for an address, a slug or a role that is none, OnlyAdmin if it takes the tenant's last admin.
    """
    user = user_by_email(session, email)
    if user is None:
        raise InvalidInput({"email": f"Nobody signs in as {email}. Create the person first."})
    tenant = session.scalar(sa.select(TenantRecord).where(TenantRecord.slug == slug))
    if tenant is None:
        raise InvalidInput({"slug": f"There is no tenant {slug}."})
    chosen = parse_role(role)
    if session.get(Membership, (tenant.id, user.id)) is not None:
        return change_role(session, tenant.id, user.id, role)
    membership = Membership(tenant_id=tenant.id, user_id=user.id, role=chosen)
    session.add(membership)
    record(
        session,
        "member.add",
        subject=("user", user.id, user.email),
        tenant_id=tenant.id,
        details={"role": chosen.value},
    )
    return membership


def change_role(session: Session, tenant_id: UUID, user_id: UUID, role: str) -> Membership:
    """Change a member's role in a tenant. Raises OnlyAdmin if nobody would be left to administer it."""
    chosen = parse_role(role)
    membership = _locked_member(session, tenant_id, user_id, stays_admin=chosen is Role.ADMIN)
    details = {"before": membership.role, "after": chosen.value}
    membership.role = chosen
    subject = ("user", user_id, membership.user.email)
    record(session, "member.change", subject=subject, tenant_id=tenant_id, details=details)
    return membership


def remove_member(session: Session, tenant_id: UUID, user_id: UUID) -> Membership:
    """End a person's membership of a tenant. Raises OnlyAdmin if nobody would be left to administer it."""
    membership = _locked_member(session, tenant_id, user_id, stays_admin=False)
    session.delete(membership)
    subject = ("user", user_id, membership.user.email)
    record(session, "member.remove", subject=subject, tenant_id=tenant_id, details={"role": membership.role})
    return membership


def user_by_email(session: Session, email: str) -> User | None:
    """Return who signs in with this address, in whatever case it is written."""
    return session.scalar(sa.select(User).where(sa.func.lower(User.email) == email.strip().lower()))


def parse_role(word: str) -> Role:
    """Return the role. Raises InvalidInput for a word that is none."""
    try:
        return Role(word)
    except ValueError:
        raise InvalidInput({"role": f"Choose one of: {', '.join(Role)}."}) from None


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise InvalidInput({"name": f"Give a name of 1 to {MAX_NAME_LENGTH} characters."})
    return name


def _locked_person(session: Session, user_id: UUID, *, stays_owner: bool, by: UUID | None) -> User:
    """Lock a person and all owners, so that two owners who take each other's place do not both succeed."""
    concerned = sa.select(User).where(sa.or_(User.id == user_id, User.is_platform_owner))
    people = session.scalars(concerned.order_by(User.id).with_for_update().execution_options(populate_existing=True))
    found = {person.id: person for person in people}
    user = found.get(user_id)
    if user is None:
        raise Refused("This person is gone already.")
    if user_id == by and not stays_owner:
        raise Refused("You would lose the back office yourself. Let another owner do it.")
    others = [each for each in found.values() if each.is_platform_owner and not each.disabled_at and each is not user]
    if user.is_platform_owner and not stays_owner and not others:
        raise Refused(f"{user.email} is the last platform owner. Make somebody else one first.")
    return user


def _locked_member(session: Session, tenant_id: UUID, user_id: UUID, *, stays_admin: bool) -> Membership:
    """Lock the tenant's members, so that two admins who demote each other do not both succeed."""
    members = session.scalars(
        sa.select(Membership)
        .where(Membership.tenant_id == tenant_id)
        .options(joinedload(Membership.user, innerjoin=True))
        .with_for_update(of=Membership)
    ).all()
    member = next((each for each in members if each.user_id == user_id), None)
    if member is None:
        raise Refused("This person is not a member any more.")
    others = [each for each in members if each.role == Role.ADMIN and each.user_id != user_id]
    if member.role == Role.ADMIN and not stays_admin and not others:
        raise OnlyAdmin
    return member
