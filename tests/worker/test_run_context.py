"""What a job makes and starts is part of its work: it is there if and only if the job succeeded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID
from zipfile import ZipFile

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Artifact, ArtifactChunk, Run
from tests.factories import make_user
from tests.factories.ledger import enqueue_runs, states_of
from tests.factories.schedules import make_schedule
from tests.processes import RunningProcess, beat_process, wait_until, worker_process
from tests.signing_in import sign_in
from tests.worker.ledger_probes import PLUGIN, job, until, until_ready

pytestmark = pytest.mark.xdist_group("runs")


@pytest.fixture(scope="module")
def fleet(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[tuple[RunningProcess, RunningProcess]]:
    """One beat and one worker for all tests of this module; a run's files are 2 MB at most there, each 1 MB."""
    small = {**environment, "ARTIFACT_MB": "1", "ARTIFACTS_MB_PER_RUN": "2"}
    with (
        beat_process(small, plugins=[PLUGIN]) as beat,
        worker_process(small, plugins=[PLUGIN], concurrency=4) as worker,
    ):
        yield beat, worker


@pytest.fixture(autouse=True)
def _ready(app: Dashboard, fleet: tuple[RunningProcess, RunningProcess]) -> None:
    until_ready(app)


def count(app: Dashboard, model: type[Artifact] | type[ArtifactChunk]) -> int:
    with app.app_context(), system_scope("test") as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def children_of(app: Dashboard, run_id: UUID) -> list[UUID]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Run.id).where(Run.parent_id == run_id).order_by(Run.id)))


def until_planned(app: Dashboard, *fleet: RunningProcess) -> Run:
    """Return the first run that a schedule started by itself, once it has succeeded."""
    of_schedule = sa.select(Run.id).where(Run.actor_kind == "schedule").order_by(Run.id).limit(1)

    def found() -> UUID | None:
        with app.app_context(), system_scope("test") as session:
            return session.scalar(of_schedule)

    wait_until(lambda: found() is not None, explain=fleet[0].output)
    run_id = found()
    assert run_id is not None
    return until(app, run_id, "succeeded", *fleet)


def test_files_of_a_run_are_downloaded_from_its_page(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("make_files", name="Über „alles“.csv"))
    until(app, run_id, "succeeded", *fleet)
    make_user(app, "vera@acme.test", roles={acme.id: "viewer"})
    browser = sign_in(app, acme, "vera@acme.test")
    page = browser.get(f"/runs/{run_id}").text
    assert [name for name in ("Über „alles“.csv", "all.zip", "again.txt", "half.txt") if name in page] == [
        "Über „alles“.csv",
        "all.zip",
        "again.txt",
    ]
    answer = browser.get(f"/runs/{run_id}/artifacts/Über „alles“.csv")
    assert (answer.data, answer.mimetype, answer.content_length) == (b"day,runs\n", "text/csv", 9)
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''%C3%9Cber%20%E2%80%9Ealles%E2%80%9C.csv" in answer.headers["Content-Disposition"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert browser.get(f"/runs/{run_id}/artifacts/again.txt").text == "zweites Mal: ä"
    with ZipFile(io.BytesIO(browser.get(f"/runs/{run_id}/artifacts/all.zip").data)) as archive:
        assert archive.read("totals.csv") == b"day,runs\n"
    assert browser.get(f"/runs/{run_id}/artifacts/half.txt").status_code == 404


def test_a_large_file_comes_back_as_it_went(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("make_files", name="large.csv"))
    until(app, run_id, "succeeded", *fleet)
    with app.app_context(), system_scope("test") as session:
        (file,) = session.scalars(sa.select(Artifact).where(Artifact.name == "large.csv"))
        for position in range(1, 4):
            session.add(
                ArtifactChunk(
                    artifact_id=file.id, position=position, tenant_id=acme.id, run_id=run_id, data=b"y" * 300_000
                )
            )
        file.size += 900_000
    make_user(app, "vera@acme.test", roles={acme.id: "viewer"})
    answer = sign_in(app, acme, "vera@acme.test").get(f"/runs/{run_id}/artifacts/large.csv")
    assert answer.data == b"day,runs\n" + b"y" * 900_000


