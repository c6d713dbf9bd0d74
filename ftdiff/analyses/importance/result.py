"""`Importance`: a diff with what each tensor is worth on a text, and what its layers are worth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdiff.analyses.finding import Finding, speaks_for
from ftdiff.analyses.finding import findings as spoken
from ftdiff.analyses.importance.overlap import Overlap, overlap
from ftdiff.comparison.notebook_html import shown
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, unknown

if TYPE_CHECKING:
    import pandas as pd

#: Columns that tell parts apart, and their types.
PLACE: Mapping[str, str] = {"stack": "string", "layer": "Int64", "component": "string"}
#: What is said of each number, and its type.
NUMBERS: Mapping[str, str] = dict.fromkeys(("value", "low", "high", "p"), "Float64")
#: Numbers of which the smaller is worth more: changes of loss.
_LOWER = ("path", "slope")


@dataclass(frozen=True, eq=False)
class Importance:
    """What a base, and the change of a fine-tune, are worth on a text.

    Attributes
    ----------
    diff
        A row per tensor, with `saliency`, `saliency_mean`, and where there is a fine-tune `slope`,
        `slope_abs`, `path` and `path_share` beside what moved; `about["importance"]` holds the
        losses, the text, how it was measured, and what `frame` is made of.
    """

    diff: Diff

    def __post_init__(self) -> None:
        if not isinstance(self.diff.about.get("importance"), dict):
            raise BadCall("this diff was not measured on a text: see ftdiff importance")

    @property
    def about(self) -> dict[str, Any]:
        """Losses, text, nodes, gap, seed, device, dtype, versions, notes."""
        found: dict[str, Any] = self.diff.about["importance"]
        return found

    @property
    def losses(self) -> tuple[float, float | None]:
        """Mean losses over all tokens: of the base, and of the fine-tune if there is one."""
        return self.about["loss"]["base"], self.about["loss"].get("tuned")

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per part and measure: `stack, layer, component, measure, value, low, high, p`.

        Parts are layers (component missing), what is in no layer (layer missing), and where they
        were asked for components. Measures are those of `ablation.MEASURES`, and "gate".
        """
        import pandas as pd

        kinds = {**PLACE, "measure": "string", **NUMBERS}
        rows = [{name: row.get(name) for name in kinds} for row in self.about.get("parts", ())]
        return pd.DataFrame(rows, columns=[*kinds]).astype(dict(kinds))

    @property
    def layers(self) -> pd.DataFrame:
        """A row per layer, and one for what is in none; see `wide`."""
        return self.wide(components=False)

    @property
    def components(self) -> pd.DataFrame:
        """A row per layer and component, where these were measured; see `wide`."""
        return self.wide(components=True)

    def wide(self, *, components: bool) -> pd.DataFrame:
        """Return a row per part: for each measure its value, `_low`, `_high` and `_p`.

        Beside them what the diff has of the same tensors: `saliency`, `slope`, `path`,
        `path_share`, `relative_norm` and `energy_share`; of a base alone its `saliency`.
        """
        long = self.frame
        long = long[long["component"].notna() == components]
        keys = [*PLACE] if components else ["stack", "layer"]
        whole = self.diff.frame.assign(stack=self.diff.frame["stack"].where(_placed(self.diff), ""))
        names = [name for name in _OF_TENSORS if name in self.diff.columns]
        if self.losses[1] is None:  # the base beside itself has not moved
            names = [name for name in names if name == "saliency"]
        found = Diff(whole, self.diff.about).by(*keys, metrics=names)[[*keys, *names]]
        for measure in dict.fromkeys(long["measure"]):
            rows = long[long["measure"] == measure]
            named = {n: measure if n == "value" else f"{measure}_{n}" for n in NUMBERS}
            rows = rows[[*keys, *NUMBERS]].rename(columns=named)
            rows = rows.dropna(axis=1, how="all") if measure == "gate" else rows
            found = found.merge(rows, on=keys, how="left")
        return found

    def overlap(self, other: Importance, column: str = "path", *, share: float = 0.25) -> Overlap:
        """Say how far two agree on what is worth most.

        Parameters
        ----------
        other
            Of another text, another fine-tune.
        column
            A column of `layers`: "path", "revert", "saliency", …
        share
            Which share of the parts is the top.

        Raises
        ------
        UnknownName
            One of them has no such column.
        BadCall
            They have no parts in common, or one of them ranks nothing: all its parts are alike.
        """
        return overlap(self._ranked(column), other._ranked(column), share=share)

    def _ranked(self, column: str) -> dict[Hashable, float]:
        """Return a number for each layer that is the larger the more the layer is worth."""
        layers = self.layers
        numbers = [str(name) for name in layers if name not in PLACE]
        if column not in numbers:
            raise unknown("column", column, numbers)
        sign = -1.0 if column in _LOWER else 1.0
        keys = zip(layers["stack"], layers["layer"], strict=True)
        return {
            tuple(key): sign * float(value)
            for key, value in zip(keys, layers[column].astype(float), strict=True)
            if not math.isnan(value)
        }

    def findings(self) -> list[Finding]:
        """Say what it shows: a call of `ftdiff.findings`."""
        import ftdiff

        return [*ftdiff.findings(self)]

    def save(self, path: str | Path) -> Path:
        """Write the diff, and all that belongs to it: see `Diff.save`."""
        return self.diff.save(path)

    @classmethod
    def load(cls, path: str | Path) -> Importance:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved diff.
        BadCall
            It was not measured on a text.
        """
        return cls(Diff.load(path))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the losses, what is to be said, and a row per layer."""
        from ftdiff.comparison.frame import records

        return shown(repr(self), [one.message for one in self.findings()], records(self.layers))

    def __repr__(self) -> str:
        base, tuned = self.losses
        said = f"loss {base:.4g}" + ("" if tuned is None else f" → {tuned:.4g}")
        return (
            f"Importance({self.diff.about.get('base')} on {self.about['text'].get('file')}: {said})"
        )


_OF_TENSORS = ("saliency", "slope", "path", "path_share", "relative_norm", "energy_share")


def _placed(diff: Diff) -> Any:
    return diff.frame["layer"].notna()


@speaks_for(Importance)
def findings(found: Importance) -> list[Finding]:
    """Return what the diff shows, worth on the text among it."""
    return spoken(found.diff)
