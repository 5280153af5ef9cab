"""Lets a storm blow over a fresh installation, and tells what it left: `scripts/chaos [--kills N] [--runs N]`."""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from cryptography.fernet import Fernet

from tests.application import PLATFORM
from tests.chaos.site import installed
from tests.chaos.storm import Report, Storm


def environment() -> dict[str, str]:
    """Return settings with a short lease, so that what died is seen soon."""
    return {
        "SECRET_KEY": Fernet.generate_key().decode(),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "PLATFORM_ROOT": PLATFORM,
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "console",
        "LEASE_SECONDS": "4",
        "HEARTBEAT_SECONDS": "1",
        "SOFT_SHUTDOWN_SECONDS": "2",
    }


def blow(kills: int, runs: int, minutes: float, seed: int) -> Report:
    with installed(environment()) as site, ExitStack() as stack:
        site.stack = stack
        return Storm(site, random.Random(seed)).blow(kills, runs, minutes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often something is killed (20)")
    parser.add_argument("--runs", type=int, default=400, help="how many runs are worked off (400)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill nothing more after so long (no limit)")
    parser.add_argument("--seed", type=int, default=1, help="decides who is killed and when (1)")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    report = asdict(blow(options.kills, options.runs, options.minutes, options.seed))
    sys.stdout.write("\n".join(f"{name:<18} {value}" for name, value in report.items()) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report))
    sys.exit(1 if report["lost"] or report["completed_twice"] or report["counter_drift"] else 0)


if __name__ == "__main__":
    main()
