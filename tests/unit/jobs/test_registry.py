"""Job types are found, checked when they are registered, and carry their stored parameters over."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from dashboard.core.errors import InvalidInput
from dashboard.jobs import registry
from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import BadResult, Result, as_json
from dashboard.jobs.registry import BadJobType, JobType, UnknownJobType


class Report(JobType):
    key = "test.report"
    label = "Report"
    idempotent = True
    version = 2

    class Params(BaseModel):
        days: int = 7

    def run(self, ctx: RunContext, params: Params) -> Result:
        return {"days": params.days}

    def migrate(self, old: dict[str, Any]) -> dict[str, Any]:
        return {"days": old["weeks"] * 7}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_job_types", dict(registry._job_types))


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


PLUGIN = """
from datetime import date, timedelta
from pydantic import BaseModel
from dashboard.jobs.registry import JobType

class Totals(JobType):
    key = "{key}"
    label = "Totals"

    def run(self, ctx, params):
        return None
"""


async def run_later(self: JobType, ctx: RunContext, params: BaseModel) -> None:
    """Nobody would wait for it."""


def test_a_registered_job_type_is_found_by_its_key() -> None:
    registry.register(Report)
    assert registry.job_type("test.report").label == "Report"
    assert "Report" in [job.label for job in registry.all_job_types()]


def test_an_unknown_key_is_told_in_a_sentence() -> None:
    with pytest.raises(UnknownJobType, match=r"There is no job type 'test\.nothing'"):
        registry.job_type("test.nothing")


def test_registering_the_same_class_twice_does_nothing() -> None:
    assert registry.register(registry.register(Report)) is Report


def test_two_classes_with_one_key_are_refused() -> None:
    registry.register(Report)
    twin = type("Twin", (JobType,), {"key": "test.report", "label": "Twin", "run": lambda *_: None})
    with pytest.raises(BadJobType, match=r"Two job types have the key 'test.report': .*Report and .*Twin"):
        registry.register(twin)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"key": ""}, "It needs a key"),
        ({"key": "Spaces here"}, "It needs a key"),
        ({"label": ""}, "It needs a label"),
        ({"queue": "fast"}, "Its queue must be one of default, email, bulk"),
        ({"timeout": timedelta()}, "Its timeout must be"),
        ({"max_attempts": 0}, "Its max_attempts must be"),
        ({"timeout": 600}, "Its timeout must be a timedelta"),
        ({"timeout": timedelta(days=4000)}, "of a second to a year"),
        ({"max_attempts": "3"}, "Its max_attempts must be a whole number, 1 to 100"),
        ({"max_attempts": 101}, "Its max_attempts must be a whole number, 1 to 100"),
        ({"version": "2"}, "Its version must be a whole number"),
        ({"idempotent": "yes", "max_attempts": 1}, "Its idempotent must be True or False"),
        ({"key": 7}, "It needs a key"),
        ({"label": 7}, "It needs a label"),
        ({"description": 7}, "Its description must be text"),
        ({"queue": ["bulk"]}, "Its queue must be one of default, email, bulk"),
        ({"lane": "fast"}, "Its lane must be interactive or bulk"),
        ({"concurrency_key": 5}, "Its concurrency_key must be text"),
        (
            {"Params": type("Params", (), {"days": 1})},
            r"Its Params must be a pydantic model: class Params\(BaseModel\)",
        ),
        ({"run": JobType.run}, "It needs a run"),
        ({"run": lambda _self, _params: None}, r"It needs a run\(self, ctx, params\)"),
        ({"run": run_later}, "no async one"),
        ({"concurrency_key": "report:{weeks}"}, "Its concurrency_key may name parameters"),
        ({"concurrency_key": "report:{days"}, "Its concurrency_key may name parameters"),
        ({"concurrency_key": "report:{days.real}"}, "Its concurrency_key may name parameters"),
        ({"concurrency_key": ""}, "Its concurrency_key may name parameters"),
        ({"Params": type("Odd", (BaseModel,), {"__annotations__": {"thing": bytes}})}, r"Odd\.thing: .*bytes"),
    ],
)
def test_a_job_type_that_could_not_work_is_refused_at_registration(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadJobType, match=sentence):
        registry.register(type("Changed", (Report,), {"key": "test.changed", **changes}))


def test_a_concurrency_key_can_hold_no_secret() -> None:
    params = type("Params", (BaseModel,), {"__annotations__": {"token": SecretStr}})
    secretive = {"key": "test.secretive", "Params": params, "concurrency_key": "with:{token}"}
    with pytest.raises(BadJobType, match="parameters that are no secrets"):
        registry.register(type("Secretive", (Report,), secretive))


def test_a_concurrency_key_is_made_of_parameters_of_any_version() -> None:
    single: Any = type("Single", (Report,), {"concurrency_key": "report:{days}"})
    assert single.key_for({"days": 3}, 2) == "report:3"
    assert single.key_for({}, 2) == "report:7"
    assert single.key_for({"weeks": 2}, 1) == "report:14"
    assert single.key_for({"days": "many"}, 2) is None
    assert Report.key_for({"days": 3}, 2) is None


def test_only_a_job_that_may_run_twice_is_tried_again_by_default() -> None:
    assert Report.max_attempts == 3
    once: Any = type("Once", (JobType,), {"idempotent": False})
    stubborn: Any = type("Stubborn", (JobType,), {"idempotent": True, "max_attempts": 9})
    assert (once.max_attempts, stubborn.max_attempts) == (1, 9)


def test_a_plugins_job_types_are_registered_by_naming_its_module(plugin_folder: Path) -> None:
    (plugin_folder / "acme_totals.py").write_text(PLUGIN.format(key="acme.totals"))
    registry.load_plugins(["acme_totals"])
    assert registry.job_type("acme.totals").label == "Totals"


def test_an_installed_plugin_is_found_by_its_entry_point(plugin_folder: Path) -> None:
    (plugin_folder / "acme_installed.py").write_text(PLUGIN.format(key="acme.installed"))
    metadata = plugin_folder / "acme_installed-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-installed\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[stationmaster.jobs]\nacme = acme_installed\n")
    registry.load_plugins([])
    assert registry.job_type("acme.installed").label == "Totals"


def test_a_plugin_that_is_not_there_is_told_in_a_sentence() -> None:
    with pytest.raises(BadJobType, match=r"PLUGINS names 'acme\.nowhere', and Python finds no such module"):
        registry.load_plugins(["acme.nowhere"])


def test_a_plugin_whose_own_import_fails_says_which(plugin_folder: Path) -> None:
    (plugin_folder / "acme_broken.py").write_text("import not_installed_anywhere")
    why = r"PLUGINS names 'acme_broken', which cannot be imported: ModuleNotFoundError: .*'not_installed_anywhere'"
    with pytest.raises(BadJobType, match=rf"{why} \(.*acme_broken\.py, line 1\)\.$"):
        registry.load_plugins(["acme_broken"])


def test_a_plugin_with_a_slip_of_the_pen_says_where(plugin_folder: Path) -> None:
    (plugin_folder / "acme_slip.py").write_text("def run(:\n")
    with pytest.raises(BadJobType, match=r"SyntaxError: invalid syntax \(acme_slip\.py, line 1\)\.$"):
        registry.load_plugins(["acme_slip"])


def test_an_installed_plugin_that_breaks_is_named(plugin_folder: Path) -> None:
    (plugin_folder / "acme_torn.py").write_text("1 / 0")
    metadata = plugin_folder / "acme_torn-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-torn\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[stationmaster.jobs]\ntorn = acme_torn\n")
    why = r"The plugin 'torn' \(acme_torn\) of an installed package cannot be imported: ZeroDivisionError"
    with pytest.raises(BadJobType, match=why):
        registry.load_plugins([])


def test_a_class_with_a_label_and_no_key_is_no_base_class_but_a_mistake(plugin_folder: Path) -> None:
    (plugin_folder / "acme_keyless.py").write_text(PLUGIN.format(key="acme.keyless").replace("    key =", "    kye ="))
    with pytest.raises(BadJobType, match=r"acme_keyless\.Totals: It needs a key like"):
        registry.load_plugins(["acme_keyless"])


def test_stored_parameters_of_an_older_version_are_carried_over() -> None:
    assert Report.load_params({"weeks": 2}, 1) == Report.Params(days=14)
    assert Report.load_params({"days": 3}, 2) == Report.Params(days=3)


@pytest.mark.parametrize(("stored", "version"), [({"months": 1}, 1), ({"days": 1}, 3), ({"days": "many"}, 2)])
def test_stored_parameters_that_no_longer_fit_are_refused(stored: dict[str, Any], version: int) -> None:
    with pytest.raises(InvalidInput):
        Report.load_params(stored, version)


def test_a_result_must_be_a_json_object_or_nothing() -> None:
    assert as_json(None) is None
    assert as_json({"sent": 3}) == {"sent": 3}
    assert as_json({"path": "C:\\u0000"}) == {"path": "C:\\u0000"}
    deep = ({"tree": nested(400)}, {"tree": nested(5000)})
    for wrong in (
        3,
        {"at": object()},
        {"share": float("nan")},
        {"text": "a\0b"},
        {"a\0b": 1},
        {"text": "\udcff"},
        *deep,
    ):
        with pytest.raises(BadResult):
            as_json(wrong)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (3, "it is of type int, and must be a dict or None."),
        ({"on": date(2026, 11, 22)}, "Object of type date is not JSON serializable."),
        ({"text": "a\0b"}, "it has text with NUL."),
    ],
)
def test_a_result_that_cannot_be_kept_says_why(result: object, why: str) -> None:
    with pytest.raises(BadResult) as refusal:
        as_json(result)
    assert str(refusal.value) == f"What the job returned cannot be kept: {why}"


def nested(depth: int) -> list[Any]:
    inside: list[Any] = []
    for _ in range(depth):
        inside = [inside]
    return inside
