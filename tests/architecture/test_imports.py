"""Every module can be imported first and alone, so no module depends on what another one happened to import."""

import subprocess
import sys

from tests.architecture.project import ROOT, SOURCES, module_name

# The libraries are loaded once; each module of ours is then imported in a child that has loaded nothing of ours.
IMPORTS_EACH_ALONE = """
import importlib, os, sys, traceback
import alembic, celery, flask_admin, flask_limiter, flask_migrate, flask_sqlalchemy, flask_wtf, psycopg, pydantic, redis
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit("not importable alone: " + ", ".join(failed) if failed else 0)
"""
# These are programs: importing them starts the application from the environment.
PROGRAMS = {"config.flower", "config.gunicorn", "dashboard.wsgi", "worker.main"}


def test_every_module_imports_alone() -> None:
    names = [name for name in map(module_name, SOURCES) if name not in PROGRAMS]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_EACH_ALONE, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
