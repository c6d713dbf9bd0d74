"""What a probe answers: something of one tensor of n fine-tunes that adds up over its entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ftdiff.deltas.forms import Delta
from ftdiff.kernels import Stored
from ftdiff.tensors import Array


class Probe(Protocol):
    """Sums of one line, filled run by run."""

    @property
    def passes(self) -> int:
        """How many times the entries are read."""

    def of_changes(self, deltas: Mapping[int, Delta]) -> bool:
        """Take it from factors, by fine-tune; False where the entries are needed."""

    def of_stored(self, base: Stored, tuned: Sequence[Stored | None], own: Sequence[int]) -> bool:
        """Take a run of the first reading from stored bytes; False where entries are needed.

        Parameters
        ----------
        base, tuned
            A run of the base's entries, and of those of each fine-tune of `own`.
        own
            Which fine-tunes they are.
        """

    def of_entries(self, D: Array, own: Sequence[int], start: int, passing: int) -> None:
        """Add a run of entries.

        Parameters
        ----------
        D
            float64, finite: a row of entries for each fine-tune of `own`, from entry `start` on.
        own
            Which fine-tunes the rows are.
        passing
            Which reading this is, from 0.
        """

    def found(self) -> Mapping[str, Array]:
        """Return what was summed, by name; NaN where it means nothing."""
