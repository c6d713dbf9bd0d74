"""Reading files of other machines: what will be asked for is told, many windows at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager

from ftdiff.comparison.plan import Change
from ftdiff.comparison.threads import pool
from ftdiff.deltas.recipes import Replaced
from ftdiff.deltas.recipes.held import stored
from ftdiff.tensors import FileTensor, Source, nbytes

#: Windows of remote files that are waited for at a time.
AT_A_TIME = 12


@contextmanager
def reading(changes: Iterable[Change], executor: Executor | None) -> Iterator[Executor | None]:
    """Tell remote files what will be read of them, and lend more threads where there are any.

    Parameters
    ----------
    changes
        What is going to be measured.
    executor
        Where; None leaves it to this.
    """
    expected = spans(changes)
    for source, wanted in expected.items():
        source.expect(wanted)
    try:
        if executor is None and expected:
            with pool(AT_A_TIME) as threads:
                yield threads
        else:
            yield executor
    finally:
        for source in expected:
            source.expect(())


def spans(changes: Iterable[Change]) -> Mapping[Source, list[tuple[int, int]]]:
    """Return which bytes of remote files will be read, by file; the same bytes never are."""
    found: dict[Source, list[tuple[int, int]]] = defaultdict(list)
    for change in changes:
        recipe = change.recipe
        if isinstance(recipe, Replaced) and recipe.is_of(change.base):
            continue
        for tensor in stored((change.base, recipe)):
            if isinstance(tensor, FileTensor) and not tensor.source.is_local:
                found[tensor.source].append((tensor.offset, tensor.offset + nbytes(tensor)))
    return found
