"""How gunicorn serves the dashboard; WEB_CONCURRENCY, which gunicorn reads itself, says in how many processes."""

from config.roles import refuse_wall_passers
from config.settings import Settings

_settings = Settings.from_env()

bind = f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
threads = 8
graceful_timeout = 10
accesslog = None
# Another door into the process that nobody here uses.
control_socket_disable = True


def on_starting(_server: object) -> None:
    """Look at the database roles once, before there are processes to serve."""
    refuse_wall_passers(_settings)
