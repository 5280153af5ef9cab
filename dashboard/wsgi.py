"""The application that gunicorn and the `flask` command serve."""

from __future__ import annotations

import click

import migrations
from config.settings import SettingsError
from dashboard.app import create_app
from dashboard.core.errors import StationmasterError

try:
    app = create_app()
except (SettingsError, StationmasterError) as error:  # the second: a plugin that cannot be found or used
    # The `flask` command tells it as a sentence, and gunicorn gives up; sys.exit would make it try for ever.
    raise click.ClickException(str(error)) from error

migrations.attach(app)
