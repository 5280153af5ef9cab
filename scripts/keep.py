"""Runs a program for ever: one that ends by itself is started again, one that is asked to end may finish first."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

LAUNCH = Path(__file__).with_name("launch.py")
PAUSE_S = 1.0
SHORT_LIFE_S = 10.0
SHORT_LIVES_ALLOWED = 5  # a program that can't even start is a mistake that somebody must see; a killed one could


class Keeper:
    """Keeps one program running; SIGTERM and SIGINT reach it once each, as SIGTERM.

    The program gets a session of its own: where a stop signal goes to a whole process group, as honcho and Heroku send
    it, it would come twice otherwise, and Celery takes the second one for impatience.
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._leaving = False
        self._program: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Keep the program until asked to leave; the exit status, which is the program's own if it can't start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        short_lives = 0
        while not self._leaving:
            began = time.monotonic()
            status = self._run_once()
            was_killed = status < 0
            short_lives = short_lives + 1 if time.monotonic() - began < SHORT_LIFE_S and not was_killed else 0
            if self._leaving:
                return 0
            if short_lives == SHORT_LIVES_ALLOWED:
                say(f"{self.command[0]} ended {short_lives} times soon after its start; the lines above say why.")
                return status or 1
            say(f"{self.command[0]} ended by itself (status {status}) and is started again.")
            time.sleep(PAUSE_S)
        return 0

    def _run_once(self) -> int:
        program = shutil.which(self.command[0]) or self.command[0]
        launched = [sys.executable, "-I", "-S", str(LAUNCH), "0", "0", str(int(signal.SIGKILL)), program]
        self._program = subprocess.Popen([*launched, *self.command[1:]], start_new_session=True)
        if self._leaving:  # the signal came while the program was being started
            self._program.terminate()
        return self._program.wait()

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._leaving = True
        if self._program and self._program.poll() is None:
            self._program.terminate()


def say(sentence: str) -> None:
    """Tell whoever reads the log."""
    os.write(sys.stderr.fileno(), f"{sentence}\n".encode())


if __name__ == "__main__":
    sys.exit(Keeper(sys.argv[1:]).run())
