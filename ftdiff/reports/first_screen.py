"""What a report says at a glance: a verdict, three findings, a few numbers and what they mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ftdiff.analyses.finding import SEVERITIES, Finding, Severity, counted, listed
from ftdiff.analyses.findings import broken
from ftdiff.analyses.kind_of_change import DECIDING
from ftdiff.comparison import cut
from ftdiff.comparison.aggregation import that_moved
from ftdiff.comparison.frame import among, plain
from ftdiff.comparison.model_names import public_name
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import at_scale_one, scope, withheld
from ftdiff.comparison.statuses import PAIRED
from ftdiff.errors import one_line
from ftdiff.metrics import TRUSTED_SNR
from ftdiff.numbers import number, percent, times
from ftdiff.reports.document import Document
from ftdiff.reports.summary import lost, most_and_least, still

#: How many findings stand on the first screen, and how many numbers.
FINDINGS, NUMBERS = 3, 6
# Rules that say what could not be tested: worth a line only where there is nothing else.
_FAINT = ("left-out", "depth-power", "uniform")
# How the kinds of adapters write themselves.
_KINDS = {
    **{"lora": "LoRA", "dora": "DoRA", "loha": "LoHa", "lokr": "LoKr", "ia3": "IA³"},
    **{"vera": "VeRA", "oft": "OFT", "boft": "BOFT", "hira": "HiRA", "adalora": "AdaLoRA"},
}


@dataclass(frozen=True)
class Told:
    """A sentence, and how grave it is: one of `SEVERITIES`, or "" for what is merely said."""

    severity: Severity | str
    sentence: str


@dataclass(frozen=True)
class Headline:
    """A number as it is written, and what it is of; `doubtful`: not above rounding."""

    value: str
    meaning: str
    doubtful: bool = False


@dataclass(frozen=True)
class FirstScreen:
    """What is seen without scrolling.

    Attributes
    ----------
    verdict
        What happened, in one sentence.
    findings
        At most `FINDINGS` of what stands out, the gravest first.
    numbers
        At most `NUMBERS`.
    """

    verdict: Told
    findings: tuple[Finding | Told, ...]
    numbers: tuple[Headline, ...]


def first_screen(diff: Diff, report: Document) -> FirstScreen:
    """Choose what is seen first of a diff.

    Parameters
    ----------
    diff
        What is reported.
    report
        `document(diff, words=True)` of it.
    """
    verdict, used = _verdict(diff, report.findings)
    numbers = tuple(_numbers(diff))[:NUMBERS]
    return FirstScreen(verdict, chosen(_candidates(diff, report, used)), numbers)


def chosen(candidates: Iterable[Finding | Told]) -> tuple[Finding | Told, ...]:
    """Return the first few: the gravest, and of those as grave another rule before the same."""
    said: dict[str, Finding | Told] = {}
    for one in candidates:
        said.setdefault(sentence_of(one), one)
    count: dict[str, int] = {}
    ranked: list[tuple[int, int, int, Finding | Told]] = []
    for place, one in enumerate(said.values()):
        rule = one.rule if isinstance(one, Finding) else ""
        again = count.get(rule, 0) if rule else 0
        count[rule] = again + 1
        grave = SEVERITIES.index(one.severity) if one.severity in SEVERITIES else -1
        grave = -2 if rule in _FAINT else grave
        ranked.append((-grave, min(again, 1), place, one))
    return tuple(one for *_, one in sorted(ranked, key=lambda row: row[:3])[:FINDINGS])


def sentence_of(one: Finding | Told) -> str:
    """Return the sentence of either."""
    return one.message if isinstance(one, Finding) else one.sentence


def _candidates(diff: Diff, report: Document, used: Sequence[Finding]) -> Iterator[Finding | Told]:
    """Yield what was found and is not said yet; then what a reader has to know; then the rest."""
    yield from (one for one in report.findings if one not in used and one.rule != "regime")
    yield from (Told("caution", one_line(note)) for note in diff.about.get("notes", ()))
    lines = (most_and_least(diff), still(diff), lost(diff))
    yield from (Told("", line) for line in lines if line)


def _verdict(diff: Diff, found: Sequence[Finding]) -> tuple[Told, list[Finding]]:
    """Say in one sentence what happened, and which findings that is."""
    lead = broken(found)
    if lead:
        return Told(lead[0].severity, lead[0].message), lead[:1]
    if unmoved := _unmoved(diff):
        return unmoved, []
    if why := withheld(diff):
        return Told("caution", f"No number of everything is given: {why}."), []
    deciding = [one for one in found if one.rule in DECIDING][:1]
    if deciding:
        return Told("note", deciding[0].message), deciding
    return _size(diff, found), []


def _unmoved(diff: Diff) -> Told | None:
    """Say that nothing moved, where nothing did."""
    columns = diff.columns
    if that_moved(columns).any():
        return None
    parts, name = cut.parts(diff), _name(diff)
    paired = int(among(columns["status"], PAIRED).sum())
    if not paired:
        return Told("alarm", f"Nothing of {name} could be compared with its base.")
    if parts:
        return Told("note", f"None of the {parts} that were measured of {name} moved.")
    if diff.about.get("kind") != "full":
        return Told("alarm", f"{name} changes nothing: what it adds to the weights is zero.")
    return Told("note", f"{name} is its base: none of {counted(paired, 'tensor')} differs.")


def _size(diff: Diff, found: Sequence[Finding]) -> Told:
    """Say how far it moved, and what moves as far."""
    overall, about = diff.overall, diff.about
    of = scope(diff)
    subject = f"{_name(diff)}, {_what(diff)},"
    if "relative_norm" not in overall:
        if "rms_change" not in overall:
            return Told("note", f"{subject} moved {_moved(diff)} {cut.noun(diff)}s.")
        rms = number(overall["rms_change"], 3)
        told = "its base would tell how much that is" if not about.get("base") else "of any entry"
        return Told(
            "note",
            f"{subject} changes {of.words} by {rms} an entry (RMS); {told}.",
        )
    size = number(overall["relative_norm"], 3)
    sentence = f"{subject} moved {of.words} by {size} of their norm"
    if at_scale_one(diff):
        sentence += ", with its factors × 1: no file says their α"
    if overall.get("snr", math.inf) < TRUSTED_SNR and about.get("kind") == "full":
        return Told("caution", f"{sentence}, which cannot be told from rounding.")
    alike = [name for one in found if one.rule == "regime" for name in one.evidence["consistent"]]
    return Told("note", f"{sentence}{f', as much as {listed(alike, 2)}' if alike else ''}.")


def _numbers(diff: Diff) -> Iterator[Headline]:
    overall, about = diff.overall, diff.about
    given = not withheld(diff)
    full = about.get("kind") == "full"
    if given and "relative_norm" in overall:
        of = scope(diff).words
        yield Headline(number(overall["relative_norm"], 3), f"‖ΔW‖/‖W‖, relative change of {of}")
    elif given and "rms_change" in overall:
        yield Headline(number(overall["rms_change"], 3), "root mean square change of an entry")
    if given and overall.get("snr"):
        stored = _stored(diff)
        gives = f"what rounding {'' if full else 'a merge '}to {stored} gives"
        ratio = math.sqrt(overall["snr"])
        yield Headline(times(ratio), gives, overall["snr"] < TRUSTED_SNR)
    if given and about.get("base") and "angle" in overall:
        yield Headline(f"{number(overall['angle'], 3)}°", "turn of the weights' direction")
    yield from _largest(diff)
    columns = diff.columns
    of_all = int(among(columns["status"], PAIRED).sum())
    yield Headline(f"{_moved(diff)} of {of_all:,}", f"{cut.noun(diff)}s moved")
    coverage = cut.about_of(diff).get("coverage")
    if isinstance(coverage, (int, float)) and math.isfinite(coverage):
        whose = "of the parameters compared" if about.get("base") else "of its parameters read"
        yield Headline(percent(coverage), whose)


def _largest(diff: Diff) -> Iterator[Headline]:
    """Name the component that holds most of the squared change."""
    rows = plain(diff.grouped("component", metrics=("energy_share", "lift")))
    rows = [row for row in rows if row["energy_share"] and row["component"]]
    if len(rows) > 1:
        most = max(rows, key=lambda row: row["energy_share"])
        lift = f", {times(most['lift'])} its share of parameters" if most["lift"] else ""
        yield Headline(
            percent(most["energy_share"], 2),
            f"of the squared change is in {one_line(most['component'], 24)}{lift}",
        )


def _moved(diff: Diff) -> str:
    return f"{int(that_moved(diff.columns).sum()):,}"


def _name(diff: Diff) -> str:
    return one_line(public_name(diff.about.get("tuned")), 60)


def _what(diff: Diff) -> str:
    kind = str(diff.about.get("kind"))
    if kind == "full":
        return "a full checkpoint"
    rank = (diff.about.get("adapter") or {}).get("r")
    of_rank = f" of rank {rank}" if isinstance(rank, int) else ""
    word = _KINDS.get(kind, kind)
    return f"{'an' if word[0] in 'aeiouAEIO' else 'a'} {word}{of_rank}"


def _stored(diff: Diff) -> str:
    """Name the storage dtypes of what moved."""
    columns = diff.columns
    moved = that_moved(columns)
    sides = zip(columns["tuned_dtype"][moved], columns["base_dtype"][moved], strict=True)
    return "/".join(sorted({str(tuned or base) for tuned, base in sides if tuned or base})[:2])
