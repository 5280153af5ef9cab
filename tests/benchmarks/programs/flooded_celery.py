"""Celery under a flood: one queue for all (`+one-queue`), or one for each tenant (`+queue-per-tenant`)."""

from __future__ import annotations

import json
import time
from uuid import uuid4

from celery import Celery

from tests.benchmarks.programs.celery_workshop import CeleryWorkshop, register
from tests.benchmarks.programs.contest import answer, asked
from tests.benchmarks.programs.flood_contest import FLOODS, NAP_SECONDS, SLOTS, Flooded

MODULE = "tests.benchmarks.programs.flooded_celery"
BATCH = 5000
SAMPLE = "sample"

app = Celery("bench", set_as_current=True)
app.conf.worker_prefetch_multiplier = 1  # the default of 4 holds the single job back still longer
register(app)


@app.task(name="nap")
def nap() -> None:
    """Take a second."""
    time.sleep(NAP_SECONDS)


class FloodedCelery(CeleryWorkshop, Flooded):
    """A worker of Celery's with four processes."""

    @property
    def queues(self) -> tuple[str, str]:
        """The queues of the two tenants."""
        return ("first", "second") if self.task.variant == "queue-per-tenant" else ("celery", "celery")

    def commands(self) -> list[list[str]]:
        queues = ",".join({"celery", *self.queues})
        worker = ["worker", "-P", "prefork", "-c", str(SLOTS), "-l", "WARNING", "-Q", queues]
        return [["-m", "celery", "-A", self.module, "-b", self.task.redis_url, *worker]]

    def flood(self, count: int, long: bool) -> None:
        """Publish one message by Celery into a queue that nobody serves, and copy it, each copy with ids of its own."""
        if long:
            self.tasks["nap"].apply_async(queue=SAMPLE)
        else:
            self.tasks["empty"].apply_async((False,), queue=SAMPLE)
        message = self.redis.rpop(SAMPLE).decode()
        headers, properties = (json.loads(message)[part] for part in ("headers", "properties"))
        for first in range(0, count, BATCH):
            copies = [
                message.replace(headers["id"], str(uuid4())).replace(properties["delivery_tag"], str(uuid4()))
                for _ in range(min(BATCH, count - first))
            ]
            self.redis.lpush(self.queues[0], *copies)

    def visit(self) -> float:
        self.tasks["note"].apply_async(queue=self.queues[1])
        return time.time()


def main_program() -> None:
    """Do the stage that the command line names and print the answer."""
    stage, task = asked()
    answer(FLOODS[stage](FloodedCelery(task, MODULE, app)))


if __name__ == "__main__":
    main_program()
