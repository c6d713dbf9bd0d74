"""What a checkpoint lacks of its base, where nothing says that the model has no such tensor."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.damage import is_another_base
from ftdiff.analyses.finding import Finding
from ftdiff.analyses.layer_map import moved_layers
from ftdiff.comparison.kinship import is_unrelated
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED, REMOVED

#: Where two configurations differ: what decides, and what does not.
_FIELDS = ("config-differs", "config-fields")
#: Words of what a release of transformers leaves out when it saves: modules that predict further
#: tokens and that its classes do not have, and tables of positions that are computed.
_UNSAVED = r"(?:^|[.])(?:mtp|nextn|embed_positions)[^.]*[.]"


@audit_rule("lost-tensors", "alarm")
def lost_tensors(diff: Diff) -> Iterator[Finding]:
    """A tensor that the model has, and its file lacks, is made anew when it is loaded."""
    rows = lost_rows(diff)
    if len(rows):
        be, it = ("is", "it") if len(rows) == 1 else ("are", "them")
        message = (
            f"{tensors(rows, f'of the base {be} not in the fine-tune')}: who loads it makes new "
            f"weights for {it}, or refuses it."
        )
        yield finding("lost-tensors", message, rows)


def lost_rows(diff: Diff) -> pd.DataFrame:
    """Return the base's tensors that a whole checkpoint lacks without a reason.

    A tensor of a layer is lost where the layer is there, and other layers have one of its kind.
    Any other is lost where both configurations are of one class, and nothing in them tells of it.
    """
    frame = diff.frame
    removed = frame[frame["status"] == REMOVED]
    strange = is_unrelated(diff.about) or (len(removed) and is_another_base(diff))
    if is_adapter(diff) or not len(removed) or strange:
        return removed.iloc[:0]
    config = diff.about.get("config", {})
    base, tuned = config.get("base", {}), config.get("tuned", {})
    kinds = [side.get("model_type") for side in (base, tuned)]
    if None not in kinds and kinds[0] != kinds[1]:
        return removed.iloc[:0]
    removed = removed[~(_is_told(diff, removed) | _is_elsewhere(frame, removed))]
    fields = {
        str(one.get("field"))
        for code in _FIELDS
        for told in reasons(diff.about, code)
        for one in told.get("fields", ())
    }
    if any("expert" in field for field in fields):
        removed = removed[~removed["tensor"].str.contains(".experts.", regex=False)]
    if any("bias" in field for field in fields):
        removed = removed[removed["param"] != "bias"]
    if None in kinds or "architectures" in fields:
        return removed[_is_hole(frame, removed)]
    if tuned.get("tie_word_embeddings"):
        removed = removed[removed["block"] != "head"]
    return removed


def _is_told(diff: Diff, removed: pd.DataFrame) -> pd.Series[bool]:
    """Say which rows are of layers that the model does not have, or of what is never saved."""
    names: list[str] = []
    stacks: list[str] = []
    for moved in moved_layers(diff):
        names += map(str, moved.rows["tensor"])
        if not moved.decided:
            stacks.append(moved.data["stack"])
    count = diff.about.get("config", {}).get("tuned", {}).get("num_hidden_layers")
    told = removed["tensor"].isin(names) | removed["tensor"].str.contains(_UNSAVED)
    told |= removed["stack"].isin(stacks) & removed["layer"].notna()
    if isinstance(count, int):
        told |= (removed["layer"] >= count).fillna(False)
    return told.astype(bool)


def _is_elsewhere(frame: pd.DataFrame, removed: pd.DataFrame) -> pd.Series[bool]:
    """Say which rows may be there under a name that was not understood."""
    added = frame[frame["status"] == ADDED]
    layers = _places(added[added["layer"].notna()], "stack", "layer")
    kinds = _places(added[added["layer"].isna()], "stack", "component")
    told = _among(removed, layers, "stack", "layer")
    return told | (removed["layer"].isna() & _among(removed, kinds, "stack", "component"))


def _is_hole(frame: pd.DataFrame, removed: pd.DataFrame) -> pd.Series[bool]:
    """Say which rows are of a layer that is there, and of a kind that other layers have."""
    held = frame[~frame["status"].isin((ADDED, REMOVED)) & frame["layer"].notna()]
    layers = _places(held, "stack", "layer")
    kinds = _places(held, "stack", "module", "param")
    return _among(removed, layers, "stack", "layer") & _among(
        removed, kinds, "stack", "module", "param"
    )


def _places(rows: pd.DataFrame, *columns: str) -> set[tuple[str, ...]]:
    return {*zip(*(rows[name].astype(str) for name in columns), strict=True)}


def _among(rows: pd.DataFrame, places: set[tuple[str, ...]], *columns: str) -> pd.Series[bool]:
    words = [*zip(*(rows[name].astype(str) for name in columns), strict=True)]
    return pd.Series([word in places for word in words], index=rows.index, dtype=bool)