def test_another_tenants_file_is_not_found(
    app: Dashboard, acme: Tenant, globex: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("make_files"))
    until(app, run_id, "succeeded", *fleet)
    make_user(app, "gus@globex.test", roles={globex.id: "admin"})
    assert sign_in(app, globex, "gus@globex.test").get(f"/runs/{run_id}/artifacts/totals.csv").status_code == 404


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"fail": True}, "It was told to."),
        ({"megabytes": 1}, "totals.csv is larger than 1 MB."),
        ({"name": "../../etc/passwd"}, "A file's name has no slash"),
        ({"name": "a\nb"}, "A file's name has no slash"),
    ],
    ids=["a job that fails", "too large", "a path for a name", "a line break in the name"],
)
def test_a_job_that_fails_leaves_no_file(
    app: Dashboard,
    acme: Tenant,
    fleet: tuple[RunningProcess, RunningProcess],
    params: dict[str, object],
    sentence: str,
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("make_files", **params))
    assert sentence in until(app, run_id, "failed", *fleet).error_message
    assert (count(app, Artifact), count(app, ArtifactChunk)) == (0, 0)


def test_children_start_once_their_parent_has_succeeded_and_are_shown_beside_it(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("spread", children=3))
    parent = until(app, run_id, "succeeded", *fleet)
    assert parent.finished_at is not None
    children = children_of(app, run_id)
    assert parent.result == {"children": [str(child) for child in children]}
    wait_until(lambda: states_of(app, children) == ["succeeded"] * 3, explain=fleet[1].output)
    with app.app_context(), system_scope("test") as session:
        earliest = session.scalar(sa.select(sa.func.min(Run.started_at)).where(Run.id.in_(children)))
    assert earliest is not None
    assert earliest >= parent.finished_at
    make_user(app, "vera@acme.test", roles={acme.id: "viewer"})
    browser = sign_in(app, acme, "vera@acme.test")
    page = browser.get(f"/runs/{run_id}").text
    assert all(f'href="/runs/{child}"' in page for child in children)
    assert f'href="/runs/{run_id}"' in browser.get(f"/runs/{children[0]}").text


def test_a_parent_that_fails_has_no_children(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("spread", fail=True))
    until(app, run_id, "failed", *fleet)
    assert children_of(app, run_id) == []


def test_a_run_that_would_start_too_many_fails(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("spread", children=10_001))
    assert "10,000 others at most" in until(app, run_id, "failed", *fleet).error_message
    assert children_of(app, run_id) == []


def test_a_planned_run_knows_for_which_instant_it_was_planned(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=1), job_type="test.tell_nominal", max_attempts=1)
    run = until_planned(app, *fleet)
    with app.app_context(), system_scope("test") as session:
        nominal = session.scalar(sa.text("SELECT nominal FROM occurrence WHERE id = :id"), {"id": run.occurrence_id})
    assert run.result == {"nominal": nominal.isoformat()}


def test_a_run_that_a_person_started_was_planned_for_no_instant(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("tell_nominal"))
    assert until(app, run_id, "succeeded", *fleet).result == {"nominal": None}


def test_a_run_that_a_person_starts_shows_times_in_their_zone_and_a_planned_one_in_the_tenants(
    app: Dashboard, globex: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    owner = make_user(app, "asha@globex.test", roles={globex.id: "operator"})
    browser = sign_in(app, globex, "asha@globex.test")
    browser.post("/time-zone", data={"timezone": "Asia/Kolkata"})
    schedule = make_schedule(app, globex, job_type="test.tell_zone", max_attempts=1, owner_id=owner)
    started = UUID(browser.post(f"/schedules/{schedule.id}/runs").location[-36:])
    assert (until(app, started, "succeeded", *fleet).result or {})["shown"] == "17:30 IST"
    make_schedule(app, globex, due_for=timedelta(seconds=1), job_type="test.tell_zone", owner_id=owner)
    assert (until_planned(app, *fleet).result or {})["shown"] == "21:00 JST"
