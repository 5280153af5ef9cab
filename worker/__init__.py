"""The worker: Celery with the dashboard's application inside, and each task at its tenant's address."""
