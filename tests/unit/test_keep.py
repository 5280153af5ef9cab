"""A program that is kept running comes back when it dies, and ends when it is asked to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from scripts.embedded import ROOT
from scripts.keep import SHORT_LIVES_ALLOWED
from tests.servers import wait_until

RECORDS_ITS_LIFE = """
import os, signal, sys, time
lives = open(sys.argv[1], "a")
def note(word):
    lives.write(f"{word} {os.getpid()}\\n"); lives.flush()
ended = []
signal.signal(signal.SIGTERM, lambda *_: (note("asked"), ended.append(1)))
note("began")
while not ended: time.sleep(0.02)
time.sleep(0.5)
note("finished")
"""


@contextmanager
def kept(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    keeper = [sys.executable, "-m", "scripts.keep", sys.executable, *command]
    with subprocess.Popen(keeper, cwd=ROOT, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lives(file: Path, word: str) -> list[int]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


def test_a_killed_program_is_started_again(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    with kept("-c", RECORDS_ITS_LIFE, str(file)):
        assert wait_until(lambda: len(lives(file, "began")) == 1, timeout_s=60)
        os.kill(lives(file, "began")[0], signal.SIGKILL)
        assert wait_until(lambda: len(lives(file, "began")) == 2, timeout_s=60)


def test_a_program_that_is_killed_again_and_again_is_never_given_up(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    with kept("-c", RECORDS_ITS_LIFE, str(file)) as keeper:
        killed: set[int] = set()
        while len(killed) <= SHORT_LIVES_ALLOWED:
            assert wait_until(lambda: set(lives(file, "began")) > killed, timeout_s=60)
            killed.add(lives(file, "began")[-1])
            os.kill(lives(file, "began")[-1], signal.SIGKILL)
        assert wait_until(lambda: set(lives(file, "began")) > killed, timeout_s=60)
        assert keeper.poll() is None


def test_a_stop_signal_to_the_whole_group_comes_once_and_the_program_may_finish(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    with kept("-c", RECORDS_ITS_LIFE, str(file)) as keeper:
        assert wait_until(lambda: len(lives(file, "began")) == 1, timeout_s=60)
        os.killpg(keeper.pid, signal.SIGTERM)
        assert keeper.wait(60) == 0
    assert lives(file, "asked") == lives(file, "finished") == lives(file, "began")


def test_a_killed_keeper_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    with kept("-c", RECORDS_ITS_LIFE, str(file)) as keeper:
        assert wait_until(lambda: len(lives(file, "began")) == 1, timeout_s=60)
        keeper.kill()
        assert wait_until(lambda: not psutil.pid_exists(lives(file, "began")[0]), timeout_s=60)


def test_a_program_that_cannot_start_is_given_up_with_its_own_status() -> None:
    with kept("-c", "raise SystemExit(7)") as keeper:
        assert keeper.wait(120) == 7
