"""A page that stands alone: summary, heatmap, tables, what did not match, provenance."""

from __future__ import annotations

import base64
from pathlib import Path
from tempfile import TemporaryDirectory

import jinja2

from ftdiff import plots
from ftdiff.errors import BadCall
from ftdiff.frames import written
from ftdiff.metrics import METRICS
from ftdiff.reports.document import document
from ftdiff.result import Diff

_PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("ftdiff", "reports"),
    autoescape=True,  # names come from files: a tensor called <script> stays text
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_COLUMNS = (
    "tensor",
    "status",
    "form",
    "relative_norm",
    "rotation",
    "scale_share",
    "precision_floor",
)


def render(diff: Diff, metric: str = "relative_norm") -> str:
    """Return the page as text; nothing in it asks the network for anything."""
    shown = [name for name in _COLUMNS if name in diff.frame]
    return _PAGE.get_template("report.html.jinja").render(
        report=document(diff),
        metric=METRICS[metric],
        picture=_picture(diff, metric),
        columns=shown,
        rows=diff.frame[shown].astype(object).where(diff.frame[shown].notna(), None).to_numpy(),
    )


def save(diff: Diff, path: Path, metric: str = "relative_norm") -> Path:
    """Write the page whole, or not at all."""
    with written(path) as temporary:
        temporary.write_text(render(diff, metric), encoding="utf-8")
    return path


def _picture(diff: Diff, metric: str) -> str | None:
    try:
        axes = plots.heatmap(diff, metric)
    except BadCall:  # no layers, or nothing measured
        return None
    with TemporaryDirectory() as folder:
        picture = plots.save(axes, Path(folder) / "heatmap.png")
        return base64.b64encode(picture.read_bytes()).decode("ascii")
