"""`flask users …` and `flask members …`: people, and what they are in tenants."""

from __future__ import annotations

import click
import sqlalchemy as sa

from dashboard.accounts import actions
from dashboard.accounts.access import Role
from dashboard.accounts.models import Membership, User
from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_rows, read_line
from dashboard.core.orm import system_scope
from dashboard.tenants.commands import find_tenant

users = CommandGroup("users", help="People who can sign in.")
members = CommandGroup("members", help="What people are in tenants.")


@users.command()
@click.argument("email")
@click.option("--password-stdin", is_flag=True, required=True, help="Read the password from the standard input.")
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


@members.command()
@click.argument("email")
@click.argument("slug")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@json_option
def add(email: str, slug: str, role: str, as_json: bool) -> None:
    """Make a person a member of a tenant, or change the role they have."""
    with system_scope("flask members add") as session:
        actions.add_member(session, email, slug, role)
    print_done(f"{email} is {role} of {slug}.", {"email": email, "tenant": slug, "role": role}, as_json=as_json)


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


def _person(user: User) -> Row:
    return {
        "email": user.email,
        "name": user.name,
        "platform_owner": user.is_platform_owner,
        "disabled": user.disabled_at is not None,
    }
