"""The recurrence engine's suite: how fast it finds fires, previews, and refuses what was made to be slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.arena import Arena
from tests.benchmarks.peers import ROOT, installed
from tests.benchmarks.programs.contest import ANSWER
from tests.benchmarks.rows import Case, Row

SUITE = "recurrence"
OURS = "engine"
PEERS = ("croniter", "cronsim")
NEXTS = 5000
CASES = {
    "per_second": Case(name="next fire, common expressions", unit="per second", better="higher", bar=20_000),
    "preview_ms": Case(name="preview of the next 10", unit="ms CPU", better="lower", bar=2),
    "worst_ms": Case(name="the worst of 12 crafted expressions", unit="ms CPU", better="lower", bar=50),
}


def measure(arena: Arena) -> Iterator[Row]:
    """Let all engines compete in turn, round after round, and return the rows of medians."""
    figures: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in (OURS, *PEERS)}
    problems = {name: arena.why_not(name) for name in PEERS}
    for _ in range(arena.sizes.rounds):
        for name in (OURS, *PEERS):
            if not problems.get(name):
                _compete(name, min(NEXTS, arena.sizes.schedules), figures[name])
    for key, case in CASES.items():
        yield case.row(SUITE, figures[OURS][key], {name: problems[name] or figures[name][key] for name in PEERS})


def _compete(name: str, nexts: int, figures: dict[str, list[float]]) -> None:
    python = Path(sys.executable) if name == OURS else installed(name).python
    done = subprocess.run(
        [python, "-m", f"tests.benchmarks.programs.{name}", str(nexts)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for key, value in json.loads(done.stdout.strip().removeprefix(ANSWER)).items():
        figures[key].append(value)
