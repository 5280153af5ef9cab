"""django-celery-beat on PostgreSQL: schedules are rows, read whole after every change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import django
import redis
from celery import Celery
from celery.beat import Service
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from django.utils.module_loading import import_string

from tests.benchmarks.programs.contest import Contestant, Task, compete

BATCH = 5000


class DjangoCeleryBeat(Contestant):
    """Each schedule is a PeriodicTask, every day."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        url = urlsplit(task.database_url)
        settings.configure(
            INSTALLED_APPS=["django_celery_beat"],
            USE_TZ=True,
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": url.path[1:],
                    "USER": url.username,
                    "PASSWORD": url.password,
                    "HOST": url.hostname,
                    "PORT": url.port,
                }
            },
        )
        django.setup()
        self.app = Celery("bench", broker=task.redis_url)
        self.app.conf.result_expires = None
        self.redis = redis.Redis.from_url(task.redis_url)

    def model(self, name: str) -> Any:
        return apps.get_model("django_celery_beat", name)

    def seed(self) -> None:
        call_command("migrate", verbosity=0)
        tasks = self.model("PeriodicTask")
        every = self.model("IntervalSchedule").objects.create(every=1, period="days")
        rows = (
            tasks(name=f"schedule {number}", task="noop", interval=every, last_run_at=timezone.now())
            for number in range(self.task.schedules)
        )
        tasks.objects.bulk_create(rows, batch_size=BATCH)

    def open(self) -> None:
        self.scheduler = import_string("django_celery_beat.schedulers.DatabaseScheduler")(app=self.app)

    def tick(self) -> None:
        self.scheduler.tick()

    def make_due(self) -> None:
        tasks = self.model("PeriodicTask").objects
        ids = list(tasks.order_by("id").values_list("id", flat=True)[: self.task.due])
        tasks.filter(id__in=ids).update(last_run_at=timezone.now() - timedelta(days=2))
        self.model("PeriodicTasks").update_changed()

    def dispatched(self) -> int:
        return int(self.redis.llen("celery"))

    def serve(self) -> None:
        scheduler = import_string("django_celery_beat.schedulers.DatabaseScheduler")
        Service(self.app, max_interval=1, scheduler_cls=scheduler).start()

    def edit(self, number: int) -> None:
        task = self.model("PeriodicTask").objects.get(name=f"schedule {number}")
        task.last_run_at = timezone.now() - timedelta(days=2)
        task.save()


if __name__ == "__main__":
    compete(DjangoCeleryBeat)
