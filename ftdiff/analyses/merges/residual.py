"""What is left of a merged model beside its merge: a diff of its own, against the replay."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.analyses.merges.models import Models
from ftdiff.analyses.merges.replays import Setting
from ftdiff.analyses.merges.sides import PART
from ftdiff.analyses.merges.ways import WAYS, Given
from ftdiff.analyses.pairwise import Line
from ftdiff.comparison import engine
from ftdiff.comparison.result import Diff
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import BadCall
from ftdiff.formats import Checkpoint
from ftdiff.tensors import DTYPES, Array, LazyTensor, read_rows


@dataclass(frozen=True)
class Replay:
    """A merged tensor as its merge would have left it; made window by window when it is read.

    Attributes
    ----------
    sides
        The base, if there is one, and the parents.
    setting, way
        The weights, and the name of the arithmetic.
    dtype
        That of the merged file.
    """

    sides: tuple[LazyTensor, ...]
    setting: Setting
    way: str
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all of them."""
        return self.sides[0].shape

    @property
    def storage(self) -> Hashable:
        """None: it is stored nowhere."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return read_rows(self, rows)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend entries that are made now."""
        made = np.empty(max(stop - start, 0), DTYPES[self.dtype])
        wide = np.float64 if self.dtype == "F64" else np.float32
        with ExitStack() as lent, np.errstate(all="ignore"):
            sides = [lent.enter_context(side.window(start, stop)) for side in self.sides]
            for at in range(0, len(made), PART):
                part = slice(at, at + PART)
                made[part] = self._made([side[part].astype(wide) for side in sides])
        yield made

    def _made(self, sides: list[Array]) -> Array:
        first, *others = sides
        base = first if self.setting.with_base and not self.setting.alone else None
        parents = others if self.setting.with_base else sides
        return WAYS[self.way].stored(Given(base, parents, self.setting.weights, self.dtype))


def residual(
    models: Models, rows: Mapping[str, Mapping[str, Any]], said: str, **options: Any
) -> Diff:
    """Compare a merged model with what its merge alone would be.

    Parameters
    ----------
    models
        As they were when it was judged.
    rows
        By tensor, what was found of it.
    said
        What the merge is called: the source of the base.
    **options
        As for `ftdiff.compare`.

    Raises
    ------
    BadCall
        No tensor was replayed.
    """
    made: dict[str, LazyTensor] = {}
    for line in models.lineup.lines:
        row = rows.get(line.address.name, {})
        replay = _replay(line, row, models.with_base)
        if replay is not None:
            made[line.address.name] = replay
    if not made:
        raise BadCall("nothing was replayed: there is no residual")
    config = models.lineup.opened.config if models.lineup.opened is not None else {}
    return engine.compare(Checkpoint(made, said, "memory", config), models.merged, **options)


def _replay(line: Line, row: Mapping[str, Any], with_base: bool) -> LazyTensor | None:
    """Return a tensor of the merge; the first side where nobody moves it, or nobody but M."""
    if line.base is None:
        return None
    if row.get("status") in ("still", "apart"):
        return line.base
    way, weights = row.get("way"), row.get("weights")
    merged, *parents = line.recipes
    if not isinstance(way, str) or weights is None or not isinstance(merged, Replaced):
        return None
    sides = [line.base, *(one.tensor for one in parents if isinstance(one, Replaced))]
    t = row.get("t")
    alone = t is not None and bool(np.isfinite(t))
    return Replay(tuple(sides), Setting(tuple(weights), with_base, alone), way, merged.tensor.dtype)
