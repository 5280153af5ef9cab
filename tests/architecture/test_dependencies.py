"""Production installs what the code imports, and nothing that nobody asked for."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

from tests.architecture.project import PACKAGES, ROOT, SOURCES, tree

MIGRATIONS = ROOT / "migrations"
BASE = {
    re.sub(r"\[.*|[<>=;].*", "", line).strip().lower()
    for line in (ROOT / "requirements" / "base.in").read_text().splitlines()
    if line.strip() and not line.startswith("#")
}
# What these bring along is theirs to promise: Flask its own parts, Flask-Migrate Alembic, and so on.
BROUGHT_ALONG = {
    "alembic": "flask-migrate",
    "annotated-types": "pydantic",
    "billiard": "celery",
    "click": "flask",
    "itsdangerous": "flask",
    "jinja2": "flask",
    "kombu": "celery",
    "markupsafe": "flask",
    "pydantic-core": "pydantic",
    "tornado": "flower",
    "werkzeug": "flask",
    "wtforms": "flask-wtf",
}
# Needed without an import: programs, a driver's data, and what is loaded by name.
WITHOUT_IMPORT = {"cryptography", "gevent", "gunicorn", "holidays", "honcho", "python-dotenv", "sentry-sdk", "tzdata"}


def imported() -> set[str]:
    """The distributions that config, dashboard, worker and migrations import."""
    names: set[str] = set()
    for path in (*SOURCES, *MIGRATIONS.rglob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    known = packages_distributions()
    foreign = names - {*PACKAGES, MIGRATIONS.name} - sys.stdlib_module_names - {"_typeshed"}
    return {known[name][0].lower().replace("_", "-") for name in foreign}


def test_everything_imported_is_asked_for() -> None:
    assert {BROUGHT_ALONG.get(name, name) for name in imported()} <= BASE


def test_everything_asked_for_is_used() -> None:
    assert BASE - imported() <= WITHOUT_IMPORT
