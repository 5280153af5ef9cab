"""Go on with what operators asked to be done to many runs, batch by batch, beside beat's other work."""

from __future__ import annotations

from dashboard.core.orm import system_scope
from dashboard.runs.bulk import advance

LOOK_SECONDS = 1.0


class BulkWork:
    """Its steps are made in a thread of beat's own; several beats share the work, each with a bulk action at a time."""

    def step(self) -> float:
        """Do one batch; return how many seconds to wait until the next look."""
        with system_scope("bulk action") as session:
            return 0.0 if advance(session) else LOOK_SECONDS
