"""The application that gunicorn and the `flask` command serve."""

from __future__ import annotations

from dashboard.app import create_app

app = create_app()
