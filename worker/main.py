"""The worker's, beat's and Flower's program: `celery -A worker.main …`."""

from __future__ import annotations

import worker.tasks  # noqa: F401 (registers the tasks)
from dashboard.app import create_app
from worker.app import create_celery

flask_app = create_app()
app = create_celery(flask_app)
