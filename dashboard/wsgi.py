"""The application that gunicorn and the `flask` command serve."""

from __future__ import annotations

import click

from config.settings import SettingsError
from dashboard.app import create_app

try:
    app = create_app()
except SettingsError as error:
    # The `flask` command tells it as a sentence, and gunicorn gives up; sys.exit would make it try for ever.
    raise click.ClickException(str(error)) from error
