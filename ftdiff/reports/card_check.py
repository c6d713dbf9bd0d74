"""A card's section held to a diff or a claim: every number of it, and the first that is another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from ftdiff.comparison.result import Diff
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS
from ftdiff.reports.card import marked
from ftdiff.reports.maps import shown_metrics
from ftdiff.reports.markup import markdown
from ftdiff.reports.section import Section, section
from ftdiff.reports.section_words import SCALED

#: A number with its sign, decimals and power, or a digest's beginning.
_NUMBER = re.compile(r"[0-9a-f]{16}\b|[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+−]?\d+)?%?")
_CELL = re.compile(r"(?<!\\)\|")
_LONGEST = 120
_CUT = re.compile(r"^Shown are the (\d{1,6}) of \d+ components", re.MULTILINE)


def differing(card: Path, diff: Diff, metric: str | None = None) -> str:
    """Say which number of a card's section is another than the diff's; "" where none is.

    Words may be others, as another version of ftdiff writes them; numbers may not, nor the rows of
    the table. A figure of a metric that the diff does not have is left aside.

    Parameters
    ----------
    card
        A README.md in which `ftdiff card` put its section.
    diff
        What it has to say.
    metric
        What its figure shows; by default what it says that it shows.

    Raises
    ------
    BadFile
        The card is not text in UTF-8, or has no section of ours.
    """
    text = marked(card)
    mine = _split(text.splitlines())
    shown = metric or _shown(mine["the figure"], diff)
    # how many rows a card has, it says itself where they are not all
    rows = _CUT.search(text)
    said = section(diff, shown or "relative_norm", rows=int(rows[1]) if rows else None)
    theirs = _split(markdown(said, "figure" if said.alt else "").splitlines())
    if not diff.about.get("scalings"):  # a claim does not hold them
        mine["the text"] = [line for line in mine["the text"] if SCALED not in line]
    for what, given in mine.items():
        if what != "the figure" or shown is not None or not given:
            found = next(_faults(what, given, theirs[what], said), "")
            if found:
                return found
    return ""


def _shown(figure: Sequence[str], diff: Diff) -> str | None:
    """Return the metric that a figure says it shows; None where the diff has no such."""
    told = Markup("".join(figure)).unescape().replace("\\", "")
    for name in shown_metrics(diff):
        if told.startswith(
            (f"![Heatmap of {METRICS[name].label} of", f"![Heatmap of {METRICS[name].label},")
        ):
            return name
    return None


def _split(lines: Sequence[str]) -> dict[str, list[str]]:
    """Sort lines into the table's, the figure's and the rest."""
    found: dict[str, list[str]] = {"the table": [], "the text": [], "the figure": []}
    for line in (line for line in lines if line.strip()):
        start = line.lstrip()[:1]
        what = "the figure" if start == "!" else "the table" if start == "|" else "the text"
        found[what].append(line)
    return found


def _faults(what: str, given: Sequence[str], wanted: Sequence[str], said: Section) -> Iterator[str]:
    if what == "the table":
        yield from _rows(given, wanted, said)
        return
    for mine, theirs in zip(given, wanted, strict=False):
        numbers = _numbers(mine), _numbers(theirs)
        if numbers[0] != numbers[1]:
            yield f"{what}: {_two(*numbers)}, in {_short(mine)}"
    for line in given[len(wanted) :]:
        yield f"{what}: {_short(line)} is in the card, and not in the claim"
    for line in wanted[len(given) :]:
        yield f"{what}: {_short(line)} is in the claim, and not in the card"


def _rows(given: Sequence[str], wanted: Sequence[str], said: Section) -> Iterator[str]:
    """Hold the rows of a table by their first cells, and name row and column."""
    mine, theirs = [{cells[0]: cells for cells in map(_cells, lines)} for lines in (given, wanted)]
    if len(mine) != len(given):
        yield "the table: a row stands in it twice"
    for name, cells in theirs.items():
        if name not in mine:
            yield f"the table: {_short(name)} is in the claim, and not in the card"
            continue
        for i, cell in enumerate(cells):
            other = mine[name][i] if i < len(mine[name]) else "missing"
            if other != cell:
                column = said.columns[i] if i < len(said.columns) else str(i)
                place = f"{_short(name)}, {column}"
                yield f"the table: {place} is {_short(other)} in the card and {cell} in the claim"
    for name in mine:
        if name not in theirs:
            yield f"the table: {_short(name)} is in the card, and not in the claim"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in _CELL.split(line.strip().strip("|"))]


def _numbers(line: str) -> list[str]:
    return [number.replace("−", "-") for number in _NUMBER.findall(line)]


def _two(mine: Sequence[str], theirs: Sequence[str]) -> str:
    for i in range(max(len(mine), len(theirs))):
        one, other = (list(held[i : i + 1]) or ["no number"] for held in (mine, theirs))
        if one != other:
            return f"{one[0]} in the card is {other[0]} in the claim"
    return ""


def _short(text: str) -> str:
    return repr(one_line(text.strip(), _LONGEST))
