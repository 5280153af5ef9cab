"""What a request sends brings its tenant and nothing of the request, and what runs inside it leaves it alone."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import structlog
from celery import Celery, Task, chain, chord, group
from celery import current_app as current_celery
from celery.result import AsyncResult, ResultSet
from flask import Flask, flash, g, get_flashed_messages, request, session
from flask.typing import ResponseReturnValue

from config.celery import KEY_PREFIX
from config.settings import Settings
from dashboard.accounts.access import Action, public, requires
from dashboard.app import Dashboard, create_app
from dashboard.core.carriage import HEADER, header_key, pack, unpack
from dashboard.core.errors import NoTenant
from dashboard.core.orm import db
from dashboard.core.sending import WouldBlock
from dashboard.core.tenancy import Actor, Binding, Tenant, bound, current_binding
from dashboard.tenants.registry import forget_cached
from tests.application import PLATFORM, disconnect
from tests.factories import make_user
from tests.processes import RunningProcess, worker_process
from tests.signing_in import sign_in
from tests.worker import tasks_for_tests as probe
from tests.worker.expectations import PLUGIN, SECONDS, Notes, expected, got, of_tenant
from worker.app import create_celery
from worker.context import TenantTask

log = structlog.get_logger(__name__)

SECRETS = {
    "cookie": "a-cookie-of-the-browser",
    "authorization": "Bearer a-token-of-somebodys",
    "field": "what was typed into the form",
    "query": "what-stands-in-the-query",
    "agent": "a browser that tells who it is",
}


@public
def look() -> ResponseReturnValue:
    return probe.seen()


@requires(Action.START_RUN)
def send() -> ResponseReturnValue:
    """Send tasks of every shape, as a view that a person uses."""
    session["typed"] = request.form["field"]
    flash(request.form["field"])
    g.typed = request.form["field"]
    results = [
        probe.report.delay(),
        probe.report.apply_async(countdown=0.1),
        chain(probe.report.s(), probe.go_on.s()).apply_async(),
        chord([probe.report.s(), probe.report.s()], probe.collect.s()).apply_async(),
        probe.report.apply_async(link=probe.note.si("link"), link_error=probe.errback_sent.s()),
    ]
    return [result.id for result in results]


WAITS: dict[str, Callable[[Any, Any], Any]] = {
    "get": lambda one, _: one.get(),
    "get, for a while": lambda one, _: one.get(timeout=60),
    "wait": lambda one, _: one.wait(),
    "a result of Celery's own class": lambda one, _: AsyncResult(one.id).get(),
    "the leaves": lambda one, _: list(one.collect()),
    "get of several": lambda _, several: several.get(),
    "join": lambda _, several: several.join(),
    "join at once": lambda _, several: several.join_native(),
    "as they come": lambda _, several: list(several.iter_native()),
    "a set of results": lambda one, several: ResultSet([one, *several]).get(),
}


@public
def wait(way: str) -> ResponseReturnValue:
    """Wait in vain for what no worker does."""
    one = probe.report.apply_async(ignore_result=False)
    several = group(probe.report.s(), probe.report.s()).apply_async(ignore_result=False)
    try:
        return {"told": repr(WAITS[way](one, several))}
    except WouldBlock as error:
        return {"told": str(error)}


@public
def fetch(task_id: str) -> ResponseReturnValue:
    """Return what a task that is done has returned."""
    return {"got": current_celery.AsyncResult(task_id).get()}


@public
def send_one() -> ResponseReturnValue:
    """Send a task that logs and has a child, and tell who asked."""
    log.info("web_said_something")
    binding = current_binding()
    assert binding is not None
    return {"task": probe.write_log.delay().id, "request_id": str(binding.request_id)}


@public
def run_inside() -> ResponseReturnValue:
    """Run a task inside the request, and tell what it changed here."""
    g.mine, session["mine"], ours = "g", "session", id(db.session())
    flash("mine")
    binding = current_binding()
    results = [probe.leave_traces.apply().get(), probe.succeed.apply(("eager",)).get(), probe.report.apply().get()]
    failed = probe.fail.apply(("eager",)).state
    return {
        "results": results,
        "failed": failed,
        "same": [g.mine, session["mine"], id(db.session()) == ours, current_binding() is binding],
        "flashes": get_flashed_messages(),
        "traces": ["trace" in g, "trace" in session, "watched" in g],
        "here": probe.seen(),
    }


@pytest.fixture(scope="module")
def probing_app(migrated_app: Dashboard, settings: Settings) -> Iterator[Dashboard]:
    app = create_app(settings)
    app.testing = True
    app.add_url_rule("/look", view_func=look)
    app.add_url_rule("/send", view_func=send, methods=["POST"])
    app.add_url_rule("/run-inside", view_func=run_inside)
    app.add_url_rule("/send-one", view_func=send_one)
    app.add_url_rule("/wait/<way>", view_func=wait)
    app.add_url_rule("/fetch/<task_id>", view_func=fetch)
    yield app
    disconnect(app)


@pytest.fixture
def site(app: Flask, probing_app: Dashboard, celery: Celery) -> Dashboard:
    """The application with pages that send tasks; `celery` forgets their results in time."""
    forget_cached(probing_app)
    probing_app.extensions["celery"] = celery
    celery.set_default()
    return probing_app


@pytest.fixture
def worker(environment: dict[str, str], site: Dashboard) -> Iterator[RunningProcess]:
    with worker_process(environment, pool="threads", plugins=[PLUGIN]) as process:
        yield process


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client
        client.flushall()


def everything_in(broker: redis.Redis) -> str:
    """Return all that the broker's server holds, with the messages' bodies decoded."""
    texts = []
    for key in broker.scan_iter("*"):
        texts += [key.decode(), *map(readable, values_at(broker, key))]
    return "\n".join(texts)


def values_at(broker: Any, key: bytes) -> list[bytes]:
    kind = broker.type(key).decode()
    if kind == "hash":
        return [each for pair in broker.hgetall(key).items() for each in pair]
    read = {
        "string": lambda: [broker.get(key)],
        "list": lambda: broker.lrange(key, 0, -1),
        "set": lambda: list(broker.smembers(key)),
        "zset": lambda: broker.zrange(key, 0, -1),
    }
    return list(read[kind]())


def readable(value: bytes) -> str:
    text = value.decode(errors="replace")
    if not text.startswith("{"):
        return text
    message = json.loads(text)
    return text + base64.b64decode(message["body"]).decode() if "body" in message else text


def messages_in(broker: Any) -> list[dict[str, Any]]:
    return [json.loads(message) for message in broker.lrange(f"{KEY_PREFIX}default", 0, -1)]


def test_what_a_signed_in_post_sends_holds_nothing_of_the_request(
    site: Dashboard, app: Dashboard, broker: redis.Redis, settings: Settings, acme: Tenant
) -> None:
    member = make_user(app, "ada@acme.test", roles={acme.id: "operator"})
    browser = sign_in(site, acme, "ada@acme.test")
    browser.set_cookie("another", SECRETS["cookie"], domain="jobs.acme.test")
    cookies = [cookie.value for cookie in browser._cookies.values()]  # type: ignore[union-attr]
    broker.flushall()
    response = browser.post(
        f"/send?why={SECRETS['query']}",
        data={"field": SECRETS["field"]},
        headers={"Authorization": SECRETS["authorization"], "User-Agent": SECRETS["agent"]},
    )
    assert response.status_code == 200
    held = everything_in(broker)
    assert len(messages_in(broker)) == 6
    assert [name for name, secret in SECRETS.items() if secret in held] == []
    assert len(cookies) >= 2
    assert [secret for secret in (*cookies, browser.token, "ada@acme.test", str(member)) if secret in held] == []


def test_the_header_is_small_signed_and_says_who_asked(
    site: Dashboard, app: Dashboard, broker: redis.Redis, settings: Settings, acme: Tenant
) -> None:
    member = make_user(app, "ada@acme.test", roles={acme.id: "operator"})
    browser = sign_in(site, acme, "ada@acme.test")
    broker.flushall()
    browser.post("/send", data={"field": "x"})
    headers = [message["headers"] for message in messages_in(broker)]
    carried = {header[HEADER] for header in headers}
    assert len(carried) == 1
    header = carried.pop()
    assert len(f'"{HEADER}": "{header}", ') <= 200
    binding = unpack(app, header, header_key(settings.secret_key.get_secret_value()))
    assert (binding.tenant.slug, binding.root, binding.actor) == ("acme", acme.roots[0], Actor(kind="user", id=member))
    assert binding.request_id is not None


@pytest.mark.parametrize("root", ["https://jobs.acme.test", f"{PLATFORM}/acme", f"{PLATFORM}/globex"])
def test_a_task_sees_what_the_request_that_sent_it_saw(
    site: Dashboard, app: Dashboard, worker: RunningProcess, acme: Tenant, globex: Tenant, root: str
) -> None:
    tenant = globex if root.endswith("globex") else acme
    make_user(app, "ada@acme.test", roles={acme.id: "operator", globex.id: "operator"})
    browser = sign_in(site, tenant, "ada@acme.test")
    browser.root = root
    if root == f"{PLATFORM}/acme":
        browser = sign_in(site, globex, "ada@acme.test")  # one sign-in for all of the platform's host
        browser.root = root
        browser.take_token()
    in_request = browser.get("/look").get_json()
    evil = {"X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "gopher", "Forwarded": "host=evil.test"}
    ids = browser.post("/send", data={"field": "x"}, headers=evil).get_json()
    results = [got(site.extensions["celery"].AsyncResult(result)) for result in ids]
    for seen in flat(results):
        assert of_tenant(seen, tenant, 1 if root == f"{PLATFORM}/acme" else 0)
        volatile = {"note": None, "request_id": None, "language": None}
        assert seen | volatile == in_request | volatile


def flat(results: Any) -> list[Any]:
    return [each for item in results for each in flat(item)] if isinstance(results, list) else [results]


def test_a_forged_host_sends_nothing(site: Dashboard, broker: redis.Redis, acme: Tenant) -> None:
    response = site.test_client().post("/send", base_url="https://evil.test", data={"field": "x"})
    assert response.status_code == 421
    assert messages_in(broker) == []


def test_beat_sends_for_a_schedule_with_a_header_made_from_a_binding(
    app: Dashboard, site: Dashboard, celery: Any, worker: RunningProcess, initech: Tenant
) -> None:
    """From a thread with no tenant, no request and no application context, as the dispatcher has it."""
    binding = Binding.of(initech, actor=Actor(kind="schedule", id=probe.PAGE))
    results: list[Any] = []

    def publish() -> None:
        header = pack(binding, celery.header_key)
        results.append(celery.send_task("probe.report", headers={HEADER: header}, ignore_result=False))

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join(SECONDS)
    seen = got(results[0])
    assert of_tenant(seen, initech)
    assert seen["user"] == "Schedule"


@pytest.mark.parametrize("way", WAITS)
def test_a_page_never_waits_for_a_result(site: Dashboard, broker: redis.Redis, globex: Tenant, way: str) -> None:
    told = site.test_client().get(f"{PLATFORM}/globex/wait/{way}").get_json()["told"]
    assert told == "A page must not wait for a task. Ask `ready()`, or let the page look again."
    assert len(messages_in(broker)) == 3


def test_a_page_gets_a_result_that_is_there(
    site: Dashboard, worker: RunningProcess, celery: Any, globex: Tenant
) -> None:
    with bound(Binding.of(globex)):
        sent = probe.echo.delay("int")
    assert got(sent) == 7
    assert site.test_client().get(f"{PLATFORM}/globex/fetch/{sent.id}").get_json() == {"got": 7}


def test_a_task_may_wait_for_another(worker: RunningProcess, celery: Any, globex: Tenant) -> None:
    with bound(Binding.of(globex)):
        assert of_tenant(got(probe.wait_for_child.delay()), globex)


def test_the_request_id_is_one_from_the_click_over_the_message_to_the_log_and_the_child(
    site: Dashboard,
    worker: RunningProcess,
    celery: Any,
    notes: Notes,
    globex: Tenant,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = site.test_client().get(f"{PLATFORM}/globex/send-one").get_json()
    lines: list[Any] = [record.msg for record in caplog.records]
    assert [line["request_id"] for line in lines if "web_said_something" in line["event"]] == [told["request_id"]]
    worker.wait_for("probe_said_something")
    in_worker = next(line for line in worker.output().splitlines() if "probe_said_something" in line)
    assert f"request_id={told['request_id']}" in in_worker
    assert f"task_id={told['task']}" in in_worker
    assert notes("child", 1)[0]["request_id"] == told["request_id"]


def test_an_explicit_header_goes_before_what_is_bound(
    site: Dashboard, celery: Any, worker: RunningProcess, acme: Tenant, globex: Tenant
) -> None:
    header = pack(Binding.of(globex), celery.header_key)
    with bound(Binding.of(acme)):
        assert of_tenant(got(probe.report.apply_async(headers={HEADER: header})), globex)


def test_shared_tasks_of_a_new_application_reach_its_broker_from_any_thread(
    environment: dict[str, str], celery: Celery, redis_url: str, acme: Tenant
) -> None:
    """Another one than all that this process has sent to before, so that nothing but the application can name it."""
    elsewhere = f"{redis_url.rpartition('/')[0]}/5"
    create_app(Settings.from_env({**environment, "REDIS_URL": elsewhere}))

    def publish() -> None:
        with bound(Binding.of(acme)):
            probe.report.delay()

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join(SECONDS)
    with redis.Redis.from_url(elsewhere) as broker:
        assert len(messages_in(broker)) == 1
        broker.flushdb()


def test_a_process_that_only_sends_does_not_run_tasks(site: Dashboard, acme: Tenant) -> None:
    with bound(Binding.of(acme)), pytest.raises(NotImplementedError, match="only be sent"):
        probe.report.apply()


@pytest.fixture
def worker_site(site: Dashboard, broker: redis.Redis) -> Iterator[Dashboard]:
    """The application as a worker has it, so that it can run a task itself."""
    celery = create_celery(site)
    yield site
    celery.backend.client.connection_pool.disconnect()  # type: ignore[attr-defined]
    celery.close()


def test_a_task_inside_a_request_leaves_the_request_alone(worker_site: Dashboard, globex: Tenant) -> None:
    response = worker_site.test_client().get(f"{PLATFORM}/globex/run-inside")
    told = response.get_json()
    traces, nothing, seen = told["results"]
    assert traces == {"g": [], "session": {}, "new": 0, "rows": 1}
    assert nothing is None
    assert of_tenant(seen, globex)
    assert told["failed"] == "FAILURE"
    assert told["same"] == ["g", "session", True, True]
    assert told["flashes"] == ["mine"]
    assert told["traces"] == [False, False, False]
    assert of_tenant(told["here"], globex)


def test_a_task_inside_a_request_has_a_request_of_its_own(worker_site: Dashboard, broker: Any, globex: Tenant) -> None:
    worker_site.test_client().get(f"{PLATFORM}/globex/run-inside")
    ends = [json.loads(line) for line in broker.lrange("notes:eager", 0, -1)]
    assert [(end["what"], end.get("status")) for end in ends] == [
        ("after_this_request", 200),
        ("teardown_request", None),
        ("teardown_appcontext", None),
        ("after_this_request", 500),
        ("teardown_request", None),
        ("teardown_appcontext", None),
    ]


def test_a_task_of_another_tenant_inside_a_request_is_that_tenants(
    worker_site: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    with worker_site.test_request_context(base_url=acme.roots[0].url), bound(Binding.of(acme)):
        with bound(Binding.of(globex)):
            assert of_tenant(probe.report.apply().get(), globex)
        assert of_tenant(probe.report.apply().get(), acme)


def test_a_plain_call_is_only_a_call(worker_site: Dashboard, acme: Tenant) -> None:
    with worker_site.test_request_context(base_url=acme.roots[0].url):
        with bound(Binding.of(acme)):
            assert of_tenant(probe.report(), acme)
            probe.leave_traces()
            assert (g.trace, session["trace"]) == ("acme", "acme")
        with pytest.raises(NoTenant):
            probe.report()


def test_a_plain_call_without_a_context_opens_the_bound_tenants(worker_site: Dashboard, acme: Tenant) -> None:
    with bound(Binding.of(acme)):
        assert of_tenant(probe.report(), acme)
    with pytest.raises(NoTenant):
        probe.report()


def test_an_eager_retry_keeps_the_tenant(worker_site: Dashboard, initech: Tenant) -> None:
    with bound(Binding.of(initech)):
        result = probe.try_again.apply(("eager retry",))
    assert expected(initech).items() <= result.get().items()


def test_a_task_that_is_a_class_is_registered_only_if_it_would_get_the_context(
    worker_site: Dashboard, initech: Tenant
) -> None:
    celery = worker_site.extensions["celery"]
    without = type("Without", (Task,), {"name": "probe.without", "run": lambda _: probe.seen()})
    with pytest.raises(TypeError, match="must be a TenantTask"):
        celery.register_task(without)
    its_own = celery.register_task(type("ItsOwn", (TenantTask,), {"name": "probe.own", "run": lambda _: probe.seen()}))
    with bound(Binding.of(initech)):
        assert of_tenant(its_own.apply().get(), initech)
