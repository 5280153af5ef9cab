"""`flask runs …`: what an operator may see and do of a tenant's runs, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import click
import sqlalchemy as sa
from werkzeug.exceptions import NotFound

from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_record, print_rows
from dashboard.core.errors import Refused
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import current_tenant
from dashboard.runs import actions, retention
from dashboard.runs.board import run_page
from dashboard.runs.models import Run
from dashboard.runs.states import RUN_STATES
from dashboard.tenants.commands import tenant_option

runs = CommandGroup("runs", help="Executions in a tenant's ledger.")


@runs.command("list")
@tenant_option
@click.option("--state", type=click.Choice(RUN_STATES), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
def list_(state: str | None, limit: int, as_json: bool) -> None:
    """List runs, newest first."""
    query = sa.select(Run).order_by(Run.id.desc()).limit(limit)
    if state:
        query = query.where(Run.state == state)
    rows = [_summary(run) for run in db.session.scalars(query)]
    print_rows(rows, as_json=as_json, empty="There are no such runs.")


@runs.command()
@click.argument("run_id", type=click.UUID)
@tenant_option
@json_option
def show(run_id: UUID, as_json: bool) -> None:
    """Show a run with its timeline and its log."""
    page = run_page(run_id)
    if page is None:
        raise _unknown(run_id)
    events = [{"at": event.at, "state": event.state, "note": event.note} for event in page.events]
    log = [{"at": line.at, "level": line.level, "text": line.text} for line in page.log]
    record = _detail(page.run)
    if as_json:
        print_record({**record, "events": events, "log": log}, as_json=True)
        return
    print_record(record, as_json=False)
    for title, rows in (("Timeline", events), ("Log", log)):
        if rows:
            click.echo(f"\n{title}")
            print_rows(rows, as_json=False, empty="")


@runs.command()
@click.argument("run_id", type=click.UUID)
@tenant_option
@json_option
def retry(run_id: UUID, as_json: bool) -> None:
    """Run a failed run again, with all its attempts before it."""
    with _known(run_id):
        run = actions.retry(run_id)
    print_done(f"{run.name} will run again as soon as a worker is free.", _summary(run), as_json=as_json)


@runs.command()
@click.argument("run_id", type=click.UUID)
@tenant_option
@json_option
def cancel(run_id: UUID, as_json: bool) -> None:
    """Stop a run: at once if it waits, at its next step if it works."""
    with _known(run_id):
        run = actions.cancel(run_id)
    done = (
        f"{run.name} is cancelled." if run.finished_at else f"{run.name} was asked to stop, and does at its next step."
    )
    print_done(done, _summary(run), as_json=as_json)


@runs.command()
@click.option("--tenant", "slug", metavar="SLUG", help="Only this tenant's runs.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@json_option
def purge(slug: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete runs that ended longer ago than their tenant keeps them, as beat does by itself."""
    with system_scope("flask runs purge") as session:
        kept = retention.kept_by(session, slug)
    if slug and not kept:
        raise Refused(f"There is no tenant {slug!r}. List them: flask tenants list")
    rows = [_purged(each, dry_run=dry_run) for each in kept]
    print_rows(rows, as_json=as_json, empty="There are no tenants.")


def _purged(kept: retention.Kept, *, dry_run: bool) -> Row:
    """Delete a tenant's old runs, or count them; many short transactions, as nobody may wait for one."""
    numbers: Row = {"tenant": kept.slug, "kept_days": kept.days}
    if dry_run:
        with system_scope("flask runs purge --dry-run") as session:
            return {**numbers, "would_delete": sum(retention.count_old(session, kept).values())}
    deleted, sweep = 0, retention.Sweep(kept)
    while not sweep.is_done:
        with system_scope("flask runs purge") as session:
            deleted += sweep.step(session)
    return {**numbers, "deleted": deleted}


@contextmanager
def _known(run_id: UUID) -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise _unknown(run_id) from None


def _unknown(run_id: UUID) -> Refused:
    return Refused(f"{current_tenant().slug} has no run {run_id}.")


def _summary(run: Run) -> Row:
    return {
        "id": run.id,
        "state": run.state,
        "name": run.name,
        "job_type": run.job_type,
        "attempt": run.attempt,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }


def _detail(run: Run) -> Row:
    return {
        **_summary(run),
        "reason": run.reason,
        "queue": run.queue,
        "worker": run.worker,
        "max_attempts": run.max_attempts,
        "not_before": run.not_before,
        "started_at": run.started_at,
        "result": run.result,
        "error_type": run.error_type,
        "error_message": run.error_message,
    }
