"""Show job types and their parameters in templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from flask import Flask
from markupsafe import Markup

from dashboard.jobs.params import redact, shown
from dashboard.jobs.registry import UnknownJobType, job_type
from dashboard.runs.models import Run

ADDRESS = re.compile(r"https?://\S+")


class HasParams(Protocol):
    """A run or a schedule."""

    job_type: str
    params: dict[str, Any]


def init_app(app: Flask) -> None:
    """Add the globals that the pages of runs and schedules use."""
    app.jinja_env.globals.update(
        job_label=job_label, shown_params=shown_params, shown_result=shown_result, run_detail=run_detail
    )


def job_label(key: str) -> str:
    """Return the job type's name, or its key if no plugin brings it any more."""
    try:
        return job_type(key).label
    except UnknownJobType:
        return key


def shown_params(of: HasParams) -> list[tuple[str, Any]]:
    """Return labels and values of the parameters, secrets hidden."""
    try:
        return list(shown(job_type(of.job_type).Params, of.params))
    except UnknownJobType:
        return list(_plain(redact(of.params)).items())


def shown_result(result: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return names and values of what a job returned: an address of the web as a link, what holds more as JSON."""
    return [(name, _shown_value(value)) for name, value in result.items()]


def _shown_value(value: Any) -> Any:
    match value:
        case bool():
            return "Yes" if value else "No"
        case str() if ADDRESS.fullmatch(value):
            return Markup('<a href="{0}" rel="noopener noreferrer">{0}</a>').format(value)
        case dict() | list():
            return Markup("<code>{}</code>").format(json.dumps(value, ensure_ascii=False))
        case _:
            return value


def run_detail(run: Run) -> Markup:
    """Return what the run's job type has to show of it beyond what every run has, such as its recipients."""
    try:
        return job_type(run.job_type).detail(run.id)
    except UnknownJobType:
        return Markup()


def _plain(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}
