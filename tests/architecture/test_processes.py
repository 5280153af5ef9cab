"""The processes of the design are in the Procfiles, in the order that honcho's ports need."""

import pytest
from honcho.environ import parse_procfile

from tests.architecture.project import ROOT

PRODUCTION = parse_procfile((ROOT / "Procfile").read_text()).processes
DEVELOPMENT = parse_procfile((ROOT / "Procfile.dev").read_text()).processes


def test_production_has_the_processes_of_the_design() -> None:
    assert list(PRODUCTION) == ["web", "worker", "beat", "release"]


def test_web_is_first_in_development_because_honcho_gives_it_port() -> None:
    assert next(iter(DEVELOPMENT)) == "web"


def test_development_has_no_release_line_because_honcho_ends_with_it() -> None:
    assert "release" not in DEVELOPMENT


def test_what_others_need_starts_last_and_is_ours_to_keep_until_then() -> None:
    assert list(DEVELOPMENT)[-2:] == ["postgres", "redis"]


@pytest.mark.parametrize("procfile", [PRODUCTION, DEVELOPMENT], ids=["Procfile", "Procfile.dev"])
def test_a_stopping_worker_gets_the_signal_that_lets_it_finish(procfile: dict[str, str]) -> None:
    assert "REMAP_SIGTERM=SIGQUIT" in procfile["worker"]
