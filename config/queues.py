"""Name the Celery queues, so that senders and workers agree."""

QUEUES = ("default", "email", "bulk")
DEFAULT_QUEUE = "default"
