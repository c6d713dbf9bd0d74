"""What commands say beside their result: files written, what was lost, a check that failed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli.voice import VOICE
from ftdiff.errors import one_line

if TYPE_CHECKING:
    from ftdiff.comparison.result import Diff

_LONGEST = 2000  # characters of a complaint: a name in a file may have a million


def say(text: str) -> None:
    """Tell whoever waits, unless `-q` was given; standard output is for what was asked for."""
    if not VOICE.quiet:
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Say what went wrong, whoever wants to hear it."""
    click.echo(text, err=True)


def wrote(paths: Iterable[Path]) -> None:
    """Name the files that were written."""
    say(f"wrote {', '.join(one_line(path) for path in paths)}")


def complain(text: object, kept: str = "the rest is kept", more: int = 0) -> None:
    """Say in one line what went wrong, how many more there are, and what is kept."""
    others = f" (and {more} more)" if more else ""
    warn(f"ftdiff: {one_line(text, _LONGEST)}{others}; {kept}")


def lost(unreadable: Mapping[str, str], name: str = "") -> bool:
    """Say which tensors could not be read, if any; of several fine-tunes that of `name`."""
    if not unreadable:
        return False
    first = next(iter(unreadable.values()))
    complain(f"{name}: {first}" if name else first, more=len(unreadable) - 1)
    return True


def lost_among(unreadable: Mapping[str, Mapping[str, str]]) -> bool:
    """Say which tensors of which fine-tune could not be read, if any."""
    every = [f"{n}: {t}: {why}" for n, tensors in unreadable.items() for t, why in tensors.items()]
    if every:
        complain(every[0], more=len(every) - 1)
    return bool(every)


def too_little(diff: Diff, min_coverage: float, name: str = "") -> bool:
    """Say that a smaller share of the parameters was compared than is asked for, if so."""
    from ftdiff.comparison import coverage

    said = coverage.too_little(diff.about, min_coverage)
    if said:
        warn(f"ftdiff: {name}: {said}" if name else f"ftdiff: {said}")
    return bool(said)


def stop_at_unreadable(diff: Diff) -> None:
    """Exit with 2 where a tensor could not be read, once what could be is printed."""
    if lost(diff.about["unreadable"]):
        sys.exit(2)
