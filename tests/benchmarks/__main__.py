"""Measure us and our peers side by side: scripts/bench [SUITE …] [--json FILE] [--quick] [--alone] [--rounds N]."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import fairness, recurrence, scheduler, work
from tests.benchmarks.arena import Arena, Sizes, arena
from tests.benchmarks.rows import Row, table

SUITES: dict[str, Callable[[Arena], Iterator[Row]]] = {
    scheduler.SUITE: scheduler.measure,
    recurrence.SUITE: recurrence.measure,
    work.THROUGHPUT: work.throughput,
    work.LATENCY: work.latency,
    work.CONTEXT: work.context,
    fairness.SUITE: fairness.measure,
}


def main() -> None:
    """Run the suites, print the table, and write the rows."""
    options = _options()
    sizes = Sizes.quick() if options.quick else Sizes()
    sizes = replace(sizes, rounds=options.rounds or sizes.rounds, alone=options.alone)
    print(_machine())
    if options.quick:
        print("Tiny sizes: they show that everything works. The bars are for full sizes.")
    rows: list[Row] = []
    with arena(sizes) as place:
        for name in options.suites or SUITES:
            for row in SUITES[name](place):
                rows.append(row)
                print(table([row]), flush=True)
    if options.json:
        options.json.write_text(json.dumps([row.as_json() for row in rows], indent=2, ensure_ascii=False) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"one of {', '.join(SUITES)}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--alone", action="store_true", help="leave the peers out; nothing is installed")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often everybody competes; the median counts")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"There is no suite {', '.join(sorted(unknown))}. The suites are {', '.join(SUITES)}.")
    return options


def _machine() -> str:
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {load}"


if __name__ == "__main__":
    main()
