"""Let a program load its code without looking through it for garbage again and again: what is loaded stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Switch the collector of cycles off for a while, and let it pass over what was loaded meanwhile, for ever.

    It took a sixth of the start; and the children of a worker's pool share the memory that nobody looks through.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
