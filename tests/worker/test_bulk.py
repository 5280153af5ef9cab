"""What is asked to be done to more runs than fit a transaction is done to the end by a real beat, also by two."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs import bulk
from dashboard.runs.models import BulkAction, Run
from dashboard.runs.selection import Selection
from tests.factories.ledger import load_of
from tests.factories.mailings import acting
from tests.factories.runs import make_run
from tests.processes import beat_process, wait_until

pytestmark = pytest.mark.xdist_group("bulk")

COUNT = 3 * bulk.BATCH + 7


def fail_many(app: Dashboard, tenant: Tenant) -> None:
    make_run(app, tenant, "failed")
    columns = "tenant_id, name, job_type, params, state, finished_at"
    copies = sa.text(
        f"INSERT INTO run (id, {columns}) SELECT gen_random_uuid(), {columns} FROM run, generate_series(2, {COUNT})"
    )
    with app.app_context(), system_scope("test") as session:
        session.execute(copies)


def bulk_of(app: Dashboard, bulk_id: UUID) -> BulkAction:
    with app.app_context(), system_scope("test") as session:
        return session.get_one(BulkAction, bulk_id)


@pytest.mark.parametrize("beats", [1, 2])
def test_beats_go_on_with_it_to_the_end_and_do_nothing_twice(
    app: Dashboard, environment: dict[str, str], acme: Tenant, beats: int
) -> None:
    fail_many(app, acme)
    with acting(app, acme):
        bulk_id = bulk.start("retry", Selection(states=frozenset({"failed"}))).id
    assert (bulk_of(app, bulk_id).done, bulk_of(app, bulk_id).finished_at) == (bulk.BATCH, None)
    with ExitStack() as stack:
        running = [stack.enter_context(beat_process(environment)) for _ in range(beats)]
        wait_until(
            lambda: bulk_of(app, bulk_id).finished_at is not None,
            explain=lambda: "\n".join(process.output() for process in running),
        )
    assert bulk_of(app, bulk_id).done == COUNT
    with app.app_context(), system_scope("test") as session:
        assert session.scalars(sa.select(Run.state).distinct()).all() == ["ready"]
    assert load_of(app, acme).ready == COUNT
