"""`Drift`: how far states, predictions and outputs of matrices lie apart, each with its floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ftdiff.analyses import judgement
from ftdiff.analyses.drift.tally import NUMBERS
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import records
from ftdiff.errors import BadCall
from ftdiff.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


_ALL_NUMBERS = (*NUMBERS, *(f"usual_{name}" for name in NUMBERS))
#: Columns of the frame, each number with its floor.
STATES: Mapping[str, str] = {
    "site": "string", "stack": "string", "layer": "Int64", "position": "string",
    **dict.fromkeys(("texts", "tokens", "massive"), "Int64"),
    **{name: "Float64" for n in _ALL_NUMBERS for name in (n, f"{n}_floor")},
}  # fmt: skip
OUTPUTS: Mapping[str, str] = {
    "text": "Int64", "tokens": "Int64",
    **dict.fromkeys(
        ("loss_base", "loss_tuned", "loss_change", "loss_change_floor", "kl", "kl_floor", "flips",
         "flips_floor"), "Float64",
    ),
}  # fmt: skip
TENSORS: Mapping[str, str] = {
    "tensor": "string", "stack": "string", "layer": "Int64", "component": "string",
    **dict.fromkeys(
        ("moved_sq", "output_sq", "output_change", "output_change_floor", "relative_norm"),
        "Float64",
    ),
    "output_rank": "Int64", "norm_rank": "Int64",
}  # fmt: skip
_FRAMES = {"states": STATES, "outputs": OUTPUTS, "tensors": TENSORS}


@dataclass(frozen=True, eq=False)
class Drift(SavedResult):
    """How far a fine-tune lies apart from its base on a text.

    Attributes
    ----------
    frame
        A row per site ("block", "attn", "mlp"), layer and position: `relative_change` ‖h₁ − h₀‖ /
        ‖h₀‖ over its tokens, `cosine_distance` (mean 1 − cos), `cka` (linear, unbiased, one vector
        a text), and the same as `usual_…` without massive tokens; beside each number its `_floor`:
        the base against itself in the dtype of the forward pass.
    outputs
        A row per text: losses, KL(tuned‖base) in nats, the share of tokens whose first choice
        flips; means over its tokens. Empty for a model without a head.
    tensors
        A row per matrix that moves: `moved_sq` Σ‖ΔW·x‖² and `output_sq` Σ‖W·x‖², the root of
        their ratio, `relative_norm` ‖ΔW‖/‖W‖, and the rank of each, the largest first.
    about
        Text with its hash and counts, seed, device, dtype, how alike halves of the texts rank the
        matrices, versions, sources, notes.
    """

    form: ClassVar = storage.Form("drift")

    frame: pd.DataFrame
    outputs: pd.DataFrame
    tensors: pd.DataFrame
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_rows(
        cls,
        states: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any]],
        tensors: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> Drift:
        """Make one of a record for each cell, text and matrix."""
        return cls(
            judgement.typed(states, STATES),
            judgement.typed(outputs, OUTPUTS),
            judgement.typed(tensors, TENSORS),
            dict(about),
        )

    @cached_property
    def overall(self) -> dict[str, float]:
        """Means over all tokens of what `outputs` holds; empty for a model without a head."""
        if self.outputs.empty:
            return {}
        weight = self.outputs["tokens"].to_numpy(float)
        names = [name for name in OUTPUTS if name not in ("text", "tokens")]
        return {
            name: float(np.average(self.outputs[name].to_numpy(float), weights=weight))
            for name in names
        }

    def table(self, number: str = "relative_change", *, stack: str | None = None) -> pd.DataFrame:
        """Return layers × positions of one number, of what layers hand on.

        Raises
        ------
        UnknownName
            There is no such number or stack.
        """
        rows = self._of_stack(number, stack)
        return _wide(rows[rows["site"] == "block"], "position", number)

    def parts(self, number: str = "relative_change", *, stack: str | None = None) -> pd.DataFrame:
        """Return layers × (attn, mlp) of one number, of what they add.

        Raises
        ------
        UnknownName
            There is no such number or stack.
        BadCall
            No attention and no MLP is found in the model.
        """
        rows = self._of_stack(number, stack)
        rows = rows[rows["site"] != "block"]
        if rows.empty:
            raise BadCall("no attention and no MLP is found in this model")
        return _wide(rows, "site", number)

    def _of_stack(self, number: str, stack: str | None) -> pd.DataFrame:
        numbers = [name for name, kind in STATES.items() if kind == "Float64"]
        Registry("number", dict.fromkeys(numbers))[number]
        stacks = [*dict.fromkeys(self.frame["stack"])]
        chosen = stacks[0] if stack is None else stack
        Registry("stack", dict.fromkeys(stacks))[chosen]
        return self.frame[self.frame["stack"] == chosen]

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        held = (self.frame, self.outputs, self.tensors)
        frames = {name: records(frame) for name, frame in zip(_FRAMES, held, strict=True)}
        return {"about": self.about, **frames}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Drift:
        """Return the result that a document holds."""
        about = stored["about"]
        if not isinstance(about["base"], str) or not isinstance(about["text"]["texts"], int):
            raise TypeError("about")
        if not isinstance(about["halves"], float | int | None):
            raise TypeError("halves")
        if not isinstance(about["tuned"], str) or not isinstance(about["notes"], list):
            raise TypeError("about")
        if not all(isinstance(about.get(name, {}), dict) for name in ("sources", "versions")):
            raise TypeError("sources")
        states, outputs, tensors = (
            judgement.frame_of(stored[name], kinds) for name, kinds in _FRAMES.items()
        )
        if states.empty or states[["site", "layer", "position"]].isna().any(axis=None):
            raise ValueError("states")
        return cls(states, outputs, tensors, about)

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what is to be said, and layer by layer."""
        shown = self.frame[(self.frame["site"] == "block") & (self.frame["position"] == "all")]
        said = [one.message for one in self.findings()]
        kept = ["layer", *(name for n in NUMBERS for name in (n, f"{n}_floor"))]
        return notebook.shown(repr(self), said, records(shown[kept]))

    def __repr__(self) -> str:
        layers = self.frame["layer"].nunique()
        return f"Drift({layers} layers, {self.about['text']['texts']} texts)"


def _wide(rows: pd.DataFrame, columns: str, number: str) -> pd.DataFrame:
    order = [*dict.fromkeys(rows[columns])]
    wide = rows.pivot(index="layer", columns=columns, values=number)[order].astype(float)
    wide.index, wide.columns.name = wide.index.astype(int), None
    return wide
