"""`flask demo`: fill the dashboard with believable tenants."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

import click
from flask import current_app
from flask.cli import with_appcontext

from config.settings import Settings
from dashboard.core.console import LoneCommand, json_option, print_record
from dashboard.core.errors import Refused
from dashboard.demo import loading
from dashboard.demo.story import PASSWORD


@click.command("demo", cls=LoneCommand)
@click.option("--yes-really", is_flag=True, help="Do it outside development as well.")
@json_option
@with_appcontext
def demo(yes_really: bool, as_json: bool) -> None:
    """Load two tenants with people, schedules of all kinds and runs; again without harm."""
    settings = cast(Settings, current_app.extensions["settings"])
    if not settings.development and not yes_really:
        raise Refused(
            "The demo makes people whose password everybody knows, so it belongs in development (DEVELOPMENT=1)."
            " Add --yes-really to load it here all the same."
        )
    places = loading.load(current_app._get_current_object(), settings)  # type: ignore[attr-defined]
    if as_json:
        print_record({"tenants": [asdict(place) for place in places], "password": PASSWORD}, as_json=True)
        return
    for place in places:
        click.echo(f"{place.tenant:<20} {place.url:<32} sign in as {place.email}")
    click.echo(f"{'The platform':<20} {settings.platform_root:<32} sign in as pat@stationmaster.example")
    click.echo(f"The password of everybody in the demo is {PASSWORD}")
