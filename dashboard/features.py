"""List what the features bring to runs: their tables, the tenants with their settings, and the job types."""

from __future__ import annotations

from flask import Flask

from config.settings import Settings
from dashboard.accounts import models as _accounts
from dashboard.audit import models as _audit
from dashboard.emails import models as _emails
from dashboard.emails.message import EmailMessage
from dashboard.jobs import registry as job_types
from dashboard.problems import models as _problems
from dashboard.runs import models as _runs
from dashboard.schedules import models as _schedules
from dashboard.tenants import models as _tenants
from dashboard.tenants import options, registry

MODELS = (_tenants, _accounts, _audit, _runs, _schedules, _emails, _problems)
"""Every module with tables, so that they are all known before the first query."""

DEMO_JOBS = "dashboard.demo.jobs"


def init_app(app: Flask, settings: Settings) -> None:
    """Let the app know tenants, and every job type."""
    options.init_app(app)
    registry.init_app(app, settings)
    job_types.register(EmailMessage)
    job_types.load_plugins((*settings.plugins, *([DEMO_JOBS] if settings.development else [])))
