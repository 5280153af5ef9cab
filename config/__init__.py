"""Settings and the configuration of Celery, logging and gunicorn derived from them."""
