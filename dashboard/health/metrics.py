"""Count for Prometheus what waits, runs and lives; from the database, so that every web process says the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.emails.models import Delivery
from dashboard.monitor.fleet import load_fleet
from dashboard.runs.models import Artifact, ArtifactChunk, Purge, Run, RunEvent, RunLog, TenantLoad
from dashboard.runs.states import ACTIVE_STATES, READY
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.tenants.models import TenantRecord


def exposition() -> tuple[bytes, str]:
    """Return the numbers in Prometheus's text format, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers())
    return generate_latest(registry), CONTENT_TYPE_LATEST


class Numbers(Collector):
    """Reads the numbers when it is asked; indexed queries, whose cost does not grow with history."""

    def collect(self) -> Iterator[Metric]:
        with system_scope("metrics") as session:
            return iter(
                [
                    *_tenants(session),
                    *_runs(session),
                    *_processes(session),
                    *_schedules(session),
                    *_retention(session),
                    *_sizes(session),
                ]
            )


def _tenants(session: Session) -> Iterable[Metric]:
    ready = GaugeMetricFamily("stationmaster_runs_ready", "Runs that wait for a slot.", labels=["tenant"])
    running = GaugeMetricFamily("stationmaster_runs_running", "Runs that hold a slot.", labels=["tenant"])
    drifts = CounterMetricFamily(
        "stationmaster_counter_drifts", "How often the counters were not what the runs said.", labels=["tenant"]
    )
    for slug, waiting, holding, drifted in session.execute(
        sa.select(TenantRecord.slug, TenantLoad.ready, TenantLoad.running, TenantLoad.drifts).join(
            TenantLoad, TenantLoad.tenant_id == TenantRecord.id
        )
    ):
        ready.add_metric([slug], waiting)
        running.add_metric([slug], holding)
        drifts.add_metric([slug], drifted)
    return ready, running, drifts


def _runs(session: Session) -> Iterable[Metric]:
    active = GaugeMetricFamily("stationmaster_runs_active", "Runs that have not ended.", labels=["state"])
    counts = dict(
        session.execute(
            sa.select(Run.state, sa.func.count()).where(Run.state.in_(ACTIVE_STATES)).group_by(Run.state)
        ).all()
    )
    for state in sorted(ACTIVE_STATES):
        active.add_metric([state], counts.get(state, 0))
    oldest = session.scalar(sa.select(sa.func.min(Run.ready_at)).where(Run.state == READY))
    waited = (database_now(session) - oldest).total_seconds() if oldest else 0.0
    return active, GaugeMetricFamily(
        "stationmaster_oldest_ready_seconds", "How long the run that has waited longest for a slot waits.", waited
    )


def _processes(session: Session) -> Iterable[Metric]:
    fleet = load_fleet(session)
    now = database_now(session)
    alive = GaugeMetricFamily("stationmaster_processes_alive", "Processes heard of lately.", labels=["kind"])
    alive.add_metric(["worker"], len(fleet.workers))
    alive.add_metric(["beat"], len(fleet.beats))
    silence = GaugeMetricFamily(
        "stationmaster_beat_silence_seconds", "How long ago the liveliest beat was heard of; absent without any."
    )
    if fleet.beats:
        silence.add_metric([], min((now - beat.seen_at).total_seconds() for beat in fleet.beats))
    slots = GaugeMetricFamily("stationmaster_slots", "What the workers can do at once.", labels=["use"])
    busy = sum(worker.busy for worker in fleet.workers)
    slots.add_metric(["busy"], busy)
    slots.add_metric(["free"], max(0, sum(worker.slots for worker in fleet.workers) - busy))
    return alive, silence, slots


def _schedules(session: Session) -> Iterable[Metric]:
    """Find the schedules that should have fired: the planner's own index serves the question."""
    due = (
        Schedule.next_at.is_not(None),
        Schedule.paused_at.is_(None),
        Schedule.archived_at.is_(None),
        Schedule.problem == "",
        Schedule.next_at < sa.func.now(),
    )
    overdue, oldest = session.execute(sa.select(sa.func.count(), sa.func.min(Schedule.next_at)).where(*due)).one()
    late = (database_now(session) - oldest).total_seconds() if oldest else 0.0
    return (
        GaugeMetricFamily("stationmaster_schedules_overdue", "Schedules whose time has come and that wait.", overdue),
        GaugeMetricFamily("stationmaster_schedules_overdue_seconds", "How late the latest of them is.", late),
    )


def _retention(session: Session) -> Iterable[Metric]:
    purged = CounterMetricFamily("stationmaster_runs_purged", "Runs deleted because of their age.", labels=["tenant"])
    query = sa.select(TenantRecord.slug, Purge.deleted).join(Purge, Purge.tenant_id == TenantRecord.id)
    for slug, deleted in session.execute(query):
        purged.add_metric([slug], deleted)
    waits = session.scalar(sa.select(sa.func.now() - sa.func.min(Purge.looked_at)))
    return purged, GaugeMetricFamily(
        "stationmaster_purge_silence_seconds",
        "How long ago the tenant that waits longest was looked through for old runs.",
        waits.total_seconds() if waits else 0.0,
    )


def _sizes(session: Session) -> Iterable[Metric]:
    """What grows with history, by PostgreSQL's own books: nothing is counted for it."""
    size = GaugeMetricFamily("stationmaster_table_bytes", "Size of a table with its indexes.", labels=["table"])
    for model in (Run, RunEvent, RunLog, Artifact, ArtifactChunk, Delivery, Occurrence):
        name = model.__tablename__
        size.add_metric([name], session.scalar(sa.select(sa.func.pg_total_relation_size(name))) or 0)
    return [size]
