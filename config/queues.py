"""Name the Celery queues and the task of runs, so that senders and workers agree."""

QUEUES = ("default", "email", "bulk")
DEFAULT_QUEUE = "default"

EXECUTE = "runs.execute"
"""The task whose messages are hints: PostgreSQL knows what is to be done."""
