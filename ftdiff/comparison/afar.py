"""Reading files of other machines: what will be asked for is told, many windows at a time."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from ftdiff.comparison.threads import pool
from ftdiff.deltas.recipes import Replaced
from ftdiff.deltas.recipes.held import stored
from ftdiff.tensors import FileTensor, Source, nbytes

#: Windows of remote files that are waited for at a time.
AT_A_TIME = 12
#: What is imported when the first remote file is opened.
_REMOTE = "ftdiff.formats.remote.ranges"
#: Files that were told already what will be read of them.
_TOLD: set[Source] = set()


@contextmanager
def reading(things: Iterable[Any], executor: Executor | None) -> Iterator[Executor | None]:
    """Tell remote files what will be read of them, and lend more threads where there are any.

    Inside another such block, files that were told there are left alone.

    Parameters
    ----------
    things
        What is going to be measured: changes, and whatever holds them or lazy tensors; what is read
        in part says itself of what (`far_spans`).
    executor
        Where; None leaves it to this.
    """
    if _REMOTE not in sys.modules:
        yield executor
        return
    expected = {file: wanted for file, wanted in spans(things).items() if file not in _TOLD}
    for source, wanted in expected.items():
        source.expect(wanted)
    _TOLD.update(expected)
    try:
        if executor is None and expected:
            with pool(AT_A_TIME) as threads:
                yield threads
        else:
            yield executor
    finally:
        _TOLD.difference_update(expected)
        for source in expected:
            source.expect(())


def spans(things: Iterable[Any]) -> Mapping[Source, list[tuple[int, int]]]:
    """Return which bytes of remote files will be read, by file; the same bytes never are."""
    found: dict[Source, list[tuple[int, int]]] = defaultdict(list)
    for thing in things:
        if hasattr(thing, "far_spans"):
            for source, span in thing.far_spans():
                found[source].append(span)
            continue
        recipe, base = getattr(thing, "recipe", None), getattr(thing, "base", None)
        if isinstance(recipe, Replaced) and recipe.is_of(base):
            continue
        for tensor in stored(thing):
            if isinstance(tensor, FileTensor) and not tensor.source.is_local:
                found[tensor.source].append((tensor.offset, tensor.offset + nbytes(tensor)))
    return found
