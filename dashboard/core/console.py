"""Answer on the command line: a table for people, JSON for programs, and errors as a sentence with exit 1 or 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click
from flask import current_app
from flask.cli import AppGroup
from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy.exc import DataError, DBAPIError, OperationalError

from dashboard.core import formats
from dashboard.core.errors import InvalidInput, StationmasterError

Row = Mapping[str, Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


SURROGATES = "surrogates not allowed"
"""What Python says of an argument that is no UTF-8, when somebody encodes it."""


class WrongValue(click.ClickException):
    """A value that was given will not do: exit 2, as for a word that click does not know."""

    exit_code = 2


def read_line() -> str:
    """Return the line on the standard input: a secret must stand neither in the list of processes nor in a history."""
    return sys.stdin.readline().rstrip("\n")


@contextmanager
def told_errors() -> Iterator[None]:
    """Turn our errors into what click prints on stderr: a sentence, and no traceback."""
    try:
        yield
    except InvalidInput as error:
        raise WrongValue("\n".join(f"{name}: {message}" for name, message in error.errors.items())) from error
    except StationmasterError as error:
        raise click.ClickException(str(error)) from error
    except UnicodeError as error:
        if isinstance(error, UnicodeEncodeError) and error.reason != SURROGATES:
            raise
        raise WrongValue("This is no text in UTF-8.") from error
    except DBAPIError as error:
        told = _told(error)
        if told is None:
            raise
        raise told from error


def _told(error: DBAPIError) -> click.ClickException | None:
    """Return what to say of an error of the database, or None if nobody outside can do anything about it."""
    reason = str(error.orig or error).strip().splitlines()[-1]
    if isinstance(error, OperationalError):
        return click.ClickException(f"The database does not answer: {reason}")
    if isinstance(error, DataError):
        return WrongValue(f"The database does not take this: {reason}")
    if isinstance(error.orig, (UndefinedTable, UndefinedColumn)):
        return click.ClickException("The database has not the schema of this release. Run: flask db upgrade")
    return None


class CommandGroup(AppGroup):
    """A group of commands that act inside the app, and tell their errors in words."""

    def invoke(self, ctx: click.Context) -> Any:
        with told_errors():
            return super().invoke(ctx)


class LoneCommand(click.Command):
    """A command without a group that tells its errors in words."""

    def invoke(self, ctx: click.Context) -> Any:
        with told_errors():
            return super().invoke(ctx)


def print_rows(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Print rows, which all have the same keys, as a table with the keys as headings; `empty` is said of none."""
    if as_json:
        click.echo(json.dumps(list(rows), default=_plain, indent=2))
    elif not rows:
        click.echo(empty)
    else:
        headings = [name.replace("_", " ").upper() for name in rows[0]]
        _print_table([headings, *([_cell(value) for value in row.values()] for row in rows)])


def print_record(record: Row, *, as_json: bool) -> None:
    """Print one thing: a line per key."""
    if as_json:
        click.echo(json.dumps(record, default=_plain, indent=2))
    else:
        _print_table(
            [
                [(name if name.isupper() else name.replace("_", " ")) + ":", _cell(value)]
                for name, value in record.items()
            ]
        )


def print_done(sentence: str, record: Row, *, as_json: bool) -> None:
    """Say what was done, or print what it left behind."""
    if as_json:
        print_record(record, as_json=True)
    else:
        click.echo(sentence)


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    match value:
        case None | "":
            return formats.NOTHING
        case bool():
            return "yes" if value else "no"
        case datetime():
            zone = ZoneInfo(current_app.config.get("TIMEZONE", "UTC"))
            return f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
        case list() | tuple():
            return ", ".join(_cell(each) for each in value)
        case dict():
            return json.dumps(value, default=_plain)
        case _:
            return str(value).replace("\n", " ")


def _plain(value: object) -> str:
    """Write what JSON has no word for."""
    if isinstance(value, datetime):
        return formats.iso(value)
    if isinstance(value, (date, UUID)):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")
