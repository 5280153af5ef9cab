"""Install each contestant, pinned, in an environment of its own under var/bench: peers and us as one deploys them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / "var" / "bench"
LOCKS = ROOT / "requirements" / "peers"
OURS = "stationmaster"
OUR_LOCK = ROOT / "requirements" / "base.txt"
"""What we deploy: the tools of development would be loaded, too, where a library finds them."""

UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer's Python, or why there is none."""

    name: str
    python: Path
    problem: str = ""


@cache
def installed(name: str) -> Peer:
    """Return the peer whose versions requirements/peers/<name>.txt pins, installed now unless it was before; or us."""
    lock, folder = OUR_LOCK if name == OURS else LOCKS / f"{name}.txt", ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "lock"
    if stamp.exists() and stamp.read_text() == lock.read_text():
        return Peer(name=name, python=python)
    commands = [
        [str(UV), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [str(UV), "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return Peer(name=name, python=python, problem=f"not installed: {_last_line(done.stderr)}")
    stamp.write_text(lock.read_text())
    return Peer(name=name, python=python)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
