"""The tasks that workers know by name; importing this package registers them."""

from worker.tasks import runs as runs
