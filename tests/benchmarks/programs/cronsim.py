"""cronsim, whose grammar we use, with its own search."""

from __future__ import annotations

from cronsim import CronSim

from tests.benchmarks.programs.cron_contest import compete

if __name__ == "__main__":
    compete(CronSim)
