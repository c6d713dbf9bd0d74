"""`MergeOf`: what a model is of others, in words, and a row of evidence for each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.analyses import judgement
from ftdiff.analyses.finding import Finding, Severity, gravest_first, listed, speaks_for
from ftdiff.analyses.merges.models import Models
from ftdiff.analyses.merges.profile import curves, differs, turns_alike, varies
from ftdiff.analyses.merges.residual import residual
from ftdiff.analyses.merges.verdicts import EXITS, reach
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import IDENTITY
from ftdiff.comparison.result import Diff
from ftdiff.comparison.saved_numbers import is_number
from ftdiff.errors import BadCall
from ftdiff.naming import PLACE

if TYPE_CHECKING:
    import pandas as pd


#: Columns of the frame, and their types; those of type object hold a number for each parent.
COLUMNS = {
    **{name: IDENTITY[name] for name in ("tensor", *PLACE)},
    "status": "string", "said": "string", "shape": "object", "numel": "Int64",
    "merged_dtype": "string", "entries": "Int64", "moved": "Int64", "nonfinite": "Int64",
    "coefficients": "object", "errors": "object", "weights": "object",
    "low": "object", "high": "object",
    "chi_sq": "Float64", "left": "Float64", "way": "string", "replay": "Float64",
    "right": "Float64", "t": "Float64", "angle": "Float64",
    "like": "string", "density": "object", "strengths": "object", "auroc": "Float64",
}  # fmt: skip
_OF_EACH = ("coefficients", "errors", "weights", "low", "high", "density", "strengths")


@dataclass(frozen=True, eq=False)
class MergeOf(SavedResult):
    """What a model is of its supposed parents.

    Attributes
    ----------
    verdict
        "exactly" (a merge of them: every entry is), "changed" (a merge, and then something else),
        "partly" (they are in it, and a parent is missing), "sparse" (entries took one change, both
        or none, as TIES and DARE leave them), "none", or "unreadable".
    sentences
        The verdict in words, with its evidence.
    frame
        A row per tensor. `status` is exact, rounded (no more than rounding is left, in an order
        that is not replayed), changed, partly, sparse, none; still (the same in every file), apart
        (changed, and no parent changes it), unmatched, unreadable. For each parent
        `coefficients` with their standard `errors`, the `weights` that were replayed, `low` and
        `high`, between which every entry rounds right. `chi_sq` is what is left over what rounding
        leaves, `left` its size beside rounding over the change's; `replay` the share of `moved`
        entries that the arithmetic `way` gives to the bit, `right` the share that the weights round
        right; `t` and `angle` are a SLERP's; `density`, `strengths` and `auroc` a sparse merge's,
        and `like` its way of choosing: TIES, DARE, DARE-TIES, or pruned (the largest changes of
        each, no sign elected). A density is missing where every change is in that shows.
    about
        Sources, `parents` by name, `coefficients` of all with their errors, versions and when.
    models
        What was opened; of a result that was loaded None: `residual` opens the paths again.
    """

    form: ClassVar = storage.Form("merge", indent=1)

    verdict: str
    sentences: tuple[str, ...]
    frame: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)
    models: Models | None = field(default=None, repr=False)

    @property
    def exit_code(self) -> int:
        """0 exactly, 3 changed, 4 partly, 5 sparse, 1 none, 2 for what cannot be read."""
        return EXITS[self.verdict]

    @property
    def profile(self) -> pd.DataFrame:
        """The coefficients layer by layer, weighed by the entries that are moved."""
        table = self.curves().pivot(index="layer", columns="parent", values="coefficient")
        return table.reindex(columns=[*self.about["parents"]]).rename_axis(None, axis=1)

    def curves(self, *, components: bool = False) -> pd.DataFrame:
        """Return each parent's coefficient in each layer, or component of it, with its ends.

        Parameters
        ----------
        components
            Whether each component of a layer has a row of its own.

        Returns
        -------
        frame
            Columns layer, component (if asked for), parent, coefficient, low, high, tensors: where
            every entry rounds right; of what is not exact, two standard errors about it.
        """
        return curves(self.frame, [*self.about["parents"]], components=components)

    @property
    def one(self) -> bool:
        """Whether all layers have the same coefficients, and all their components; or one angle."""
        return turns_alike(self.frame) or not (varies(self.curves()) or self.components_differ)

    @property
    def components_differ(self) -> bool:
        """Whether components of one layer have other coefficients than its others."""
        return differs(self.curves(components=True))

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
        models: Models | None = None,
    ) -> MergeOf:
        """Reach the verdict from the rows."""
        verdict, sentences, numbers = reach(rows, about)
        return cls(verdict, sentences, judgement.typed(rows, COLUMNS), {**about, **numbers}, models)

    def residual(self, metrics: Sequence[str] = (), **options: Any) -> Diff:
        """Compare the merged model with the replay of its merge: what was done beside merging.

        Its files are read once more. Every tensor is replayed with the weights and the arithmetic
        that the frame says; what was judged by none is named in the diff.

        Parameters
        ----------
        metrics, **options
            As for `ftdiff.compare`.

        Raises
        ------
        BadCall
            No tensor was replayed, or the result was loaded and its models were in memory.
        BadFile, Mismatch
            They cannot be opened any more.
        """
        models = self.models or self._opened()
        rows = {str(row["tensor"]): row for row in judgement.plain(self.frame)}
        said = f"the merge of {listed([*self.about['parents']], 6)}"
        return residual(models, rows, said, metrics=metrics, **options)

    def _opened(self) -> Models:
        about = self.about
        sources = [about["merged"], *about["parents"].values(), about.get("base")]
        for source in sources:
            if source is not None and source.endswith(" in memory"):
                raise BadCall(f"{source}: it is not kept with the result; measure again")
        return Models.opened(sources[0], sources[1:-1], sources[-1])

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the coefficients by layer."""
        profile = self.profile.reset_index()
        rows = [{str(k): v for k, v in row.items()} for row in profile.to_dict("records")]
        return notebook.shown(self.verdict, self.sentences, rows)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        words = {"verdict": self.verdict, "sentences": [*self.sentences]}
        return {**words, "about": dict(self.about), "tensors": judgement.plain(self.frame)}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> MergeOf:
        """Return the result that a document holds."""
        verdict, sentences, about = judgement.words(stored)
        if not isinstance(about["merged"], str) or not isinstance(about["parents"], dict):
            raise TypeError("about")
        if verdict not in EXITS:
            raise ValueError("verdict")
        frame = judgement.frame_of(stored["tensors"], COLUMNS)
        of_each = (one for name in _OF_EACH for one in frame[name] if one is not None)
        if not all(_is_of_each(one, len(about["parents"])) for one in of_each):
            raise TypeError("tensors")
        return cls(verdict, sentences, frame, about)


def _is_of_each(held: Any, parents: int) -> bool:
    """Say whether this is a number for each parent, or none of it."""
    if not isinstance(held, tuple) or len(held) != parents:
        return False
    return all(one is None or is_number(one) for one in held)


_SEVERITIES: Mapping[str, Severity] = {"exactly": "note", "unreadable": "alarm"}


@speaks_for(MergeOf)
def findings(result: MergeOf) -> list[Finding]:
    """Return the verdict and what it rests on."""
    names = ("parents", "base", "coefficients", "errors", "sample")
    evidence = {"verdict": result.verdict, **{name: result.about.get(name) for name in names}}
    severity = _SEVERITIES.get(result.verdict, "caution")
    first = Finding("verdict", severity, result.sentences[0], evidence)
    rest = [Finding("evidence", "note", said) for said in result.sentences[1:]]
    return gravest_first([first, *rest])
