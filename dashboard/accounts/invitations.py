"""Ask a person by their address to become a member, and take their answer.

Whether anybody signs in with an address is told to nobody: an invitation looks the same with and without such a
person, and only who signs in with the address sees it (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.accounts.actions import EMAIL, parse_role
from dashboard.accounts.models import Invitation, Membership, User
from dashboard.accounts.sessions import SignedInUser
from dashboard.audit.actions import record
from dashboard.core.errors import InvalidInput, Refused

OPEN_FOR = timedelta(days=14)
"""How long an invitation may be answered: an address may pass to somebody else."""

PER_ADMIN = "30 per hour"
"""How many people one admin may invite."""


def invite(session: Session, tenant_id: UUID, email: str, role: str) -> Invitation:
    """Ask whoever signs in with this address to become a member; asking again begins anew, with the new role.

    Raises InvalidInput for an address that is malformed or a member's already, and for a role that is none.
    """
    email, chosen = email.strip(), parse_role(role)
    if not EMAIL.fullmatch(email):
        raise InvalidInput({"email": "Write an address like ada@acme.example."})
    if _is_member(session, tenant_id, email):
        raise InvalidInput({"email": f"{email} is a member already: change the role in the list."})
    session.execute(sa.delete(Invitation).where(Invitation.tenant_id == tenant_id, _is_for(email) | ~_is_open()))
    invitation = Invitation(tenant_id=tenant_id, email=email, role=chosen.value)
    session.add(invitation)
    _record(session, "member.invite", invitation)
    return invitation


def withdraw(session: Session, tenant_id: UUID, invitation_id: UUID) -> None:
    """Take an invitation back. Raises Refused if it was answered or withdrawn meanwhile."""
    invitation = session.scalar(
        sa.select(Invitation).where(Invitation.id == invitation_id, Invitation.tenant_id == tenant_id).with_for_update()
    )
    if invitation is None:
        raise Refused("This invitation is not open any more.")
    session.delete(invitation)
    _record(session, "member.withdraw", invitation)


def open_invitations(session: Session, tenant_id: UUID) -> Sequence[Invitation]:
    """Return a tenant's invitations that may still be answered, by address."""
    return session.scalars(
        sa.select(Invitation)
        .where(Invitation.tenant_id == tenant_id, _is_open())
        .order_by(sa.func.lower(Invitation.email))
    ).all()


def invitations_of(session: Session, person: SignedInUser) -> Sequence[Invitation]:
    """Return the open invitations of a person in every tenant. Needs a system session."""
    return session.scalars(
        sa.select(Invitation).where(_is_for(person.email), _is_open()).order_by(Invitation.created_at)
    ).all()


def accept(session: Session, person: SignedInUser, invitation_id: UUID) -> None:
    """Become a member. Needs a system session. Raises Refused if the invitation is not theirs, or open no more."""
    invitation = _answered(session, person, invitation_id)
    membership = session.get(Membership, (invitation.tenant_id, person.id))
    if membership is None:  # else somebody made them a member meanwhile, with a role that counts more than ours
        session.add(Membership(tenant_id=invitation.tenant_id, user_id=person.id, role=invitation.role))
    _record(session, "member.accept", invitation)


def decline(session: Session, person: SignedInUser, invitation_id: UUID) -> None:
    """Stay no member. Needs a system session. Raises Refused if the invitation is not theirs, or open no more."""
    _record(session, "member.decline", _answered(session, person, invitation_id))


def _answered(session: Session, person: SignedInUser, invitation_id: UUID) -> Invitation:
    invitation = session.scalar(
        sa.select(Invitation).where(Invitation.id == invitation_id, _is_for(person.email), _is_open()).with_for_update()
    )
    if invitation is None:
        raise Refused("This invitation is not open any more. Ask for another one.")
    session.delete(invitation)
    return invitation


def _is_for(email: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(Invitation.email) == email.lower()


def _is_open() -> sa.ColumnElement[bool]:
    return Invitation.created_at > sa.func.now() - OPEN_FOR


def _is_member(session: Session, tenant_id: UUID, email: str) -> bool:
    members = sa.select(Membership).join(User, User.id == Membership.user_id)
    found = members.where(Membership.tenant_id == tenant_id, sa.func.lower(User.email) == email.lower())
    return session.scalar(sa.select(found.exists())) or False


def _record(session: Session, action: str, invitation: Invitation) -> None:
    record(
        session,
        action,
        subject=("invitation", invitation.id, invitation.email),
        tenant_id=invitation.tenant_id,
        details={"role": invitation.role},
    )
