"""What `ftdiff compare --facet` does: several fine-tunes of one base in one figure."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdiff.errors import BadCall, FtdiffError, one_line

if TYPE_CHECKING:
    from ftdiff.result import Diff


def facet(
    base: str,
    tuned: Sequence[str],
    metrics: Sequence[str],
    *,
    output: Path | None,
    own_scale: bool,
    jobs: int | None,
    dask: str | None,
    format_: str,
    min_coverage: float,
    **how: Any,
) -> None:
    """Compare each with the base, write what could be measured, say the rest; exit 0, 1 or 2."""
    from ftdiff import executors, progress, siblings
    from ftdiff.metrics import resolve
    from ftdiff.reports import terminal
    from ftdiff.result import Diff

    with executors.executor(threads=jobs, dask=dask) as executor, progress.bar() as bar:
        outcomes = siblings.compare_each(base, tuned, metrics, executor, bar, **how)
    found = dict(zip(names(tuned), outcomes, strict=True))
    diffs = {name: one for name, one in found.items() if isinstance(one, Diff)}
    shown = resolve(metrics)[0].name if metrics else "relative_norm"
    if output is not None and diffs:  # before anything is printed: a pipe's reader may leave
        _write(diffs, output, shown, shared=not own_scale)
    if diffs:
        terminal.show_siblings(diffs, shown, format_)
    sys.exit(_code(found, min_coverage))


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
    kept = re.sub(r"[^\w.-]+", "_", part.removesuffix(".safetensors")).strip("._")
    return kept[:60] or "tuned"


def _write(diffs: Mapping[str, Diff], folder: Path, metric: str, *, shared: bool) -> None:
    from ftdiff import plots

    written = [diff.save(folder / f"diff-{name}.json") for name, diff in diffs.items()]
    drawable, titles = [], []
    for name, diff in diffs.items():
        try:
            plots.heatmap(diff, metric, bare=True)
        except BadCall as error:  # no layers, or nothing measured: its numbers are written
            click.echo(f"no map of {name}: {one_line(error)}", err=True)
        else:
            drawable.append(diff)
            titles.append(name)
    if drawable:
        figure = plots.facets(drawable, metric, shared=shared, titles=titles)
        written += [plots.save(figure, folder / f"facets.{kind}") for kind in ("png", "svg")]
    click.echo(f"wrote {', '.join(one_line(path) for path in written)}", err=True)


def _code(found: Mapping[str, Diff | FtdiffError], min_coverage: float) -> int:
    """Say what could not be read and what is covered too little; return the exit code."""
    code = 0
    for name, one in found.items():
        if isinstance(one, FtdiffError):
            click.echo(f"ftdiff: {one_line(one, 2000)}; the others are kept", err=True)
            code = 2
        elif one.about["unreadable"]:
            unreadable = one.about["unreadable"]
            more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
            said = one_line(next(iter(unreadable.values())), 2000)
            click.echo(f"ftdiff: {name}: {said}{more}; the rest is kept", err=True)
            code = 2
        elif one.about["coverage"] < min_coverage:
            click.echo(
                f"ftdiff: {name}: {one.about['coverage']:.1%} of the parameters were compared, "
                f"{min_coverage:.1%} are asked for",
                err=True,
            )
            code = max(code, 1)
    return code
