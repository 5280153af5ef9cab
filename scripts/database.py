"""Brings the database to the present schema and loads the demo, in one process because importing takes the longest."""

from flask.cli import FlaskGroup

from scripts.embedded import say


def main() -> None:
    """Run `flask db upgrade` and `flask demo`; SystemExit with the status of the one that fails, which says why."""
    say("Migrating the database")
    flask("db", "upgrade")
    say("Loading the demo")
    flask("demo")


def flask(*command: str) -> None:
    """Run a `flask` command of the dashboard, which tells what it cannot do in a sentence."""
    try:
        FlaskGroup().main(["--app", "dashboard.wsgi", *command], prog_name="flask")
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    main()
