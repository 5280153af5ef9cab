"""Configure Flower, which runs this file: on loopback, under /flower/, behind the dashboard's own gateway."""

from __future__ import annotations

from typing import Any

from flower.inspector import Inspector

from config.settings import Settings, SettingsError

HIDDEN = "hidden"

_settings = Settings.from_env()
if _settings.flower_basic_auth is None:
    raise SettingsError(["FLOWER_BASIC_AUTH: is not set; Flower and its gateway share it, like user:password"])

# 9 connections to the broker instead of 23; with a small broker_pool_limit Flower deadlocks without it.
Inspector.max_concurrency = 1

address = "127.0.0.1"
url_prefix = "flower"
basic_auth = [_settings.flower_basic_auth.get_secret_value()]
enable_events = _settings.celery_events
max_tasks = 5_000
purge_offline_workers = 3_600
tasks_columns = "name,uuid,state,received,started,runtime,worker"


def format_task(task: Any) -> Any:
    """Hide what a plugin's own tasks were given and returned; ours carry only the ids of runs."""
    task.args = task.kwargs = task.result = HIDDEN
    return task
