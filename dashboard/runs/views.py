"""The pages of runs: the live list, one run, and what an operator may do to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from flask import Blueprint, abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.errors import Refused
from dashboard.core.formats import plural
from dashboard.core.htmx import Live, fragment_or_page, see_other, uncached, unchanged
from dashboard.core.paging import cursor
from dashboard.runs import actions, artifacts, bulk
from dashboard.runs.board import RunFilter, duration_of, panel_version, run_page, runs_board
from dashboard.runs.models import Run

bp = Blueprint("runs", __name__, url_prefix="/runs")

NARROWING = ("state", "schedule")
"""Fields of the filter that may hold what names nothing."""


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """The list; htmx polls the same address for its panel."""
    tag = panel_version()
    if response := unchanged(tag):
        return response
    board = runs_board(RunFilter.from_args(request.args))
    live = Live.of(active=board.has_active, tag=tag)
    return fragment_or_page(
        "runs/index.html",
        "runs/_panel.html",
        tag=tag,
        board=board,
        live=live,
        bulks=bulk.unfinished(),
        duration_of=_duration(),
    )


@bp.get("/<uuid:run_id>")
@requires(Action.VIEW)
def show(run_id: UUID) -> ResponseReturnValue:
    """One run; htmx polls the same address for its panel until the run has ended."""
    tag = panel_version()
    if response := unchanged(tag):
        return response
    page = run_page(run_id) or abort(404)
    live = Live.of(active=not page.waits, final=page.is_settled, tag=tag)
    return fragment_or_page(
        "runs/show.html",
        "runs/_run.html",
        tag=tag,
        page=page,
        live=live,
        duration_of=_duration(),
        heartbeat_seconds=current_app.extensions["settings"].heartbeat_seconds,
    )


@bp.get("/<uuid:run_id>/artifacts/<name>")
@requires(Action.VIEW)
def artifact(run_id: UUID, name: str) -> ResponseReturnValue:
    """A file that the run made, to be saved."""
    return artifacts.download(artifacts.artifact(run_id, name) or abort(404))


@bp.post("/<uuid:run_id>/cancellations")
@requires(Action.CANCEL_RUN)
def cancel(run_id: UUID) -> ResponseReturnValue:
    """Stop a run: at once if it waits, at its next step if it works."""
    try:
        run = actions.cancel(run_id)
        flash("Cancelled." if run.finished_at else "Asked it to stop. It does so at its next step.", "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("runs.show", run_id=run_id))


@bp.post("/<uuid:run_id>/retries")
@requires(Action.RETRY_RUN)
def retry(run_id: UUID) -> ResponseReturnValue:
    """Give a failed run a fresh budget of attempts."""
    return _act(run_id, actions.retry, "It will run again as soon as a worker is free.")


@bp.post("/<uuid:run_id>/confirmations")
@requires(Action.RESOLVE_PROBLEM)
def mark_done(run_id: UUID) -> ResponseReturnValue:
    """Say of an interrupted run that its work is done."""
    return _act(run_id, partial(actions.mark_done, note=request.form.get("note", "")), "Marked as done.")


@bp.post("/<uuid:run_id>/releases")
@requires(Action.RELEASE_KEY)
def release_key(run_id: UUID) -> ResponseReturnValue:
    """Take the concurrency key from this run, so that the next one can start."""
    return _act(run_id, actions.release_key, "Released. Whoever waits for the key starts now.")


@bp.get("/bulk-retries/new")
@requires(Action.RETRY_RUN)
def new_bulk_retry() -> ResponseReturnValue:
    """Say how many failed runs match, before they run again."""
    return _bulk_question("retry")


@bp.post("/bulk-retries")
@requires(Action.RETRY_RUN)
def bulk_retry() -> ResponseReturnValue:
    """Run all failed runs again that match."""
    return _begin_bulk("retry")


@bp.get("/bulk-cancellations/new")
@requires(Action.CANCEL_RUN)
def new_bulk_cancel() -> ResponseReturnValue:
    """Say how many runs match that wait or run, before they are cancelled."""
    return _bulk_question("cancel")


@bp.post("/bulk-cancellations")
@requires(Action.CANCEL_RUN)
def bulk_cancel() -> ResponseReturnValue:
    """Cancel all runs that match."""
    return _begin_bulk("cancel")


@bp.get("/bulk/<uuid:bulk_id>")
@requires(Action.VIEW)
def show_bulk(bulk_id: UUID) -> ResponseReturnValue:
    """How far a bulk action is; htmx polls the same address until it has ended."""
    found = bulk.get(bulk_id) or abort(404)
    tag = f"{panel_version()}.{found.done}{'.' if found.finished_at else ''}"
    if response := unchanged(tag):
        return response
    live = Live.of(active=True, final=found.finished_at is not None, tag=tag)
    return fragment_or_page("runs/bulk.html", "runs/_bulk.html", tag=tag, bulk=found, live=live)


@bp.post("/bulk/<uuid:bulk_id>/stops")
@requires(Action.CANCEL_RUN)
def stop_bulk(bulk_id: UUID) -> ResponseReturnValue:
    """Let it go no further."""
    try:
        stopped = bulk.stop(bulk_id) or abort(404)
        flash(f"Stopped after {plural(stopped.done, 'run')}. What is done stays done.", "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("runs.show_bulk", bulk_id=bulk_id))


def _act(run_id: UUID, act: Callable[[UUID], Run], done: str) -> ResponseReturnValue:
    try:
        act(run_id)
        flash(done, "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("runs.show", run_id=run_id))


def _bulk_question(kind: bulk.Kind) -> ResponseReturnValue:
    """Render what would be done, with the choice as hidden fields."""
    chosen, ids = _chosen(request.args)
    if "ticked" in request.args and not ids:
        flash("Tick the runs first.", "warn")
        return see_other(url_for("runs.index", **chosen.to_params()))
    selection = chosen.selection(ids)
    page = render_template(
        "runs/bulk_new.html",
        kind=kind,
        counts=bulk.estimate(kind, selection),
        most=bulk.MOST_COUNTED,
        sample=bulk.newest(kind, selection),
        nothing=bulk.NOTHING[kind],
        chosen=chosen,
        ids=ids,
    )
    return uncached(current_app.make_response(page))


def _begin_bulk(kind: bulk.Kind) -> ResponseReturnValue:
    chosen, ids = _chosen(request.form)
    back = url_for("runs.index", **chosen.to_params(view=""))
    try:
        begun = bulk.start(kind, chosen.selection(ids))
    except Refused as refusal:
        flash(str(refusal), "warn")
        return see_other(back)
    if begun.finished_at is None:
        return see_other(url_for("runs.show_bulk", bulk_id=begun.id))
    done = plural(begun.done, "run")
    flash(f"{done} will run again as workers get free." if kind == "retry" else f"Cancelled {done}.", "ok")
    return see_other(back)


def _chosen(fields: MultiDict[str, str]) -> tuple[RunFilter, tuple[UUID, ...]]:
    """Read the filter of the list, and the ids of the rows that were ticked, if any were.

    A list leaves out what makes no sense; here that would mean more runs than somebody chose, so it is refused.
    """
    chosen, ids = RunFilter.from_args(fields), tuple(filter(None, map(cursor, fields.getlist("id"))))
    understood = chosen.to_params()
    if ("id" in fields and not ids) or any(fields.get(name) and name not in understood for name in NARROWING):
        abort(422, "This does not say which runs are meant. Choose them in the list again.")
    return chosen, ids


def _duration() -> Callable[[Run], float | None]:
    now = utc_now()
    return lambda run: duration_of(run, now)
