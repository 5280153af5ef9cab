"""Every module can be imported first and alone, so no module depends on what another one happened to import."""

import subprocess
import sys

from tests.architecture.project import PACKAGES, ROOT, SOURCES, module_name

# A first child finds out which libraries all of ours need. They are loaded once; then each module of ours is imported
# in a child that has the libraries and nothing of ours.
IMPORTS_EACH_ALONE = """
import contextlib, importlib, os, sys, traceback

def in_child(work):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, work().encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write)
    with open(read) as answer:
        return answer.read(), os.waitpid(child, 0)[1]

def libraries():
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    return " ".join(name for name in sys.modules if name.partition(".")[0] not in ours)

def alone(name):
    importlib.import_module(name)
    return ""

ours, names = sys.argv[1].split(","), sys.argv[2:]
for library in in_child(libraries)[0].split():
    with contextlib.suppress(Exception):
        importlib.import_module(library)
failed = [name for name in names if in_child(lambda: alone(name))[1]]
sys.exit("not importable alone: " + ", ".join(failed) if failed else 0)
"""
# These are programs: importing them starts the application from the environment.
PROGRAMS = {"config.flower", "config.gunicorn", "dashboard.wsgi", "worker.main"}


def test_every_module_imports_alone() -> None:
    names = [name for name in map(module_name, SOURCES) if name not in PROGRAMS]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_EACH_ALONE, ",".join(PACKAGES), *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
