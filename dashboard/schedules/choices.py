"""Name the choices that a schedule's policies offer: what is stored, and what people read."""

from __future__ import annotations

CATCHUP_CHOICES = (
    ("latest", "Run the latest one once"),
    ("all", "Run each of them"),
    ("none", "Run none of them"),
)
OVERLAP_CHOICES = (
    ("skip", "Skip the new one"),
    ("queue_one", "Let one wait"),
    ("queue_all", "Let all of them wait, one after the other"),
    ("cancel_running", "Cancel the old one, then run"),
    ("allow", "Run both at once"),
)
GAP_CHOICES = (
    ("after", "Run at the first moment after the gap"),
    ("shift", "Run later by as much as the clock moved"),
    ("skip", "Do not run that day"),
)
TWICE_CHOICES = (
    ("first", "Run the first time"),
    ("second", "Run the second time"),
    ("both", "Run both times"),
)
BACKOFF_CHOICES = (
    ("exponential", "Twice as long each time"),
    ("fixed", "Always the same"),
)

WORDS = {
    "catchup": dict(CATCHUP_CHOICES),
    "overlap": dict(OVERLAP_CHOICES),
    "dst_gap": dict(GAP_CHOICES),
    "dst_overlap": dict(TWICE_CHOICES),
}
"""The same by the field of a schedule."""
