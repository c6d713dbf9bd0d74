"""Words that options take, as the shell completes them: metrics, styles, stacks, parts of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from ftdiff.errors import FtdiffError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _ParamType = click.ParamType[str]
else:  # of older versions of click it takes no type
    _ParamType = click.ParamType

#: Returns words with what is said of each, for what is on the line so far.
Known: TypeAlias = Callable[[click.Context], Iterable[tuple[str, str]]]

#: A file or folder, which the shell completes; a repository or an address is taken too.
PLACE = click.Path()


class Words(_ParamType):
    """A word that is checked by whoever takes it, and completed by the shell.

    Parameters
    ----------
    name
        What it is, in capitals in the help.
    known
        The words.
    """

    def __init__(self, name: str, known: Known) -> None:
        self.name = name
        self._known = known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the words that begin so; none where what is on the line cannot be read."""
        from click.shell_completion import CompletionItem

        try:
            words = dict(self._known(ctx))
        except FtdiffError:
            return []
        begun = incomplete.lower()
        return [
            CompletionItem(word, help=said or None)
            for word, said in words.items()
            if word.lower().startswith(begun)
        ]


def _metrics(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from ftdiff.metrics import METRICS

    return ((metric.name, metric.formula) for metric in METRICS.values())


def _groups(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from ftdiff.metrics import groups

    for name, members in groups().items():
        yield name, ", ".join(metric.name for metric in members)


def _both(ctx: click.Context) -> Iterable[tuple[str, str]]:
    yield from _metrics(ctx)
    yield from _groups(ctx)


def _styles(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from ftdiff.plots import FIGURES, OF_RUNS

    for figures in (FIGURES, *OF_RUNS.values()):
        for name, function in figures.items():
            yield name, (function.__doc__ or "").strip().partition("\n")[0]


def _column(*names: str) -> Known:
    """Return the values of columns of the saved diff on the line."""

    def known(ctx: click.Context) -> Iterable[tuple[str, str]]:
        held = _diff(ctx)
        columns = held.columns if held is not None else {}
        for name in names:
            for value in dict.fromkeys(columns.get(name, ())):
                if value:
                    yield str(value), ""

    return known


def _diff(ctx: click.Context) -> Any:
    """Return the saved diff that is an argument of the line, if one is."""
    from ftdiff.comparison.result import Diff
    from ftdiff.comparison.saved_kind import kind_of

    # an option that waits for its word leaves the arguments before it unread
    for value in (*ctx.params.values(), *ctx.args):
        if isinstance(value, str | Path) and Path(value).is_file():
            return Diff.load(value) if kind_of(Path(value)) == "diff" else None
    return None


def _topics(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from ftdiff.cli import GROUPS
    from ftdiff.reports.topics import topics

    for lines in GROUPS.values():
        yield from lines.items()
    yield from ((topic.name, topic.kind) for topic in topics())


METRIC = Words("metric", _metrics)
TOPIC = Words("topic", _topics)
GROUP = Words("group", _groups)
METRIC_OR_GROUP = Words("metric", _both)
STYLE = Words("style", _styles)
COMPONENT = Words("name", _column("component"))
TENSOR = Words("name", _column("tensor"))
GLOB = Words("glob", _column("component", "stack"))


def _places(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from ftdiff.naming import PLACE

    return ((name, "") for name in PLACE)


BY = Words("column", _places)
