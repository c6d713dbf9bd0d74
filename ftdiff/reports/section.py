"""What a model card or a paper says of a diff: a few numbers, one figure, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ftdiff.comparison import coverage, cut
from ftdiff.comparison.model_names import named
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import headline, withheld
from ftdiff.comparison.statuses import MOVED
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS
from ftdiff.naming.projections import is_projection
from ftdiff.numbers import number
from ftdiff.reports.document import document
from ftdiff.reports.maps import Map, described, maps, shown_metric
from ftdiff.reports.section_words import largest, left_out, sentences

# A card is read in a narrow column: few columns, few rows, few sentences; what is cut is said.
_SHOWN = ("relative_norm", "rotation", "precision_floor")
_BARE = ("rms_change", "energy_share")
#: Rows of the table, where no other number is asked for.
ROWS = 14


@dataclass(frozen=True)
class Section:
    """A section's content, the same for every way to write it.

    Attributes
    ----------
    heading
        Its title.
    sentences
        What was compared and how far it moved, then what a reader has to know.
    alt
        What the figure shows, in words; "" where there is nothing to draw.
    columns, rows
        A small table: components and their numbers, as texts.
    cut
        Which components the table leaves out; "" where none.
    made
        How it was made: name and value. Local folders are named without their paths.
    """

    heading: str
    sentences: tuple[str, ...]
    alt: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    made: tuple[tuple[str, str], ...]
    cut: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def section(diff: Diff, metric: str = "relative_norm", *, rows: int | None = ROWS) -> Section:
    """Draw up the section of a diff.

    Parameters
    ----------
    diff
        What is reported.
    metric
        What the figure shows; where it has no value, the first that has.
    rows
        How many components the table has at most, those with the largest share of the change;
        None for all. Where it has not all of them, `cut` says so.

    Raises
    ------
    UnknownName
        There is no metric of that name.
    BadCall
        The diff is of parts of tensors.
    """
    cut.whole(diff, "a card")
    report, metric = document(diff, words=True), shown_metric(diff, metric)
    names = _SHOWN if diff.about.get("base") else _BARE
    drawn = maps(diff, [metric]) if metric in diff.frame else ()
    every = [row for row in report.components if "component" in row]
    components = largest(every, rows)
    return Section(
        heading="What changed in the weights",
        sentences=(*_sentences(diff), *sentences(diff, report)),
        alt=_described(drawn, metric),
        columns=("component", *(METRICS[name].label for name in names), "weights that moved"),
        rows=tuple(
            (str(row["component"]), *(number(row[name]) for name in names), str(row["moved"]))
            for row in components
        ),
        made=tuple(_made(diff.about)),
        cut=left_out(len(components), len(every)),
    )


def _described(drawn: Sequence[Map], metric: str) -> str:
    """Say what the figure shows of each stack."""
    kept = (one.only([name for name in one.components if is_projection(name)]) for one in drawn)
    return " ".join(described(one, metric) for one in kept)


def _sentences(diff: Diff) -> list[str]:
    about, overall = diff.about, diff.overall
    kind = f" ({about['kind']})" if about.get("kind") else ""
    base = named(about["base"]) if about.get("base") else "its base, which was not at hand"
    moved = int(diff.frame["status"].isin(MOVED).sum())
    said = f"Compared with {base}, {named(about.get('tuned'))}{kind} moved {moved:,} of "
    said += f"{len(diff.frame):,} tensors"
    if why := withheld(diff):
        said += f"; no number of everything is given: {why}"
    elif "relative_norm" in overall:
        said += f": ‖ΔW‖/‖W‖ = {headline(diff)}"
        if overall.get("snr"):  # none where rounding alone changes nothing
            rounding = number(overall["relative_norm"] / math.sqrt(overall["snr"]))
            full = about.get("kind") == "full"
            said += (
                f"; {'rounding alone' if full else 'the rounding of a merge'} would give {rounding}"
            )
    covered = coverage.words(about, "were compared")
    more = f" {covered}." if covered else ""
    return [f"{said}.{more}"]


def _made(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = about.get("versions", {})
    made = [("made with", f"ftdiff {versions.get('ftdiff', '')}, {about.get('created', '')}")]
    for side, held in about.get("files", {}).items():
        made += [
            (f"{side} file", f"{file['name']}, header sha256 {str(file['header_sha256'])[:16]}")
            for file in held[:4]
        ]
        if len(held) > 4:
            made.append((f"{side} files", f"{len(held) - 4} more"))
    return [(one_line(name), one_line(value)) for name, value in made]
