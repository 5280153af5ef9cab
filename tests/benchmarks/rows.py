"""What a benchmark answers: one row for each case, with our figure, the peers', and the bar."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Value = float | str
"""A figure, or the sentence why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured; `bar` is the figure to reach, or None where beating every peer is the aim."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    bar: float | None = None

    def row(self, suite: str, ours: Sequence[float], peers: Mapping[str, Sequence[float] | str]) -> Row:
        """Return the row of medians. A peer without a figure has the reason in its place."""
        return Row(
            suite=suite,
            case=self,
            ours=statistics.median(ours),
            peers={name: _median(values) for name, values in peers.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The answer to one case."""

    suite: str
    case: Case
    ours: float
    peers: Mapping[str, Value]

    @property
    def best_peer(self) -> float | None:
        figures = [value for value in self.peers.values() if not isinstance(value, str)]
        if not figures:
            return None
        return min(figures) if self.case.better == "lower" else max(figures)

    @property
    def ok(self) -> bool:
        """Whether the bar is reached; without one, whether no peer is better."""
        mark = self.best_peer if self.case.bar is None else self.case.bar
        if mark is None:
            return True
        return self.ours <= mark if self.case.better == "lower" else self.ours >= mark

    def as_json(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "case": self.case.name,
            "unit": self.case.unit,
            "ours": rounded(self.ours),
            "peers": {name: value if isinstance(value, str) else rounded(value) for name, value in self.peers.items()},
            "bar": self.case.bar,
            "ok": self.ok,
        }


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table for people."""
    lines = []
    for row in rows:
        sign = "≤" if row.case.better == "lower" else "≥"
        bar = f" (bar {sign} {row.case.bar:g})" if row.case.bar is not None else ""
        lines.append(f"{'ok ' if row.ok else 'NOT'} {row.suite}: {row.case.name}, {row.case.unit}{bar}")
        lines.append(f"      {'ours':22s} {shown(row.ours)}")
        lines += [f"      {name:22s} {shown(value)}{_ratio(row, value)}" for name, value in row.peers.items()]
    return "\n".join(lines)


def shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{rounded(value):>12,}"


def rounded(value: float) -> float:
    """Return three figures that count."""
    return float(f"{value:.3g}") if abs(value) < 100 else round(value)


def _ratio(row: Row, value: Value) -> str:
    if isinstance(value, str) or value <= 0 or row.ours <= 0:
        return ""
    times = value / row.ours if row.case.better == "lower" else row.ours / value
    return f"   ours is {times:,.1f} × as good"


def _median(values: Sequence[float] | str) -> Value:
    if isinstance(values, str):
        return values
    return statistics.median(values) if values else "no figure"
