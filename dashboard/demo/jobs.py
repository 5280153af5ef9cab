"""The batch jobs of the demo: they take their time, tell how far they are, and one of them fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import Result
from dashboard.jobs.registry import JobType

STEP = timedelta(milliseconds=400)


class SupplierAway(Exception):
    """The supplier's price server does not answer."""

    def __str__(self) -> str:
        return self.__doc__ or ""


class StockSync(JobType):
    """Pretends to compare the stock of each warehouse."""

    key = "demo.stock_sync"
    label = "Stock sync"
    description = "Compares the stock of each warehouse with the shop's."
    queue = "bulk"
    timeout = timedelta(minutes=5)
    idempotent = True

    class Params(BaseModel):
        """What to compare."""

        items: Annotated[int, Field(ge=1, le=5000, title="Items", description="How many items to compare.")] = 40
        full: Annotated[bool, Field(title="Full count", description="Compare also what has not changed.")] = False

    def run(self, ctx: RunContext, params: Params) -> Result:
        """Compare item by item."""
        ctx.log("info", f"Comparing {params.items} items for {ctx.tenant.name}.")
        for done in range(params.items):
            ctx.wait(STEP)
            ctx.progress(done + 1, params.items, f"item {done + 1}")
        ctx.log("info", "All items agree.")
        return {"compared": params.items, "differences": 0}


class PriceImport(JobType):
    """Pretends to fetch prices from a supplier who never answers."""

    key = "demo.price_import"
    label = "Supplier price import"
    description = "Fetches the prices of a supplier. In the demo the supplier never answers."
    queue = "bulk"
    timeout = timedelta(minutes=2)
    idempotent = True
    max_attempts = 2

    class Params(BaseModel):
        """From whom."""

        supplier: Annotated[str, Field(min_length=1, max_length=80, title="Supplier")] = "Initech"

    def run(self, ctx: RunContext, params: Params) -> Result:
        """Try, and fail."""
        ctx.log("info", f"Asking {params.supplier} for its prices.")
        ctx.wait(STEP)
        ctx.log("warning", "No answer after 400 ms.")
        raise SupplierAway
