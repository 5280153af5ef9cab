"""`flask tenants …`, and the `--tenant` option of every command that works for one tenant."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session, selectinload

from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_record, print_rows, read_line
from dashboard.core.errors import Refused
from dashboard.core.formats import plural
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, bound, resolver_of
from dashboard.tenants import actions
from dashboard.tenants.models import TenantRecord
from dashboard.tenants.options import OPTIONS

Command = TypeVar("Command", bound=Callable[..., Any])

FROM_STDIN = "-"
KEPT_BACK = "(set)"

tenants = CommandGroup("tenants", help="Organisations: their roots, settings and state.")


def tenant_option(command: Command) -> Command:
    """Give a command `--tenant SLUG`, and run it with that tenant bound."""

    @click.option("--tenant", "slug", required=True, metavar="SLUG", help="The tenant to work for.")
    @wraps(command)
    def for_tenant(*args: Any, slug: str, **kwargs: Any) -> Any:
        tenant = resolver_of(current_app).by_slug(slug)
        if tenant is None:
            raise _unknown(slug)
        with bound(Binding.of(tenant)):
            return command(*args, **kwargs)

    return for_tenant  # type: ignore[return-value]


@tenants.command()
@click.argument("slug")
@click.option("--name", required=True, help="What the organisation is called.")
@click.option(
    "--root", "roots", multiple=True, required=True, metavar="URL", help="Where it is; the first is canonical."
)
@click.option("--timezone", default="UTC", show_default=True, help="Like Europe/London.")
@json_option
def create(slug: str, name: str, roots: tuple[str, ...], timezone: str, as_json: bool) -> None:
    """Create a tenant mounted at one root or more, which count as verified."""
    with system_scope("flask tenants create") as session:
        record = _summary(actions.create(session, slug, name, roots, timezone))
    print_done(
        f"{name} is at {roots[0]}. Add somebody: flask members add EMAIL {slug} --role admin", record, as_json=as_json
    )


@tenants.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all tenants."""
    with system_scope("flask tenants list") as session:
        query = sa.select(TenantRecord).options(selectinload(TenantRecord.roots)).order_by(TenantRecord.slug)
        rows = [_summary(tenant) for tenant in session.scalars(query)]
    print_rows(rows, as_json=as_json, empty="There are no tenants. Create one: flask tenants create --help")


@tenants.command()
@click.argument("slug")
@json_option
def show(slug: str, as_json: bool) -> None:
    """Show a tenant with its effective settings; secrets only as being set."""
    with system_scope("flask tenants show") as session:
        tenant = find_tenant(session, slug)
        given = {setting.key: KEPT_BACK if setting.secret else setting.value for setting in tenant.settings}
        record = dict(_summary(tenant))
    settings = {option.key: given.get(option.key, _base_value(option.key)) for option in OPTIONS}
    print_record({**record, "settings": settings} if as_json else {**record, **settings}, as_json=as_json)


@tenants.command()
@click.argument("slug")
@click.option("--reason", required=True, help="Its people read it.")
@json_option
def suspend(slug: str, reason: str, as_json: bool) -> None:
    """Stop a tenant: nothing of it runs, and its pages say so."""
    with system_scope("flask tenants suspend") as session:
        tenant = find_tenant(session, slug)
        actions.suspend(session, tenant.id, reason)
        record = _summary(tenant)
    print_done(f"{tenant.name} is suspended.", record, as_json=as_json)


@tenants.command()
@click.argument("slug")
@json_option
def resume(slug: str, as_json: bool) -> None:
    """Let a suspended tenant work again."""
    with system_scope("flask tenants resume") as session:
        tenant = find_tenant(session, slug)
        actions.resume(session, tenant.id)
        record = _summary(tenant)
    print_done(f"{tenant.name} works again.", record, as_json=as_json)


@tenants.command("set")
@click.argument("slug")
@click.argument("key")
@click.argument("value")
@click.option("--yes", is_flag=True, help="Do it also if schedules move by it.")
@json_option
def set_(slug: str, key: str, value: str, yes: bool, as_json: bool) -> None:
    """Set one of a tenant's settings; VALUE - is read from the standard input, as a password should be.

    A new time zone moves schedules: without --yes they are only listed.
    """
    key = key.upper()
    if value == FROM_STDIN:
        value = read_line()
    with system_scope("flask tenants set") as session:
        tenant_id = find_tenant(session, slug).id
        moves = actions.foreseen_moves(session, tenant_id, key, value)
        if moves and not yes:
            print_rows([_move(move, as_json=as_json) for move in moves], as_json=as_json, empty="")
            raise Refused(f"Nothing is changed yet: {plural(len(moves), 'schedule')} would move. Add --yes to do it.")
        actions.set_option(session, tenant_id, key, value)
    moved = f" {plural(len(moves), 'schedule')} moved." if moves else ""
    print_done(f"{key} is set.{moved}", {"tenant": slug, "key": key, "moved": len(moves)}, as_json=as_json)


def _move(move: actions.Move, *, as_json: bool) -> Row:
    """People read each moment on the clock of its zone, programs in UTC."""
    moments = {"next_at": move.before, "would_be": move.after}
    if as_json:
        return {"schedule": move.name, **moments}
    return {"schedule": move.name, **{name: at and f"{at:%a %Y-%m-%d %H:%M %Z}" for name, at in moments.items()}}


def find_tenant(session: Session, slug: str) -> TenantRecord:
    """Return the tenant's record with roots and settings. Raises Refused, saying where to look, if there is none."""
    tenant = session.scalar(
        sa.select(TenantRecord)
        .where(TenantRecord.slug == slug)
        .options(selectinload(TenantRecord.roots), selectinload(TenantRecord.settings))
    )
    if tenant is None:
        raise _unknown(slug)
    return tenant


def _unknown(slug: str) -> Refused:
    return Refused(f"There is no tenant {slug}. See: flask tenants list")


def _summary(tenant: TenantRecord) -> Row:
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "state": "active" if tenant.is_active else "suspended",
        "reason": tenant.suspended_reason,
        "roots": [root.snapshot().url for root in tenant.verified_roots],
        "created_at": tenant.created_at,
    }


def _base_value(key: str) -> Any:
    """Return what stands where the tenant gave no value, in words that JSON has."""
    value = dict.get(current_app.config, key)
    return value if isinstance(value, (str, int)) else None
