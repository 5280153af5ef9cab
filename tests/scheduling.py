"""Keeps the tests of a group in one xdist worker, one after the other."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
GROUP = re.compile(r"^pytestmark = .*xdist_group\(\"(.+?)\"\)", re.MULTILINE)


class GroupScheduling(LoadScopeScheduling):
    """Takes tests singly, but those of modules whose `pytestmark` names the same group together.

    xdist 3.8's --dist=loadgroup appends the group to an attribute of the test that pytest 9.2 does not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0]) or nodeid


@cache
def group_of(module: str) -> str:
    """Return the group that a test module, a path from the project's folder, names; empty if none."""
    found = GROUP.search((ROOT / module).read_text())
    return found[1] if found else ""
