"""Jobs do odd things in their process: their run ends as it should, and another tenant's, the next, finds nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories.ledger import enqueue_runs, timeline_of
from tests.processes import RunningProcess, beat_process, worker_process
from tests.worker.ledger_probes import PLUGIN, effects_of, job, log_of, starts_of, until, until_ready

pytestmark = pytest.mark.xdist_group("conduct")

POOLS = ("prefork", "threads", "gevent", "solo")


@pytest.fixture(scope="module")
def beat(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[RunningProcess]:
    with beat_process(environment, plugins=[PLUGIN]) as process:
        yield process


@pytest.fixture(scope="module")
def worker(
    request: pytest.FixtureRequest, migrated_app: Dashboard, environment: dict[str, str]
) -> Iterator[RunningProcess]:
    """A worker that has all runs of the module executed in one place, one after another."""
    pool = getattr(request, "param", "prefork")
    with worker_process(environment, pool=pool, plugins=[PLUGIN], concurrency=1) as process:
        yield process


@pytest.fixture(autouse=True)
def _ready(app: Dashboard, beat: RunningProcess, worker: RunningProcess) -> None:
    until_ready(app)


@pytest.mark.parametrize("worker", POOLS, indirect=True, scope="module")
def test_a_run_finds_nothing_of_the_one_before(
    app: Dashboard, acme: Tenant, globex: Tenant, beat: RunningProcess, worker: RunningProcess
) -> None:
    found = []
    for tenant in (acme, globex, acme):
        (run_id,) = enqueue_runs(app, tenant, **job("leave_traces"))
        found.append(until(app, run_id, "succeeded", worker, beat).result)
    assert found == [{"g": [], "word": None, "log": {}}] * 3


@pytest.mark.parametrize("worker", POOLS, indirect=True, scope="module")
def test_threads_and_programs_of_a_job_do_its_work(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("start_threads"))
    assert until(app, run_id, "succeeded", worker, beat).result == {"said": "hello"}
    assert (starts_of(app, run_id), effects_of(app, run_id)) == (3, 1)
    assert sorted(line for line in log_of(app, run_id) if "by itself" in line) == [f"{n} by itself" for n in range(3)]


@pytest.mark.parametrize(
    ("how", "state", "effects"),
    [
        ("close", "succeeded", 0),
        ("remove", "succeeded", 0),
        ("abort", "failed", 0),
        ("disconnect", "failed", 0),
        ("engine", "succeeded", 1),
        ("dispose", "succeeded", 1),
        ("half a savepoint", "succeeded", 1),
    ],
)
def test_a_job_that_mistreats_its_session_harms_itself_alone(
    app: Dashboard,
    acme: Tenant,
    globex: Tenant,
    beat: RunningProcess,
    worker: RunningProcess,
    how: str,
    state: str,
    effects: int,
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("mistreat_session", how=how))
    assert until(app, run_id, state, worker, beat).progress_note == how
    assert (starts_of(app, run_id), effects_of(app, run_id)) == (1, effects)
    (after,) = enqueue_runs(app, globex, **job("tell_runs"))
    assert until(app, after, "succeeded", worker, beat).result == {"seen": 1, "seen past it": 0}


@pytest.mark.parametrize(
    ("how", "error", "sentence"),
    [
        ("later, but never", "ValueError", "RetryLater takes 366 days at most, not 999999999 days, 23:59:59.999999."),
        ("later, but before", "RetryLater", "Too late."),
        ("without a word", "_Wordless", "_Wordless"),
    ],
)
def test_a_job_that_fails_oddly_is_tried_again_like_any(
    app: Dashboard,
    acme: Tenant,
    beat: RunningProcess,
    worker: RunningProcess,
    how: str,
    error: str,
    sentence: str,
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("fail", how=how), max_attempts=2, backoff={"base": 0.1})
    run = until(app, run_id, "dead", worker, beat)
    assert (run.error_type, run.error_message.startswith(sentence)) == (error, True)
    assert timeline_of(app, run_id).count("running") == 2
