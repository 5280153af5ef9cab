"""Says what a task that knows nothing of tenants must have seen, and waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.result import AsyncResult

from dashboard.core.tenancy import Tenant
from tests.worker import tasks_for_tests as probe

PLUGIN = "tests.worker.tasks_for_tests"
SECONDS = 60

Notes = Callable[..., list[dict[str, Any]]]


def expected(tenant: Tenant, root: int = 0) -> dict[str, Any]:
    """What `seen()` returns for a tenant at one of its roots."""
    at = tenant.roots[root]
    return {
        "tenant": tenant.slug,
        "link": f"{at.url}/runs/{probe.PAGE}",
        "path": f"{at.prefix}/runs/{probe.PAGE}",
        "root": f"{at.url}/",
        "sender": tenant.values["MAIL_SENDER"],
        "timezone": tenant.values["TIMEZONE"],
    }


def of_tenant(seen: dict[str, Any], tenant: Tenant, root: int = 0) -> bool:
    return expected(tenant, root).items() <= seen.items()


def got(result: AsyncResult[Any]) -> Any:
    return result.get(timeout=SECONDS)
