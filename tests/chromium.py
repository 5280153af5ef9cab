"""Finds the Chromium that browser tests drive; run as a program, installs Debian's where it is missing and may be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
SUITE = Path(__file__).parent / "browser"
MISSING = (
    "tests/browser did not run, because there is no Chromium here: "
    "install it (Debian and Ubuntu: apt install chromium) or set CHROMIUM=/path/to/it, then run scripts/test again."
)


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome: the one that CHROMIUM names, else the first one installed."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    return on_path or (str(MAC) if MAC.exists() else None)


def install_chromium() -> None:
    """Install Debian's Chromium; for root on a machine with apt."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", *command], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)


if __name__ == "__main__" and not find_chromium() and os.geteuid() == 0 and shutil.which("apt-get"):
    print("Installing Chromium for tests/browser", flush=True)
    try:
        install_chromium()
    except subprocess.CalledProcessError as error:
        print(f"apt could not install Chromium (exit {error.returncode})", file=sys.stderr)
