"""Lets a storm blow over a fresh installation, and tells what it left: `scripts/chaos [--kills N] [--mail] …`."""

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
from tests.chaos.mail_storm import MailReport, MailStorm
from tests.chaos.site import installed
from tests.chaos.storm import Report, Storm


def environment() -> dict[str, str]:
    """Return settings with a short lease, so that what died is seen soon."""
    return {
        "SECRET_KEY": Fernet.generate_key().decode(),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "PLATFORM_ROOT": PLATFORM,
        "LOG_FORMAT": "console",
        "LEASE_SECONDS": "4",
        "HEARTBEAT_SECONDS": "1",
        "SOFT_SHUTDOWN_SECONDS": "2",
        "ALLOW_PRIVATE_NETWORKS": "1",  # the mail server listens at loopback
    }


def blow(options: argparse.Namespace) -> Report | MailReport:
    chance = random.Random(options.seed)
    with installed(environment()) as site, ExitStack() as stack:
        site.stack = stack
        if options.mail:
            return MailStorm(site, chance).blow(options.kills, options.minutes)
        return Storm(site, chance).blow(options.kills, options.runs, options.minutes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often something is killed (20)")
    parser.add_argument("--runs", type=int, default=400, help="how many runs are worked off (400)")
    parser.add_argument("--mail", action="store_true", help="kill only what sends mail, and count mails, not runs")
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill nothing more after so long (no limit)")
    parser.add_argument("--seed", type=int, default=1, help="decides who is killed and when (1)")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    report = blow(options)
    figures = asdict(report)
    sys.stdout.write("\n".join(f"{name:<18} {value}" for name, value in figures.items()) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures))
    sys.exit(0 if report.is_sound else 1)


if __name__ == "__main__":
    main()
