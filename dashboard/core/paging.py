"""Read the keyset cursors that lists put into addresses."""

from __future__ import annotations

from uuid import UUID


def cursor(text: str | None) -> UUID | None:
    """Return the id that `text` holds, or None: an address that was cut or made up opens the first page."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
