"""Python's collector of cycles, kept from walking over many small objects that all stay.

It would do so again and again, and find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects between two looks: some two thousand tensors, and what is measured of them.
_RARELY = 100_000


@contextmanager
def paused() -> Iterator[None]:
    """Pause the collector in this block; it may be paused already.

    >>> with paused(), paused():
    ...     gc.isenabled()
    False
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def settled() -> Iterator[None]:
    """Have the collector leave alone, in this block, what there is already, and look less often.

    Where somebody has frozen objects, they stay so, and nothing else is.
    """
    if gc.get_freeze_count():
        yield
        return
    often = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_RARELY, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()
