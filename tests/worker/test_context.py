"""A task on a real worker sees its tenant as a browser's request at the tenant's address would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery, chain, chord, current_app, group
from celery.result import AsyncResult

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.carriage import HEADER, pack
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Actor, ActorKind, Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs.dispatcher import Pace, admit
from dashboard.runs.models import Run
from tests.factories import make_user
from tests.factories.ledger import enqueue_runs, make_worker
from tests.processes import RunningProcess, wait_until, worker_process
from tests.worker import tasks_for_tests as probe
from tests.worker.expectations import PLUGIN, SECONDS, Notes, got, of_tenant
from tests.worker.ledger_probes import PLUGIN as JOB_TYPES
from tests.worker.ledger_probes import job, until

POOLS = ("prefork", "threads", "gevent", "solo")


@pytest.fixture(scope="module", params=POOLS)
def worker(
    request: pytest.FixtureRequest, migrated_app: Dashboard, environment: dict[str, str]
) -> Iterator[RunningProcess]:
    with worker_process(environment, pool=request.param, plugins=[PLUGIN, JOB_TYPES], concurrency=4) as process:
        yield process
        assert "INTERNAL ERROR" not in process.output()


def test_links_and_configuration_are_the_tenants(
    worker: RunningProcess, celery: Celery, acme: Tenant, globex: Tenant, initech: Tenant
) -> None:
    for tenant in (acme, globex, initech):
        with bound(Binding.of(tenant)):
            assert of_tenant(got(probe.report.delay()), tenant)


@pytest.mark.parametrize("root", [0, 1])
def test_links_stay_at_the_root_where_it_was_sent(
    worker: RunningProcess, celery: Celery, acme: Tenant, root: int
) -> None:
    with bound(Binding.of(acme, acme.roots[root].id)):
        assert of_tenant(got(probe.report.delay()), acme, root)


def test_language_actor_and_request_id_travel_along(worker: RunningProcess, celery: Celery, acme: Tenant) -> None:
    request_id = probe.PAGE
    actor = Actor(kind="schedule", id=probe.PAGE)
    with bound(Binding.of(acme, actor=actor, locale="de-CH", request_id=request_id)):
        seen = got(probe.report.delay())
    assert (seen["language"], seen["user"], seen["request_id"]) == ("de-CH", "Schedule", str(request_id))


def test_the_current_user_is_who_asked(app: Dashboard, worker: RunningProcess, celery: Celery, acme: Tenant) -> None:
    member = make_user(app, "ada@acme.test", roles={acme.id: "operator"})
    with bound(Binding.of(acme, actor=Actor(kind="user", id=member))):
        assert got(probe.report.delay())["user"] == "Ada"


def test_a_person_who_left_is_refused_but_their_schedule_is_not(
    app: Dashboard, worker: RunningProcess, celery: Celery, acme: Tenant
) -> None:
    stranger = make_user(app, "eve@elsewhere.test")
    with bound(Binding.of(acme, actor=Actor(kind="user", id=stranger))):
        refused = probe.report.delay()
    with bound(Binding.of(acme, actor=Actor(kind="schedule", id=stranger))):
        assert of_tenant(got(probe.report.delay()), acme)
    with pytest.raises(Exception, match="no longer a member"):
        got(refused)


@pytest.mark.parametrize(
    ("kind", "own", "told"),
    [
        ("user", "Asia/Kolkata", {"zone": "Asia/Kolkata", "shown": "17:30 IST", "carried": "Asia/Kolkata"}),
        ("user", None, {"zone": "Asia/Tokyo", "shown": "21:00 JST", "carried": "Asia/Tokyo"}),
        ("schedule", "Asia/Kolkata", {"zone": "Asia/Tokyo", "shown": "21:00 JST", "carried": "Asia/Tokyo"}),
    ],
    ids=["a person with a zone", "a person without one", "a schedule of a person with one"],
)
def test_a_run_shows_times_in_the_zone_of_who_asked(
    app: Dashboard,
    settings: Settings,
    worker: RunningProcess,
    celery: Celery,
    globex: Tenant,
    kind: ActorKind,
    own: str | None,
    told: dict[str, str],
) -> None:
    actor = Actor(kind=kind, id=make_user(app, "ada@globex.test", roles={globex.id: "operator"}, timezone=own))
    (run_id,) = enqueue_runs(app, globex, **job("tell_zone"), actor=actor)
    make_worker(app, 1)
    with app.app_context(), system_line("test") as line:
        (run,) = admit(line, lease=settings.lease, pace=Pace())
    with bound(Binding.of(globex, actor=actor)):
        celery.send_task("runs.execute", [str(run_id), run.fence], queue=run.queue)
    assert until(app, run_id, "succeeded", worker).result == told


@pytest.mark.parametrize(
    "send",
    [
        lambda: probe.report.apply_async(ignore_result=False),
        lambda: probe.report.apply_async(("x",), countdown=0.1),
        lambda: probe.report.s("x").delay(),
        lambda: current_app.send_task("probe.report", ["x"], ignore_result=False),
        lambda: current_app.signature("probe.report", ["x"]).apply_async(ignore_result=False),
        lambda: probe.replace.s().delay(),
    ],
    ids=["apply_async", "countdown", "signature", "send_task", "signature by name", "replace"],
)
def test_every_way_to_send_brings_the_tenant(
    worker: RunningProcess, celery: Celery, initech: Tenant, send: Callable[[], AsyncResult[Any]]
) -> None:
    with bound(Binding.of(initech)):
        assert of_tenant(got(send()), initech)


@pytest.mark.parametrize(
    "canvas",
    [
        lambda: chain(probe.report.s(), probe.go_on.s(), probe.go_on.s()),
        lambda: group(probe.report.s(number) for number in range(4)),
        lambda: chord([probe.report.s(1), probe.report.s(2)], probe.collect.s()),
        lambda: chain(group(probe.report.s(1), probe.report.s(2)), probe.collect.s(), probe.go_on.s()),
        lambda: chord([chord([probe.report.s(1), probe.report.s(2)], probe.collect.s())], probe.collect.s()),
        lambda: chord([chain(probe.report.s(), probe.go_on.s()), probe.report.s()], probe.collect.s()),
        lambda: chord([probe.report.s(1), probe.report.s(2)], group(probe.collect.s(), probe.collect.s())),
        lambda: chord([probe.autoretry.s(), probe.replace_by_canvas.s()], probe.collect.s()),
        lambda: chord([probe.report.map([1, 2]), probe.report.s(3)], probe.collect.s()),
        lambda: group(chain(probe.report.s(), probe.go_on.s()), group(probe.report.s(1), probe.report.s(2))),
        lambda: chain(group(probe.report.s(1), probe.report.s(2)), group(probe.go_on.s(), probe.go_on.s())),
        lambda: probe.report.map([1, 2, 3]),
        lambda: probe.report.starmap([(1, 2), (3, 4)]),
        lambda: probe.report.chunks([(1,), (2,), (3,)], 2).group(),
    ],
    ids=[
        "chain",
        "group",
        "chord",
        "group in a chain",
        "chord in a chord",
        "chain in a chord",
        "group as the end of a chord",
        "retry and replace in a chord",
        "map in a chord",
        "chain and group in a group",
        "group after group",
        "map",
        "starmap",
        "chunks",
    ],
)
def test_every_part_of_a_canvas_is_the_tenants(
    worker: RunningProcess, celery: Celery, globex: Tenant, canvas: Callable[[], Any]
) -> None:
    with bound(Binding.of(globex)):
        results = flat(got(canvas().apply_async(ignore_result=False)))
    assert len(results) >= 2
    assert all(of_tenant(seen, globex) for seen in results)


def flat(results: Any) -> list[Any]:
    return [each for item in results for each in flat(item)] if isinstance(results, list) else [results]


def test_callbacks_are_the_tenants(worker: RunningProcess, celery: Celery, notes: Notes, initech: Tenant) -> None:
    with bound(Binding.of(initech)):
        probe.report.apply_async(link=[probe.note.si("link"), probe.note.si("link")])
        probe.fail.apply_async(("end",), link_error=[probe.errback_inline.s(), probe.errback_sent.s()])
    called = [*notes("link", 2), *notes("errback", 2)]
    assert {note.get("how") for note in called} == {None, "inline", "sent"}
    assert all(of_tenant(note, initech) for note in called)


@pytest.mark.parametrize(("errback", "how"), [(probe.errback_inline, "inline"), (probe.errback_sent, "sent")])
@pytest.mark.parametrize(
    "canvas",
    [
        lambda errback: chain(probe.report.s(), probe.fail.si("end"), probe.go_on.s()).on_error(errback),
        lambda errback: group(probe.fail.s("end"), probe.report.s()).on_error(errback),
        lambda errback: chord([probe.fail.s("end"), probe.report.s()], probe.collect.s().on_error(errback)),
        lambda errback: chord([probe.report.s(), probe.report.s()], probe.fail.si("end").on_error(errback)),
    ],
    ids=["within a chain", "of a group", "of a chord's part", "of a chord's end"],
)
def test_the_errback_of_a_canvas_is_the_tenants(
    worker: RunningProcess,
    celery: Celery,
    notes: Notes,
    globex: Tenant,
    canvas: Callable[[Any], Any],
    errback: Any,
    how: str,
) -> None:
    with bound(Binding.of(globex)):
        canvas(errback.s()).apply_async()
        called = notes("errback", 1)[0]
    assert called["how"] == how
    assert of_tenant(called, globex)


def test_an_expired_part_of_a_chord_tells_the_tenants_errback(
    worker: RunningProcess, celery: Celery, notes: Notes, acme: Tenant
) -> None:
    late = probe.report.s("late").set(countdown=0.2, expires=0.01)
    with bound(Binding.of(acme)):
        chord([late, probe.report.s()], probe.collect.s().on_error(probe.errback_sent.s())).apply_async()
        assert of_tenant(notes("errback", 1)[0], acme)
        assert of_tenant(got(probe.report.delay()), acme)


@pytest.mark.parametrize(("task", "attempts"), [(probe.try_again, 3), (probe.autoretry, 2)], ids=["retry", "autoretry"])
def test_every_attempt_brings_the_same_header(
    worker: RunningProcess, celery: Celery, notes: Notes, globex: Tenant, task: Any, attempts: int
) -> None:
    with bound(Binding.of(globex, request_id=probe.PAGE)):
        # No wait for the result: an attempt says RETRY after it published the next, which may have succeeded.
        task.delay(*(["end"] if task is probe.try_again else []))
        made = notes("attempts", attempts)
        assert of_tenant(got(probe.report.delay()), globex)
    assert len(notes("attempts", attempts)) == attempts
    assert len({note["header"] for note in made}) == 1
    assert all(of_tenant(note, globex) for note in made)


def test_what_a_task_sends_is_the_tenants_and_the_requests(
    worker: RunningProcess, celery: Celery, notes: Notes, acme: Tenant
) -> None:
    with bound(Binding.of(acme, acme.roots[1].id, request_id=probe.PAGE)):
        probe.parent.delay()
    children = notes("child", 2)
    assert all(of_tenant(child, acme, root=1) for child in children)
    assert {child["request_id"] for child in children} == {str(probe.PAGE)}


@pytest.mark.parametrize(("end", "task", "status"), [("good", probe.succeed, 200), ("bad", probe.fail, 500)])
def test_what_ends_a_request_ends_a_task_once(
    worker: RunningProcess, celery: Celery, notes: Notes, acme: Tenant, end: str, task: Any, status: int
) -> None:
    with bound(Binding.of(acme)):
        got_or_failed(task.delay(end))
        got(probe.report.delay())
    after, *teardowns = notes(end, 3)
    assert of_tenant(after, acme)
    assert after["status"] == status
    assert [each["what"] for each in teardowns] == ["teardown_request", "teardown_appcontext"]


def test_a_retry_ends_its_attempt_with_accepted(
    worker: RunningProcess, celery: Celery, notes: Notes, acme: Tenant
) -> None:
    with bound(Binding.of(acme)):
        probe.try_again.delay("attempt")
    assert sorted(note["status"] for note in notes("attempt", 9) if "status" in note) == [200, 202, 202]


def got_or_failed(result: AsyncResult[Any]) -> None:
    wait_until(result.ready, SECONDS)


def test_hooks_see_the_tenant(worker: RunningProcess, celery: Celery, notes: Notes, initech: Tenant) -> None:
    with bound(Binding.of(initech)):
        for end in ("success", "fail", "retry"):
            # No wait for the result: an attempt says RETRY after it published the next, which may have succeeded.
            probe.hooked.delay(end)
    called = notes("hooks", 11)
    assert all(of_tenant(note, initech) for note in called)
    names = [note["hook"] for note in called]
    assert {name: names.count(name) for name in names} == {
        "before_start": 4,
        "on_success": 2,
        "on_failure": 1,
        "on_retry": 1,
        "after_return": 3,
    }


@pytest.mark.parametrize(("kind", "result"), [("int", 7), ("tuple", [1, 2]), ("none", None)])
def test_results_are_stored_as_they_are(
    worker: RunningProcess, celery: Celery, acme: Tenant, kind: str, result: object
) -> None:
    with bound(Binding.of(acme)):
        assert got(probe.echo.delay(kind)) == result


def test_a_task_leaves_nothing_to_the_next_one(
    app: Dashboard, worker: RunningProcess, celery: Celery, acme: Tenant, globex: Tenant
) -> None:
    found = []
    for tenant in (acme, globex, acme, globex, acme):
        with bound(Binding.of(tenant)):
            found.append(got(probe.leave_traces.delay()))
    assert found == [{"g": [], "session": {}, "new": 0, "rows": 1}] * 5
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Run)) == 0


def test_the_hooks_of_a_task_leave_nothing_to_the_next_one(
    worker: RunningProcess, celery: Celery, acme: Tenant, globex: Tenant
) -> None:
    """As often as each place of the pool has seen both."""
    for tenant in (acme, globex) * 6:
        with bound(Binding.of(tenant)):
            assert got(probe.tell_marks.delay()) == {"begun_for": f"{tenant.roots[0].url}/"}


def test_a_task_that_calls_itself_stays_in_its_context(worker: RunningProcess, celery: Celery, acme: Tenant) -> None:
    with bound(Binding.of(acme)):
        assert got(probe.call_itself.delay()) == ["mine"]


def test_ninety_interleaved_messages_of_three_tenants_never_mix(
    worker: RunningProcess, celery: Celery, acme: Tenant, globex: Tenant, initech: Tenant
) -> None:
    sent = []
    for number in range(90):
        tenant = (acme, globex, initech)[number % 3]
        with bound(Binding.of(tenant)):
            sent.append((tenant, probe.twice.delay(0.005 * (number % 4))))
    mixed = [result.id for tenant, result in sent if not all(of_tenant(seen, tenant) for seen in got(result))]
    assert mixed == []


def test_threads_keep_the_tenant_only_where_it_is_carried(worker: RunningProcess, celery: Celery, acme: Tenant) -> None:
    with bound(Binding.of(acme)):
        seen = got(probe.threads.delay())
    assert all(of_tenant(each, acme) for each in [*seen["carried"], seen["here"]])
    assert seen["sessions"] == 3
    assert seen["alone"] == "NoTenant"


def test_housekeeping_has_no_tenant_even_if_one_sends_it(worker: RunningProcess, celery: Any, acme: Tenant) -> None:
    with bound(Binding.of(acme)):
        sent_by_tenant = got(probe.housekeeping.delay())
        # As somebody sends it who does not know the task, so that it brings a tenant.
        header = pack(Binding.of(acme), celery.header_key)
        sent_by_name = got(celery.send_task("probe.housekeeping", headers={HEADER: header}, ignore_result=False))
    sent_by_nobody = got(probe.housekeeping.delay())
    assert sent_by_tenant == sent_by_nobody == {"bound": False, "sender": "NoTenant", "header": None}
    assert sent_by_name == {"bound": False, "sender": "NoTenant", "header": header}


def test_every_log_line_of_a_click_names_tenant_request_and_task(
    worker: RunningProcess, celery: Celery, notes: Notes, globex: Tenant
) -> None:
    with bound(Binding.of(globex, request_id=probe.PAGE)):
        task = probe.write_log.delay()
    assert notes("child", 1)[0]["request_id"] == str(probe.PAGE)
    line = next(line for line in worker.output().splitlines() if "probe_said_something" in line)
    said = dict(re.findall(r"(\w+)=(\S+)", line))
    assert (
        said.items()
        >= {"tenant": "globex", "request_id": str(probe.PAGE), "task_id": task.id, "task": "probe.log"}.items()
    )


def test_a_hook_that_fails_does_not_end_the_worker(worker: RunningProcess, celery: Celery, acme: Tenant) -> None:
    with bound(Binding.of(acme)):
        failed = probe.fail_badly.delay()
        got_or_failed(failed)
        assert of_tenant(got(probe.report.delay()), acme)
    assert "as asked" in str(failed.result)
    worker.wait_for(f"task_id={failed.id}")
