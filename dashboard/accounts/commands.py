"""`flask users …` and `flask members …`: people, and what they are in tenants."""

from __future__ import annotations

from uuid import UUID

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.accounts import actions
from dashboard.accounts.access import Role
from dashboard.accounts.models import Membership, User
from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_rows, read_line
from dashboard.core.errors import Refused
from dashboard.core.orm import system_scope
from dashboard.tenants.commands import find_tenant

password_option = click.option(
    "--password-stdin", is_flag=True, required=True, help="Read the password from the standard input."
)
role_option = click.option("--role", type=click.Choice([role.value for role in Role]), required=True)

users = CommandGroup("users", help="People who can sign in.")
members = CommandGroup("members", help="What people are in tenants.")


@users.command()
@click.argument("email")
@password_option
@click.option("--name", help="What they are called; the first part of the address if not given.")
@click.option("--platform-owner", is_flag=True, help="Staff above all tenants.")
@json_option
def create(email: str, password_stdin: bool, name: str | None, platform_owner: bool, as_json: bool) -> None:  # noqa: ARG001
    """Create a person who can sign in: flask users create ada@acme.example --password-stdin < file"""
    password = read_line()
    with system_scope("flask users create") as session:
        user = actions.create_user(session, email, name or email.partition("@")[0], password, platform_owner)
        session.refresh(user)
        record = _person(user)
    print_done(f"{user.email} can sign in.", record, as_json=as_json)


@users.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all people."""
    with system_scope("flask users list") as session:
        rows = [_person(user) for user in session.scalars(sa.select(User).order_by(sa.func.lower(User.email)))]
    print_rows(rows, as_json=as_json, empty="There is nobody. Create somebody: flask users create --help")


@users.command()
@click.argument("email")
@password_option
@json_option
def password(email: str, password_stdin: bool, as_json: bool) -> None:  # noqa: ARG001
    """Give a person another password, which ends all their sessions."""
    word = read_line()
    with system_scope("flask users password") as session:
        user = _find(session, email)
        actions.set_password(session, user, word)
    print_done(f"{user.email} has another password, and is signed out everywhere.", _person(user), as_json=as_json)


@users.command()
@click.argument("email")
@json_option
def disable(email: str, as_json: bool) -> None:
    """Keep a person from signing in, and end all their sessions; what they are in tenants stays."""
    user = _set_disabled(email, disabled=True)
    print_done(f"{user.email} cannot sign in any more.", _person(user), as_json=as_json)


@users.command()
@click.argument("email")
@json_option
def enable(email: str, as_json: bool) -> None:
    """Let a disabled person sign in again."""
    user = _set_disabled(email, disabled=False)
    print_done(f"{user.email} can sign in again.", _person(user), as_json=as_json)


@users.command()
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do it; without it, what would go is only said.")
@json_option
def delete(email: str, yes: bool, as_json: bool) -> None:
    """Delete a person for good; what they made stays, and so does their name in the audit trail.

    Who may come back is better disabled.
    """
    with system_scope("flask users delete") as session:
        user = _find(session, email)
        tenants = [slug for _, slug in actions.memberships_of(session, user.id)]
        actions.delete_user(session, user.id, by=None)
        if not yes:
            places = f", as a member of {', '.join(tenants)}" if tenants else ""
            raise Refused(f"Nothing is changed yet: {user.email} would go for good{places}. Add --yes to do it.")
    print_done(f"{user.email} is deleted.", {**_person(user), "was_member_of": tenants}, as_json=as_json)


@members.command()
@click.argument("email")
@click.argument("slug")
@role_option
@json_option
def add(email: str, slug: str, role: str, as_json: bool) -> None:
    """Make a person a member of a tenant, or change the role they have."""
    with system_scope("flask members add") as session:
        actions.add_member(session, email, slug, role)
    print_done(f"{email} is {role} of {slug}.", {"email": email, "tenant": slug, "role": role}, as_json=as_json)


@members.command()
@click.argument("email")
@click.argument("slug")
@role_option
@json_option
def change(email: str, slug: str, role: str, as_json: bool) -> None:
    """Change a member's role; it counts from their next request."""
    with system_scope("flask members change") as session:
        actions.change_role(session, *_member(session, email, slug), role)
    print_done(f"{email} is {role} of {slug}.", {"email": email, "tenant": slug, "role": role}, as_json=as_json)


@members.command()
@click.argument("email")
@click.argument("slug")
@json_option
def remove(email: str, slug: str, as_json: bool) -> None:
    """End a person's membership of a tenant; they are out at their next request, and can still sign in elsewhere."""
    with system_scope("flask members remove") as session:
        role = actions.remove_member(session, *_member(session, email, slug)).role
    record = {"email": email, "tenant": slug, "role": role}
    print_done(f"{email} is no member of {slug} any more.", record, as_json=as_json)


@members.command("list")
@click.argument("slug")
@json_option
def list_members(slug: str, as_json: bool) -> None:
    """List a tenant's members."""
    with system_scope("flask members list") as session:
        query = (
            sa.select(User.email, User.name, Membership.role)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.tenant_id == find_tenant(session, slug).id)
            .order_by(sa.func.lower(User.email))
        )
        rows = [row._asdict() for row in session.execute(query)]
    print_rows(rows, as_json=as_json, empty=f"{slug} has no members. Add one: flask members add --help")


def _find(session: Session, email: str) -> User:
    """Return who signs in with this address. Raises Refused, saying where to look, if nobody does."""
    user = actions.user_by_email(session, email)
    if user is None:
        raise Refused(f"Nobody signs in as {email}. See: flask users list")
    return user


def _set_disabled(email: str, *, disabled: bool) -> User:
    with system_scope("flask users disable") as session:
        user = _find(session, email)
        if (user.disabled_at is not None) == disabled:
            raise Refused(f"{user.email} is disabled already." if disabled else f"{user.email} is not disabled.")
        return actions.update_user(
            session, user.id, name=user.name, platform_owner=user.is_platform_owner, disabled=disabled, by=None
        )


def _member(session: Session, email: str, slug: str) -> tuple[UUID, UUID]:
    """Return the ids of a tenant and of one of its members. Raises Refused if the person is none."""
    tenant, user = find_tenant(session, slug), _find(session, email)
    if session.get(Membership, (tenant.id, user.id)) is None:
        raise Refused(f"{user.email} is no member of {slug}. See: flask members list {slug}")
    return tenant.id, user.id


def _person(user: User) -> Row:
    return {
        "email": user.email,
        "name": user.name,
        "platform_owner": user.is_platform_owner,
        "disabled": user.disabled_at is not None,
    }
