"""`flask runs …`: what an operator may see and do of a tenant's runs, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import click
import sqlalchemy as sa
from werkzeug.exceptions import NotFound

from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_record, print_rows
from dashboard.core.errors import Refused
from dashboard.core.formats import plural
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import current_tenant
from dashboard.runs import actions, bulk, deletion, limits, retention
from dashboard.runs.board import run_page
from dashboard.runs.models import Run
from dashboard.runs.selection import Selection
from dashboard.runs.states import RUN_STATES
from dashboard.tenants.commands import find_tenant, tenant_option, tenants
from dashboard.tenants.models import TenantRecord

NO_LIMIT = "none"

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
    events = [
        {"at": event.at, "state": event.state, "note": event.note, "by": page.maker_of(event)} for event in page.events
    ]
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


def bulk_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that acts on one run the options that choose many."""
    options = (
        click.argument("run_id", type=click.UUID, required=False),
        click.option("--state", "states", type=click.Choice(RUN_STATES), multiple=True, help="All in this state."),
        click.option("--fingerprint", default="", help="All that failed alike."),
        click.option("--schedule", type=click.UUID, help="All of the schedule with this id."),
        click.option("--text", default="", help="All with this in their name, job type or error."),
        click.option("--dry-run", is_flag=True, help="Only count them."),
        tenant_option,
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@runs.command()
@bulk_options
def retry(run_id: UUID | None, as_json: bool, **chosen: Any) -> None:
    """Run a failed run again, or all that the options choose, with all their attempts before them."""
    if run_id is None:
        _do_to_all("retry", as_json=as_json, **chosen)
        return
    _refuse_both(chosen)
    with _known(run_id):
        run = actions.retry(run_id)
    print_done(f"{run.name} will run again as soon as a worker is free.", _summary(run), as_json=as_json)


@runs.command()
@bulk_options
def cancel(run_id: UUID | None, as_json: bool, **chosen: Any) -> None:
    """Stop a run, or all that the options choose: at once if it waits, at its next step if it works."""
    if run_id is None:
        _do_to_all("cancel", as_json=as_json, **chosen)
        return
    _refuse_both(chosen)
    with _known(run_id):
        run = actions.cancel(run_id)
    done = (
        f"{run.name} is cancelled." if run.finished_at else f"{run.name} was asked to stop, and does at its next step."
    )
    print_done(done, _summary(run), as_json=as_json)


@runs.command()
@click.argument("run_id", type=click.UUID)
@tenant_option
@json_option
def release(run_id: UUID, as_json: bool) -> None:
    """Take the concurrency key from a run that works: it ends as interrupted, and whoever waits for the key starts."""
    with _known(run_id):
        run = actions.release_key(run_id)
    done = f"{run.name} holds {run.concurrency_key} no more. Its worker hears of it at its next step."
    print_done(done, _summary(run), as_json=as_json)


@runs.command()
@click.argument("run_id", type=click.UUID)
@click.option("--note", required=True, metavar="TEXT", help="How you know that its work is done.")
@tenant_option
@json_option
def done(run_id: UUID, note: str, as_json: bool) -> None:
    """Mark an interrupted run as done, because somebody looked and found that it is."""
    with _known(run_id):
        run = actions.mark_done(run_id, note)
    print_done(f"{run.name} is marked as done.", _summary(run), as_json=as_json)


def _refuse_both(chosen: Mapping[str, Any]) -> None:
    if any(chosen.values()):
        raise click.UsageError("Name one run, or choose many with options; not both.")


def _do_to_all(
    kind: bulk.Kind,
    *,
    states: tuple[str, ...],
    fingerprint: str,
    schedule: UUID | None,
    text: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Do it here to the end, whether beat lives or not; it helps if it does."""
    if not (states or fingerprint or schedule or text):
        raise click.UsageError("Name a run, or choose many with --state, --fingerprint, --schedule or --text.")
    chosen = frozenset(states or RUN_STATES)
    selection = Selection(states=chosen, fingerprint=fingerprint, schedule=schedule, text=text)
    if dry_run:
        counts = bulk.estimate(kind, selection)
        would = f"would {'run again' if kind == 'retry' else 'be cancelled'}"
        sentence = f"{plural(sum(counts.values()), 'run')} {would}."
        print_done(sentence, {"would": kind, "runs": sum(counts.values()), **counts}, as_json=as_json)
        return
    begun = bulk.start(kind, selection)
    while begun.finished_at is None:
        bulk.advance(db.session(), begun.id)
        db.session.commit()
        db.session.refresh(begun)
    done = f"{plural(begun.done, 'run')} {'will run again' if kind == 'retry' else 'cancelled'}."
    print_done(done, {"did": kind, "runs": begun.done, "bulk_id": begun.id}, as_json=as_json)


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
        try:
            with system_scope("flask runs purge") as session:
                deleted += sweep.step(session)
        except sa.exc.OperationalError as error:
            sweep.give_way(error)
    return {**numbers, "deleted": deleted}


LIMIT_OPTIONS = {"--weight": "weight", **{f"--{limit.key.replace('_', '-')}": limit.key for limit in limits.LIMITS}}


def limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each limit; they arrive as text under the limit's key."""
    helps = {limit.key: f"{limit.label}; none takes it away." for limit in limits.LIMITS}
    for option, key in reversed(LIMIT_OPTIONS.items()):
        command = click.option(option, key, metavar="N", help=helps.get(key, "Its share beside others of 1."))(command)
    return command


@tenants.command("limits")
@click.argument("slug")
@limit_options
@click.option("--pause", "reason", metavar="REASON", help="Let no run of it start; its people read the reason.")
@click.option("--unpause", is_flag=True, help="Let its runs start again.")
@json_option
def limits_(slug: str, reason: str | None, unpause: bool, as_json: bool, **typed: str | None) -> None:
    """Show a tenant's limits, or set some of them: its share, its runs at once, its quotas, a pause of its runs."""
    wanted = {key: "" if value == NO_LIMIT else value for key, value in typed.items() if value is not None}
    with system_scope("flask tenants limits") as session:
        tenant = session.scalar(sa.select(TenantRecord).where(TenantRecord.slug == slug))
        if tenant is None:
            raise Refused(f"There is no tenant {slug}. See: flask tenants list")
        limits.set_limits(session, tenant.id, wanted)
        if reason is not None:
            limits.pause_runs(session, tenant.id, reason)
        if unpause:
            limits.resume_runs(session, tenant.id)
        session.flush()
        record = {"slug": slug, **limits.limits_of(session, tenant.id), "paused": tenant.runs_paused_reason}
    if wanted or unpause or reason is not None:
        print_done(f"The limits of {tenant.name} are set.", record, as_json=as_json)
    else:
        print_record(record, as_json=as_json)


@tenants.command()
@click.argument("slug")
@click.option("--confirm", "typed", metavar="SLUG", help="The short name once more, instead of typing it when asked.")
@json_option
def delete(slug: str, typed: str | None, as_json: bool) -> None:
    """Delete a tenant with all that it has, for good; the short name has to be typed once more."""
    with system_scope("flask tenants delete") as session:
        tenant = find_tenant(session, slug)
        tenant_id, name = tenant.id, tenant.name
    if typed is None:
        click.echo(f"Everything of {name} goes for good: schedules, runs, files, mails' ledger, settings.", err=True)
        typed = click.prompt(f"Type {slug} to delete it", err=True, default="", show_default=False)
    if typed != slug:
        raise Refused(f"Nothing was deleted: that was not {slug}.")
    deleted = deletion.delete_tenant(tenant_id)
    words = f"{name} is deleted, with {plural(deleted, 'run')}."
    print_done(words, {"tenant": slug, "runs": deleted}, as_json=as_json)


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
        "fingerprint": run.fingerprint,
        "concurrency_key": run.concurrency_key,
    }
