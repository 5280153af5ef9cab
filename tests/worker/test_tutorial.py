"""The tutorial for job types is true: its code runs in a real worker, and its tables say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, EmailStr, SecretStr

from dashboard.app import Dashboard
from dashboard.core.orm import db
from dashboard.core.tenancy import Tenant
from dashboard.jobs import registry
from dashboard.jobs.actions import start_run
from dashboard.jobs.kinds import Labels, Multiline
from dashboard.jobs.params import form_fields, validate
from tests.factories import make_tenant
from tests.factories.mailings import acting
from tests.processes import ROOT, beat_process, wait_until, worker_process
from tests.smtp import mail_server
from tests.worker.ledger_probes import log_of, until

TUTORIAL = (ROOT / "docs" / "job-types.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
ROWS = re.findall(r"^\| `(.+?)` \| ([a-z-]+) \|$", TUTORIAL, re.MULTILINE)


class Weekday(Enum):
    MONDAY = "monday"


NAMES = {
    "Annotated": Annotated,
    "EmailStr": EmailStr,
    "Labels": Labels,
    "Literal": Literal,
    "Multiline": Multiline,
    "SecretStr": SecretStr,
    "Weekday": Weekday,
    "date": date,
    "datetime": datetime,
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tutorial's code: nightly_totals.py first, then tutorial_1.py and so on."""
    for number, code in enumerate(CODE):
        (tmp_path / (f"tutorial_{number}.py" if number else "nightly_totals.py")).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_job_types", dict(registry._job_types))
    return tmp_path


def test_the_job_type_of_the_tutorial_runs_for_its_tenant_and_mails_the_totals(
    app: Dashboard, environment: dict[str, str], modules: Path
) -> None:
    registry.load_plugins(["nightly_totals"])
    ours = {**environment, "PYTHONPATH": str(modules)}
    with (
        mail_server() as server,
        beat_process(ours, plugins=["nightly_totals"]) as beat,
        worker_process(ours, plugins=["nightly_totals"]) as worker,
    ):
        acme = make_tenant(app, "acme", "https://jobs.acme.test", **server.settings(MAIL_SENDER="jobs@acme.test"))
        with acting(app, acme):
            params = {"days": 2, "notify": "olivia@acme.example"}
            run_id = start_run(db.session(), "acme.nightly_totals", params, name="Totals").id
            db.session.commit()
        run = until(app, run_id, "succeeded", beat, worker)
        wait_until(lambda: server.mails, explain=worker.output)
    assert run.result == {"totals": {"running": 1}, "page": "https://jobs.acme.test/runs"}
    assert log_of(app, run_id) == ["Acme had 1 runs."]
    assert "- running: 1" in server.mails[0].part("plain")
    assert 'href="https://jobs.acme.test/runs"' in server.mails[0].part("html")


def test_every_piece_of_code_in_the_tutorial_works(app: Dashboard, modules: Path) -> None:
    registry.load_plugins(["nightly_totals", *(f"tutorial_{number}" for number in range(1, len(CODE)))])
    weekly = registry.job_type("acme.weekly_totals")
    assert weekly.load_params({"weeks": 2}, 1) == validate(weekly.Params, {"days": 14})


def test_the_test_in_the_tutorial_passes(modules: Path) -> None:
    (written,) = (path for path in modules.glob("tutorial_*.py") if "pytest_plugins" in path.read_text())
    written.rename(modules / "test_nightly_totals.py")
    paths = {"PYTHONPATH": f"{modules}:{ROOT}", "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"]
    done = subprocess.run(command, cwd=modules, env=paths, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_mistake_in_the_tutorials_form_is_a_sentence(app: Dashboard, acme: Tenant, modules: Path) -> None:
    registry.load_plugins(["nightly_totals"])
    with acting(app, acme):
        fields = form_fields(registry.job_type("acme.nightly_totals").Params)
    assert [(field.label, field.type, field.attrs) for field in fields] == [
        ("Days", "number", {"step": 1, "min": 1, "max": 31}),
        ("Mail them to", "email", {}),
    ]


@pytest.mark.parametrize(("written", "control"), ROWS)
def test_each_kind_in_the_table_is_asked_for_as_it_says(written: str, control: str) -> None:
    kind = eval(written.replace("\\|", "|"), dict(NAMES))  # noqa: S307 - the code of our own documentation
    model = type("Params", (BaseModel,), {"__annotations__": {"value": kind}})
    assert [field.type for field in form_fields(model)] == [control]
    assert len(ROWS) == 15
