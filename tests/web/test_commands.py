"""The command line administers tenants, people, schedules and runs, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from uuid import uuid4

import click
import pytest
import sqlalchemy as sa

from dashboard.accounts.models import User
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.runs.models import Run
from dashboard.tenants.registry import forget_cached
from tests.command_line import answer, flask
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.servers import PostgresAddress
from tests.signing_in import visit

PASSWORD = "a few words together"


def create_acme(app: Dashboard) -> Any:
    root = "http://platform.test/acme"
    return answer(app, "tenants", "create", "acme", "--name", "Acme Ltd", "--root", root, "--timezone", "Europe/London")


def test_a_tenant_is_created_and_served(app: Dashboard) -> None:
    created = create_acme(app)
    assert created["roots"] == ["http://platform.test/acme"]
    forget_cached(app)
    tenant = resolver_of(app).by_slug("acme")
    assert tenant is not None
    assert visit(app, tenant).get("/sign-in").status_code == 200
    assert [row["slug"] for row in answer(app, "tenants", "list")] == ["acme"]
    assert answer(app, "tenants", "show", "acme")["settings"]["TIMEZONE"] == "Europe/London"


def test_a_person_is_created_made_a_member_and_signs_in(app: Dashboard, acme: Tenant) -> None:
    answer(app, "users", "create", "ada@acme.test", "--password-stdin", "--name", "Ada", stdin=PASSWORD + "\n")
    answer(app, "members", "add", "ada@acme.test", "acme", "--role", "operator")
    assert answer(app, "members", "list", "acme") == [{"email": "ada@acme.test", "name": "Ada", "role": "operator"}]
    browser = visit(app, acme)
    assert browser.sign_in("ada@acme.test", PASSWORD).status_code == 303
    assert browser.get("/runs").status_code == 200


def test_a_platform_owner_is_created(app: Dashboard) -> None:
    answer(app, "users", "create", "pat@staff.test", "--password-stdin", "--platform-owner", stdin=PASSWORD + "\n")
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.select(User.is_platform_owner)) is True


def test_a_password_is_never_printed(app: Dashboard) -> None:
    result = flask(app, "users", "create", "ada@acme.test", "--password-stdin", stdin=PASSWORD + "\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output


def test_a_tenant_is_suspended_and_resumed(app: Dashboard, acme: Tenant) -> None:
    answer(app, "tenants", "suspend", "acme", "--reason", "Unpaid since May.")
    assert answer(app, "tenants", "show", "acme")["state"] == "suspended"
    refused = flask(app, "tenants", "suspend", "acme", "--reason", "Again.")
    assert (refused.exit_code, refused.stderr) == (1, "Error: Acme is suspended already.\n")
    answer(app, "tenants", "resume", "acme")
    assert answer(app, "tenants", "show", "acme")["state"] == "active"


def test_a_setting_is_set_and_a_secret_is_not_shown(app: Dashboard, acme: Tenant) -> None:
    answer(app, "tenants", "set", "acme", "send_rate", "60")
    answer(app, "tenants", "set", "acme", "SMTP_PASSWORD", "-", stdin="hidden-word\n")
    shown = flask(app, "tenants", "show", "acme", "--json")
    settings = json.loads(shown.stdout)["settings"]
    assert (settings["SEND_RATE"], settings["SMTP_PASSWORD"]) == (60, "(set)")
    assert "hidden-word" not in shown.output


def test_what_is_done_is_audited(app: Dashboard) -> None:
    create_acme(app)
    with app.app_context(), system_scope("test") as session:
        assert "tenant.create" in session.scalars(sa.select(AuditEntry.action)).all()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tenants", "show", "nobody"], 1, "There is no tenant nobody"),
        (["tenants", "create", "acme"], 2, "Missing option"),
        (["tenants", "create", "Acme!", "--name", "A", "--root", "http://platform.test/a"], 2, "slug:"),
        (["tenants", "create", "other", "--name", "A", "--root", "nonsense"], 2, "roots:"),
        (["tenants", "set", "acme", "SECRET_KEY", "x"], 2, "Is not a setting"),
        (["tenants", "set", "acme", "SEND_RATE", "many"], 2, "SEND_RATE:"),
        (["users", "create", "ada@acme.test"], 2, "--password-stdin"),
        (["members", "add", "nobody@acme.test", "acme", "--role", "admin"], 2, "Nobody signs in"),
        (["members", "add", "nobody@acme.test", "acme", "--role", "king"], 2, "Invalid value"),
        (["members", "list", "nobody"], 1, "There is no tenant nobody"),
        (["runs", "list"], 2, "--tenant"),
        (["runs", "list", "--tenant", "nobody"], 1, "There is no tenant nobody"),
        (["runs", "show", "x", "--tenant", "acme"], 2, "Invalid value"),
        (["runs", "retry", str(uuid4()), "--tenant", "acme"], 1, "acme has no run"),
        (["schedules", "show", "Nothing", "--tenant", "acme"], 1, "acme has no schedule Nothing"),
    ],
)
def test_an_error_is_a_sentence_on_stderr(app: Dashboard, acme: Tenant, words: list[str], code: int, said: str) -> None:
    result = flask(app, *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (["tenants", "show", "\udcff"], b"", "This is no text in UTF-8."),
        (["users", "disable", "\udcff@acme.test"], b"", "This is no text in UTF-8."),
        (
            ["users", "create", "a@acme.test", "--password-stdin"],
            b"\xff\xfe\xfd and more\n",
            "This is no text in UTF-8.",
        ),
        (["tenants", "set", "acme", "BRAND_NAME", "-"], b"a\0b\n", "The database does not take this: "),
        (["holidays", "create", "Ours", "-", "--tenant", "acme"], b"2026-12-24 a\0b\n", "cannot contain NUL"),
    ],
    ids=["argument", "address", "password", "setting", "days"],
)
def test_what_is_no_text_is_refused_in_a_sentence(
    app: Dashboard, acme: Tenant, words: list[str], given: bytes, said: str
) -> None:
    result = app.test_cli_runner().invoke(args=words, input=given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_runs_are_listed_shown_retried_and_cancelled(app: Dashboard, acme: Tenant) -> None:
    failed = make_run(app, acme, "failed", name="Nightly totals", error_message="No room left")
    waiting = make_run(app, acme, "ready", name="Export")
    assert [row["name"] for row in answer(app, "runs", "list", "--tenant", "acme")] == ["Export", "Nightly totals"]
    assert [row["id"] for row in answer(app, "runs", "list", "--tenant", "acme", "--state", "failed")] == [
        str(failed.id)
    ]
    assert answer(app, "runs", "show", str(failed.id), "--tenant", "acme")["error_message"] == "No room left"
    assert answer(app, "runs", "retry", str(failed.id), "--tenant", "acme")["state"] == "ready"
    assert answer(app, "runs", "cancel", str(waiting.id), "--tenant", "acme")["state"] == "cancelled"
    again = flask(app, "runs", "cancel", str(waiting.id), "--tenant", "acme")
    assert again.exit_code == 1
    assert "already ended" in again.stderr


def test_a_key_is_released_and_what_that_interrupted_is_marked_done(app: Dashboard, acme: Tenant) -> None:
    run = make_run(app, acme, "running", name="Import", concurrency_key="warehouse")
    released = flask(app, "runs", "release", str(run.id), "--tenant", "acme")
    assert "Import holds warehouse no more." in released.stdout
    again = flask(app, "runs", "release", str(run.id), "--tenant", "acme")
    assert (again.exit_code, again.stderr) == (1, "Error: This run holds no key any more.\n")
    done = answer(app, "runs", "done", str(run.id), "--note", "The bank has the file.", "--tenant", "acme")
    assert done["state"] == "succeeded"
    (*_, last) = answer(app, "runs", "show", str(run.id), "--tenant", "acme")["events"]
    assert last["note"] == "The bank has the file."


def test_one_tenants_runs_are_nobody_elses(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    run = make_run(app, acme, "failed")
    assert answer(app, "runs", "list", "--tenant", "globex") == []
    for act in (["show"], ["retry"], ["cancel"], ["release"], ["done", "--note", "I looked"]):
        result = flask(app, "runs", *act, str(run.id), "--tenant", "globex")
        assert (result.exit_code, result.stderr) == (1, f"Error: globex has no run {run.id}.\n")


def test_schedules_are_listed_shown_paused_and_resumed(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, name="Minutely")
    (row,) = answer(app, "schedules", "list", "--tenant", "acme")
    assert (row["name"], row["state"], row["when"][:12]) == ("Minutely", "active", "Every minute")
    assert (
        answer(app, "schedules", "pause", "Minutely", "--tenant", "acme", "--reason", "Stocktaking")["state"]
        == "paused"
    )
    shown = answer(app, "schedules", "show", str(schedule.id), "--tenant", "acme")
    assert shown["paused_reason"] == "Stocktaking"
    assert answer(app, "schedules", "resume", "Minutely", "--tenant", "acme")["state"] == "active"
    refused = flask(app, "schedules", "resume", "Minutely", "--tenant", "acme")
    assert (refused.exit_code, refused.stderr) == (1, "Error: This schedule is not paused.\n")


def test_schedules_are_listed_by_tag(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, name="Plain")
    make_schedule(app, acme, name="Tagged", tags=["month end", "warehouse"])
    rows = answer(app, "schedules", "list", "--tag", "warehouse", "--tenant", "acme")
    assert [row["name"] for row in rows] == ["Tagged"]
    assert answer(app, "schedules", "show", "Tagged", "--tenant", "acme")["tags"] == ["month end", "warehouse"]


def test_a_schedule_is_run_now(app: Dashboard, acme: Tenant) -> None:
    params = {"to": ["ada@acme.test"], "subject": "Hello", "body": "Good morning."}
    make_schedule(app, acme, name="Greeting", job_type="email.message", params=params)
    run_id = answer(app, "schedules", "run", "Greeting", "--tenant", "acme")["run"]
    assert answer(app, "runs", "show", run_id, "--tenant", "acme")["state"] == "ready"


def test_a_name_that_two_schedules_have_is_not_guessed(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, name="Twin")
    make_schedule(app, acme, name="Twin")
    result = flask(app, "schedules", "pause", "Twin", "--tenant", "acme")
    assert result.exit_code == 1
    assert "give the id" in result.stderr


def test_a_table_is_for_people(app: Dashboard, acme: Tenant) -> None:
    make_run(app, acme, "failed", name="Nightly totals")
    lines = flask(app, "runs", "list", "--tenant", "acme").stdout.splitlines()
    assert lines[0].split()[:3] == ["ID", "STATE", "NAME"]
    assert "Nightly totals" in lines[1]


def test_nothing_to_list_is_said(app: Dashboard, acme: Tenant) -> None:
    assert flask(app, "runs", "list", "--tenant", "acme").stdout == "There are no such runs.\n"


def test_the_real_command_ends_with_its_code(environment: dict[str, str], app: Dashboard) -> None:
    command = [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", "tenants", "show", "nobody"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no tenant nobody" in done.stderr


def test_a_database_without_the_schema_is_said_so(
    environment: dict[str, str], postgres: PostgresAddress, database: str
) -> None:
    name = f"{database}_empty"
    postgres.create_database(name)
    try:
        urls = {"DATABASE_URL": postgres.url("app", name), "SYSTEM_DATABASE_URL": postgres.url("system", name)}
        command = [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", "tenants", "list"]
        done = subprocess.run(command, env={**environment, **urls}, capture_output=True, text=True, check=False)
    finally:
        postgres.drop_database(name)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Run: flask db upgrade" in done.stderr


def test_settings_that_are_missing_are_told_together_and_without_a_traceback() -> None:
    command = [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", "doctor"]
    done = subprocess.run(command, env={"SECRET_KEY": "short"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    for problem in ("DATABASE_URL: is not set", "REDIS_URL: is not set", "SECRET_KEY: must have at least"):
        assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugin_that_is_not_there_is_said_so_and_without_a_traceback(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", "doctor"]
    environment = {**environment, "PLUGINS": "nowhere.to_be_found"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "PLUGINS names 'nowhere.to_be_found'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_explains_itself_and_answers_programs(app: Dashboard) -> None:
    for name, command in our_commands(app):
        assert command.help, name
        assert "as_json" in {parameter.name for parameter in command.params}, name


def our_commands(app: Dashboard) -> list[tuple[str, click.Command]]:
    """Return our commands with their full names; Flask's and Flask-Migrate's own are not ours."""
    found: list[tuple[str, click.Command]] = []
    for command in app.cli.commands.values():
        if isinstance(command, click.Group):
            found += [(f"{command.name} {each.name}", each) for each in command.commands.values()]
        else:
            found.append((str(command.name), command))
    return [(name, command) for name, command in found if not name.startswith("db ")]


def test_a_run_started_from_the_command_line_acts_as_the_system(app: Dashboard, acme: Tenant) -> None:
    run = make_run(app, acme, "failed")
    answer(app, "runs", "retry", str(run.id), "--tenant", "acme")
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.action == "run.retry")).one()
        assert session.get_one(Run, run.id).state == "ready"
    assert (entry.tenant_id, entry.actor_kind) == (acme.id, "system")
