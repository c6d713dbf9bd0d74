"""`ftdiff compare --facet`: several fine-tunes of one base in one figure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftdiff.cli import options
from ftdiff.cli import output as out
from ftdiff.errors import BadCall, FtdiffError, one_line

if TYPE_CHECKING:
    from ftdiff.cli.compare_options import Measuring, Wanted
    from ftdiff.comparison.result import Diff
    from ftdiff.comparison.selection import Selection


def facet(
    base: str,
    tuned: Sequence[str],
    measuring: Measuring,
    workers: options.Workers,
    wanted: Wanted,
    selection: Selection,
    *,
    shared: bool,
) -> int:
    """Compare each with the base, write and print what could be measured; return 0, 1 or 2."""
    from ftdiff.cli import progress as steps
    from ftdiff.comparison import batch
    from ftdiff.comparison.result import Diff
    from ftdiff.reports.terminal import compare_facets as terminal

    with options.kept(wanted.output, fresh=wanted.fresh):
        with workers.lent() as (executor, progress):
            outcomes = batch.compare_each(
                base,
                tuned,
                measuring.metrics,
                executor,
                progress,
                say=out.say,
                selection=selection,
                **measuring.reading,
            )
        each = dict(zip(names(tuned), outcomes, strict=True))
        diffs = {name: one for name, one in each.items() if isinstance(one, Diff)}
        if wanted.output is not None and diffs:  # before anything is printed
            with steps.step("saving and drawing"):
                _write(diffs, wanted.output, measuring.drawn, shared=shared)
    if diffs:
        terminal.show_siblings(diffs, measuring.drawn, wanted.format_)
    return max(_code(name, one, wanted.min_coverage) for name, one in each.items())


def names(paths: Sequence[str]) -> list[str]:
    """Return a name for each path that can be part of a file's, all different.

    >>> names(["runs/a/last", "runs/b/last", "full.safetensors"])
    ['a-last', 'b-last', 'full']
    """
    parts = [[_plain(part) for part in Path(path).parts] for path in paths]
    found = ["-".join(part[-1:]) for part in parts]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        twice = {name for name in found if found.count(name) > 1}
        found = [
            "-".join(part[-depth:]) if name in twice else name
            for name, part in zip(found, parts, strict=True)
        ]
    unique: list[str] = []
    for name in found:
        count = 1
        while (told := name if count == 1 else f"{name}-{count}") in unique:
            count += 1
        unique.append(told)
    return unique


def _plain(part: str) -> str:
    """Return what is left of a path's part in letters that every file system takes."""
    from ftdiff.formats import format_of
    from ftdiff.formats.place import here

    known = format_of(here(part))
    stem = part if known is None else part.removesuffix(known.suffix)
    kept = re.sub(r"[^\w.-]+", "_", stem).strip("._")
    return kept[:60] or "tuned"


def _write(diffs: Mapping[str, Diff], folder: Path, metric: str, *, shared: bool) -> None:
    from ftdiff import plots
    from ftdiff.comparison.shown_metric import ABSOLUTE, shown_metric

    written = [diff.save(folder / f"diff-{name}.json") for name, diff in diffs.items()]
    drawable, titles = [], []
    own = {shown_metric(diff, metric) for diff in diffs.values()}
    metric = own.pop() if len(own) == 1 else ABSOLUTE
    for name, diff in diffs.items():
        try:
            plots.heatmap(diff, metric, bare=True)
        except BadCall as error:  # no layers, or nothing measured: its numbers are written
            out.say(f"no map of {name}: {one_line(error)}")
        else:
            drawable.append(diff)
            titles.append(name)
    if drawable:
        figure = plots.facets(drawable, metric, shared=shared, titles=titles)
        written += [plots.save(figure, folder / f"facets.{kind}") for kind in ("png", "svg")]
    out.wrote(written)


def _code(name: str, one: Diff | FtdiffError, min_coverage: float) -> int:
    """Say what of this one could not be read, or is covered too little; return the exit code."""
    if isinstance(one, FtdiffError):
        out.complain(one, "the others are kept")
        return 2
    if out.lost(one.about["unreadable"], name):
        return 2
    return int(out.too_little(one, min_coverage, name))
