"""Write a figure to a file: the same figure gives the same bytes, whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from threading import Lock

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.comparison.storage import written
from ftdiff.errors import BadCall

# What each format would otherwise say of the moment and the machine.
_SILENT: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# matplotlib takes the seed of SVG ids from settings that all threads share.
_SETTINGS = Lock()


def save(drawn: Axes | Figure, path: str | Path) -> Path:
    """Write a figure as PNG, SVG or PDF, by the path's ending.

    Parameters
    ----------
    drawn
        A figure, or Axes on one.
    path
        Where to; folders are made, and the file appears only when it is whole.

    Raises
    ------
    BadCall
        The ending is none of .png, .svg, .pdf.
    BadFile
        The file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in _SILENT:
        raise BadCall(f"{path}: a figure is saved as {', '.join(_SILENT)}")
    figure = _whole(drawn, path)
    with written(path) as temporary:
        _write(figure, temporary, ending)
    return path


def svg(drawn: Axes | Figure) -> str:
    """Return a figure as an SVG element, to stand in a page.

    Raises
    ------
    BadCall
        The Axes are on no figure any more.
    """
    held = BytesIO()
    _write(_whole(drawn, "svg"), held, ".svg")
    text = held.getvalue().decode("utf-8")
    return text[text.index("<svg") :]


def _whole(drawn: Axes | Figure, what: object) -> Figure:
    on = drawn if isinstance(drawn, Figure) else drawn.get_figure()
    if on is None:
        raise BadCall(f"{what}: these Axes are on no figure any more")
    figure: Figure = on.figure  # of a sub-figure, the whole one
    return figure


def _write(figure: Figure, to: Path | BytesIO, ending: str) -> None:
    with _SETTINGS, mpl.rc_context({"svg.hashsalt": "ftdiff"}):
        figure.savefig(
            to,
            format=ending[1:],
            dpi=200,
            metadata=_SILENT[ending],
            bbox_inches="tight",
            pad_inches=0.06,
        )
