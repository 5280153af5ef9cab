"""How gunicorn serves the dashboard; WEB_CONCURRENCY, which gunicorn reads itself, says in how many processes."""

from config.settings import Settings

_settings = Settings.from_env()

bind = f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
threads = 8
graceful_timeout = 10
accesslog = None
# Another door into the process that nobody here uses.
control_socket_disable = True
