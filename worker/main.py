"""The worker's and Flower's program, `celery -A worker.main …`; beat has one of its own, `worker.beat`."""

from __future__ import annotations

from worker.loading import without_garbage_collection

with without_garbage_collection():
    import worker.tasks  # noqa: F401 (registers the tasks)
    from config.roles import refuse_wall_passers
    from config.settings import Settings
    from dashboard.app import create_app
    from worker.app import create_celery

    _settings = Settings.from_env()
    refuse_wall_passers(_settings)
    flask_app = create_app(_settings)
    app = create_celery(flask_app)
