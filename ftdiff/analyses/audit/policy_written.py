"""A policy that a diff fulfils, written as TOML to be reviewed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ftdiff.analyses.audit.policy import FORMAT, SCHEMA
from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.finding import layer_spans
from ftdiff.comparison import cut
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.comparison.storage import written
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    import pandas as pd

#: A written policy leaves so much room above what was measured.
_ROOM = 1.25


def policy_of(diff: Diff) -> str:
    """Write a policy that this diff fulfils, to be reviewed: TOML.

    What moved may move by a quarter more than it did, component by component, and in its layers
    where the others stood still; nothing else may.

    Raises
    ------
    BadCall
        The diff is of parts of tensors.
    """
    cut.whole(diff, "a policy")
    metric = "relative_norm" if diff.about.get("base") else "rms_change"
    lines = [
        "# What is expected of this fine-tune, written from a diff: review it, then keep it.",
        f'format = "{FORMAT}"',
        f'"$schema" = "{SCHEMA}"',
        'unlisted = "may not move"',
        "",
        "[rules]  # off, note, caution or alarm; an alarm fails the audit",
        *(f'{name} = "{rule.severity}"' for name, rule in AUDIT.items()),
    ]
    moved = diff.frame[diff.frame["status"].isin(MOVED)]
    keys = ["stack", "component", "param"]
    everything = diff.frame.groupby(keys, sort=False)
    for (stack, component, param), rows in moved.groupby(keys, sort=False):
        where = {"stack": stack, "component": component, "param": param}
        globs = ", ".join(f"{name} = {_quoted(_literal(str(x)))}" for name, x in where.items())
        globs += _layers(rows, everything.get_group((stack, component, param)))
        named = " ".join(str(word) for word in (stack, component, param) if word)
        lines += ["", "[[expect]]", f"name = {_quoted(named)}", f"where = {{ {globs} }}"]
        if metric in rows and rows[metric].notna().any():
            lines.append(f"max = {{ {metric} = {_rounded_up(float(rows[metric].max()) * _ROOM)} }}")
    return "\n".join(lines) + "\n"


def save_policy(diff: Diff, path: str | Path) -> Path:
    """Write the policy that a diff fulfils; one that is there may have been reviewed, and stays.

    Raises
    ------
    BadCall
        There is a file of this name, or the diff is of parts of tensors.
    BadFile
        The file cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise BadCall(f"{path}: is there already; a reviewed policy is not overwritten")
    with written(path) as temporary:
        temporary.write_text(policy_of(diff), encoding="utf-8")
    return path


def _layers(moved: pd.DataFrame, whole: pd.DataFrame) -> str:
    """Return the glob of the layers that moved; "" where all did, or where there are none."""
    layers = {*map(int, moved["layer"].dropna())}
    if not layers or len(layers) == whole["layer"].nunique():
        return ""
    spans = layer_spans([*layers]).replace("–", "-").split(", ")
    return f", layer = [{', '.join(map(_quoted, spans))}]"


def _literal(name: str) -> str:
    """Return the glob that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f")


def _rounded_up(value: float) -> str:
    if not value > 0:
        return "0.0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return repr(float(f"{math.ceil(value / step) * step:.3g}"))
