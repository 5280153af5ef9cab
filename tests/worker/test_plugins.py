"""A package that somebody else wrote brings job types and tasks, with the tenant's context, and tests of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.canvas import signature

from dashboard.app import Dashboard
from dashboard.core.tenancy import Binding, Tenant, bound
from tests.factories.ledger import enqueue_runs
from tests.processes import ROOT, RunningProcess, beat_process, worker_process
from tests.worker.expectations import got
from tests.worker.ledger_probes import log_of, until, until_ready

pytestmark = pytest.mark.xdist_group("plugins")

JOBS = '''
"""What Wayne Enterprises adds to Stationmaster."""

from celery import shared_task
from flask import current_app, url_for
from pydantic import BaseModel, Field

from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import Result
from dashboard.jobs.registry import JobType
from dashboard.runs.models import Run


class CountLights(JobType):
    key = "wayne.count_lights"
    label = "Count the lights"

    class Params(BaseModel):
        lights: int = Field(4, ge=1, le=5)

    def run(self, ctx: RunContext, params: Params) -> Result:
        for light in range(params.lights):
            ctx.progress(light + 1, params.lights)
        ctx.log("info", f"{ctx.tenant.name} has {params.lights} lights.")
        with ctx.artifact("lights.txt", "text/plain") as file:
            file.write(b"*" * params.lights)
        return {"page": url_for("runs.index", _external=True), "runs": db.session.query(Run).count()}


@shared_task(name="wayne.signal", ignore_result=False)
def signal(word):
    return [word, current_tenant().slug, current_app.config["MAIL_SENDER"], url_for("runs.index", _external=True)]
'''

TESTS = '''
"""Tests as the authors of a package write them."""

import pytest
from dashboard.core.errors import InvalidInput
from wayne.jobs import CountLights

pytest_plugins = ("tests.job_type_fixtures",)


def test_it_counts_the_lights(perform):
    done = perform(CountLights, lights=4)
    assert done.state == "succeeded"
    assert done.result == {"page": "https://jobs.acme.test/runs", "runs": 1}
    assert done.log == ["Acme has 4 lights."]
    assert done.files == {"lights.txt": b"****"}


def test_it_refuses_a_fifth_and_a_half(perform):
    with pytest.raises(InvalidInput):
        perform(CountLights, lights=6)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path with an installed package: what pip leaves of one, its entry point included."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "wayne").mkdir()
    (folder / "wayne" / "__init__.py").write_text("")
    (folder / "wayne" / "jobs.py").write_text(JOBS)
    metadata = folder / "wayne-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: wayne\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[stationmaster.jobs]\nwayne = wayne.jobs\n")
    (folder / "test_wayne.py").write_text(TESTS)
    return folder


@pytest.fixture(scope="module")
def with_package(environment: dict[str, str], package: Path) -> dict[str, str]:
    return {**environment, "PYTHONPATH": str(package)}


@pytest.fixture(scope="module")
def fleet(migrated_app: Dashboard, with_package: dict[str, str]) -> Iterator[tuple[RunningProcess, RunningProcess]]:
    with beat_process(with_package) as beat, worker_process(with_package) as worker:
        yield beat, worker


def test_its_job_type_runs_for_its_tenant_and_is_in_the_ledger(
    app: Dashboard, acme: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    until_ready(app)
    (run_id,) = enqueue_runs(app, acme, job_type="wayne.count_lights", params={"lights": 3})
    run = until(app, run_id, "succeeded", *fleet)
    assert run.result == {"page": "https://jobs.acme.test/runs", "runs": 1}
    assert (run.progress_done, log_of(app, run_id)) == (3, ["Acme has 3 lights."])


def test_its_plain_celery_task_has_the_tenants_context(
    celery: Celery, globex: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    with bound(Binding.of(globex)):
        sent = signature("wayne.signal", ["bat"], app=celery).apply_async(ignore_result=False)
    assert got(sent) == ["bat", "globex", "Globex <mail@globex.test>", "http://platform.test/globex/runs"]


def test_its_authors_test_it_with_our_fixtures(package: Path, with_package: dict[str, str]) -> None:
    """In a folder of theirs, with our checkout on the path, and nothing else prepared."""
    paths = {"PYTHONPATH": f"{package}:{ROOT}", "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", "test_wayne.py"]
    done = subprocess.run(command, cwd=package, env=paths, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_form_of_the_schedule_editor_knows_it(with_package: dict[str, str], package: Path) -> None:
    ask = (
        "import json; from dashboard.app import create_app; from config.settings import Settings;"
        "from dashboard.jobs.registry import job_type; from dashboard.jobs.params import form_fields; import os;"
        "app = create_app(Settings.from_env(os.environ));"
        "context = app.app_context(); context.push();"
        "print(json.dumps([[f.label, f.type] for f in form_fields(job_type('wayne.count_lights').Params)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, env=with_package, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [["Lights", "number"]]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ({"runs.execute": "mine"}, "Task name 'runs.execute' is already registered to a different callable."),
        ({"acme.a": "one", "acme.b": "two"}, ""),
    ],
    ids=["ours", "their own"],
)
def test_a_worker_refuses_a_task_with_the_name_of_another(
    environment: dict[str, str], tmp_path: Path, tasks: dict[str, str], sentence: str
) -> None:
    """Which of the two a message reaches would be chance: a plugin could take all runs to itself."""
    lines = [f"@shared_task(name={name!r})\ndef {function}(*_): pass\n" for name, function in tasks.items()]
    (tmp_path / "acme_tasks.py").write_text("from celery import shared_task\n\n" + "\n".join(lines))
    asked = {**environment, "PYTHONPATH": str(tmp_path), "PLUGINS": "acme_tasks"}
    command = [sys.executable, "-c", "import worker.main"]
    done = subprocess.run(command, cwd=ROOT, env=asked, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(sentence), done.stderr
    assert sentence in done.stderr
