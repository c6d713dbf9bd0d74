"""A marked section in a model card: put there or replaced as text, every other byte as it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ftdiff.comparison.result import Diff
from ftdiff.comparison.storage import written
from ftdiff.errors import BadFile
from ftdiff.reports.front_matter import Edited, names_base, with_base
from ftdiff.reports.maps import shown_metric
from ftdiff.reports.markup import markdown
from ftdiff.reports.section import ROWS, section
from ftdiff.tensors import stamp

_MARK = re.compile(r"^<!-- ftdiff:(begin|end) -->[ \t]*$", re.MULTILINE)
_BEGIN, _END = "<!-- ftdiff:begin -->", "<!-- ftdiff:end -->"
_FIGURE = "ftdiff/heatmap.png"

_LARGEST = 16 << 20


@dataclass(frozen=True)
class Written:
    """What was done to a card.

    Attributes
    ----------
    paths
        Files that were written; none where nothing differs.
    names_base
        Whether the card's front matter names its base model.
    said
        What of the front matter was replaced, in a line; "" where nothing was.
    cut
        Which components the table leaves out, in a line; "" where none.
    """

    paths: tuple[Path, ...]
    names_base: bool
    said: str = ""
    cut: str = ""


def save(
    diff: Diff,
    card: Path,
    metric: str = "relative_norm",
    *,
    base_model: str | None = None,
    rows: int | None = ROWS,
) -> Written:
    """Put the section of a diff into a card, with its figure in the card's own folder.

    A second call with the same diff changes nothing. A card that is not there is begun. Nothing is
    ever pushed.

    Parameters
    ----------
    diff
        What is reported.
    card
        The README.md of a model repository; its line ends are kept.
    metric
        What the figure shows.
    base_model
        The base's name on the Hub, which the front matter then names as `base_model` instead of
        what is there; `base_model_relation` is added where it is missing. Without it the front
        matter is left alone, byte for byte.
    rows
        As in `ftdiff.reports.section.section`.

    Raises
    ------
    BadFile
        The card is not text in UTF-8, its markers are not one pair, or its front matter is no YAML.
    BadCall
        `base_model` is no name on the Hub, or the card names several others; or the diff is of
        parts of tensors.
    """
    before = _read(card)
    said = section(diff, metric, rows=rows)
    after = Edited(spliced(before, markdown(said, _FIGURE if said.alt else ""), str(card)))
    if base_model is not None:
        after = with_base(after.text, base_model, str(diff.about.get("kind", "full")), str(card))
    paths = []
    if said.alt and _draw(diff, shown_metric(diff, metric), card.parent / _FIGURE):
        paths.append(card.parent / _FIGURE)
    if after.text != before:
        with written(card) as temporary:
            temporary.write_bytes(after.text.encode("utf-8"))
        paths.append(card)
    return Written(tuple(paths), names_base(after.text), after.said, said.cut)


def marked(card: Path) -> str:
    """Return the section that stands between the marks of a card.

    Raises
    ------
    BadFile
        The card cannot be read, or has not one such section.
    """
    text = _read(card).replace("\r\n", "\n")
    marks = list(_MARK.finditer(text))
    if not text:
        raise BadFile(f"{card}: no such card, or an empty one")
    if [mark[1] for mark in marks] != ["begin", "end"]:
        raise BadFile(f"{card}: no section of ftdiff's, between one pair of its marks")
    return text[marks[0].end() : marks[1].start()]


def spliced(text: str, body: str, name: str = "card") -> str:
    """Replace the marked section of a text, or append it; its line ends are the text's own.

    Raises
    ------
    BadFile
        There are two sections, or a marker without its other.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    block = f"{_BEGIN}\n{body}\n{_END}".replace("\n", end)
    # "$" does not stand before "\r": the marks are found as if lines ended in "\n".
    marks = list(_MARK.finditer(text.replace("\r\n", " \n")))
    kinds = [mark[1] for mark in marks]
    if not marks:
        gap = "" if not text.strip("\ufeff") else end if text.endswith("\n") else end * 2
        return f"{text}{gap}{block}{end}"
    if kinds != ["begin", "end"]:
        lines = ", ".join(
            f"{mark[1]} in line {text.count(chr(10), 0, mark.start()) + 1}" for mark in marks
        )
        raise BadFile(f"{name}: one pair of ftdiff's markers is expected, found {lines}")
    return text[: marks[0].start()] + block + text[marks[1].start() + len(_END) :]


def _read(card: Path) -> str:
    try:
        if stamp(card)[2] > _LARGEST:
            raise BadFile(f"{card}: too large for a card")
        return card.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise BadFile(f"{card}: a card is text in UTF-8") from error
    except OSError as error:
        raise BadFile(f"{card}: {error.strerror or error}") from error


def _draw(diff: Diff, metric: str, path: Path) -> bool:
    """Draw the figure, and say whether the file is another than it was."""
    from matplotlib import pyplot

    from ftdiff import plots

    before = path.read_bytes() if path.is_file() else b""
    axes = plots.draw(diff, metric)
    plots.save(axes, path)
    pyplot.close(axes.figure.figure)  # a notebook shows what is left open
    return path.read_bytes() != before
