"""Which tests stay together when they run in parallel."""

from pathlib import Path

import pytest

from tests.scheduling import ROOT, group_of

HERE = Path(__file__).resolve()
MARKED = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("tests/*/**/test_*.py")
    if path != HERE and "mark.xdist_group" in path.read_text()
)


@pytest.mark.parametrize("module", MARKED)
def test_a_group_is_named_where_it_is_found(module: str) -> None:
    assert group_of(module)


def test_a_module_without_a_group_has_none() -> None:
    assert group_of(str(HERE.relative_to(ROOT))) == ""
