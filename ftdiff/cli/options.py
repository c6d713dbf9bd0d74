"""Options that several commands have, each with one help, decided into one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from ftdiff.cli import words
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.cli.progress import Bars

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
R = TypeVar("R")


def decided(record: type[Any], name: str, *options: Decorator) -> Decorator:
    """Give a command these options, and hand it one `record` of their values, called `name`."""
    keys = [field.name for field in fields(record)]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(**given: Any) -> Any:
            values = {key: given.pop(key) for key in keys}
            return command(**given, **{name: record(**values)})

        wrapped: Callable[..., Any] = called
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


@dataclass(frozen=True)
class Workers:
    """Where to measure, in how much memory: threads of this process, processes, a cluster."""

    jobs: int | None
    processes: int | None
    dask: str | None
    wait: float | None
    memory: str | None

    @contextmanager
    def lent(self) -> Iterator[tuple[Executor | None, Bars | None]]:
        """Lend an executor, None for the default, and progress bars, None if nobody watches."""
        from ftdiff.cli import output, progress
        from ftdiff.comparison import executors
        from ftdiff.tensors.bounds import bounded

        lent = executors.executor(
            threads=self.jobs,
            processes=self.processes,
            dask=self.dask,
            wait=self.wait,
            say=output.say,
        )
        with bounded(self.memory), lent as executor, progress.bars() as bars:
            yield executor, bars


WORKERS = decided(
    Workers,
    "workers",
    click.option(
        "-j", "--jobs", type=int, metavar="N", help="Threads; one for each core by default."
    ),
    click.option("--processes", type=int, metavar="N", help="Measure in so many processes."),
    click.option(
        "--dask", metavar="ADDRESS", help="Measure on the workers of this Dask scheduler."
    ),
    click.option(
        "--wait",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="Give a cluster up that has had no worker for so long; waits for ever by default.",
    ),
    click.option(
        "--memory",
        metavar="SIZE",
        help="Hold so much beside the interpreter, in each process (default 400MB): tasks wait for "
        "each other, and what alone needs more is refused. By default it is measured alone.",
    ),
)


def format_of(*names: str, help: str = "What to print on standard output.") -> Decorator:
    """Return the option --format with these choices; the first is the default."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(names),
        default=names[0],
        show_default=True,
        help=help,
    )


FORMAT = format_of("table", "json", "csv")


class _Written(click.Path):
    """A path that is written: an empty one would be this folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "":
            self.fail("an empty path: '.' is this folder", param, ctx)
        return super().convert(value, param, ctx)


def output(help: str, **more: Any) -> Decorator:
    """Return the option -o, a folder or file that the command writes."""
    return click.option("-o", "--output", type=_Written(path_type=Path), help=help, **more)


def regrouped(*columns: str) -> Decorator:
    """Return the option --by, which regroups pairs or steps by these columns."""
    return click.option(
        "--by",
        multiple=True,
        type=click.Choice(columns),
        help="Regroup by this (repeat for several together).",
    )


def sides(metavar: str) -> Decorator:
    """Return the arguments BASE and TUNED, one or several; a lone one is TUNED, and names BASE."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(sides: tuple[str, ...], **given: Any) -> Any:
            base, *tuned = sides if len(sides) > 1 else (base_of(sides[0]), sides[0])
            return command(base=base, tuned=tuple(tuned), **given)

        return click.argument("sides", type=words.PLACE, metavar=metavar, nargs=-1, required=True)(
            called
        )

    return decorate


def base_of(tuned: str) -> str:
    """Return the base that a fine-tune names, and say which that is."""
    from ftdiff.adapters.named_base import named_base
    from ftdiff.cli import output as out

    found = named_base(tuned)
    out.say(str(found))
    return str(found.place)


@contextmanager
def kept(folder: Path | None, *, fresh: bool) -> Iterator[None]:
    """Keep what is measured in a folder, where one is written, and take what is there.

    Whoever writes into it does so within this block: until then no other run may.
    """
    if folder is None:
        if fresh:
            raise BadCall("--fresh: only with -o, which keeps what was measured")
        yield
        return
    if folder.exists() and not folder.is_dir():
        what = "a file" if folder.is_file() else "a device"
        raise BadCall(f"{folder}: {what}; -o names a folder")
    from ftdiff.cli import output as out
    from ftdiff.comparison import journal

    with journal.kept(folder / "journal.sqlite", out.say, fresh=fresh):
        yield


FRESH = click.option(
    "--fresh",
    is_flag=True,
    help="Measure all again: nothing is taken from what an earlier run has kept beside its result.",
)


@dataclass(frozen=True)
class Folder:
    """The folder that is written, if any, and whether what is kept there is dropped."""

    output: Path | None
    fresh: bool

    def kept(self) -> AbstractContextManager[None]:
        """Keep what is measured there."""
        return kept(self.output, fresh=self.fresh)


def folder(help: str) -> Decorator:
    """Return the options -o, of a folder that keeps what is measured, and --fresh."""
    return decided(Folder, "folder", output(help), FRESH)


METRIC = click.option(
    "-m",
    "--metric",
    type=words.METRIC,
    default="relative_norm",
    show_default=True,
    help="The metric to draw.",
)
