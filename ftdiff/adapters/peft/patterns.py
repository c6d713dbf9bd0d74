"""Patterns of a configuration against the path of a module: never for long, be they thousands."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

from ftdiff.errors import BadAdapter, one_line

#: Steps that matching one name may take before a pattern is refused: a second of them.
_STEPS = 10**8
#: Patterns with syntax that each module is held against: PEFT tries all of them, for as long.
_MOST = 1000
#: What of a pattern is no syntax: escaped characters and sets of them.
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEAT = re.compile(r"[*+]|\{\d*,\d*\}")
_AGAIN = re.compile(r"[*+]|\{\d*,?\d*\}")
#: A pattern without syntax but the dot, which is any character.
_PLAIN = re.compile(r"[\w.-]+")


def first_match(patterns: Mapping[str, Any], path: str, field: str) -> str | None:
    """Return the first of a map's patterns that matches the end of a path, at a dot; else None.

    Raises
    ------
    BadAdapter
        One that comes before it is no pattern, or one that could be tried for hours.
    """
    return _indexed(_Same(patterns)).first(path, field)


def matches(pattern: str, path: str, field: str) -> bool:
    """Say whether a pattern of the configuration is the whole path; never for long.

    Raises
    ------
    BadAdapter
        It is no pattern, or one that could be tried for hours: repeats inside repeats, or many of
        them against a long name.
    """
    repeats, nested = _repeats(pattern)
    if nested or math.comb(len(path) + repeats, repeats) > _STEPS:
        shown = one_line(pattern, 80)
        raise BadAdapter(
            f"adapter_config.json: {field} {shown!r} could be matched for hours: write it with "
            "fewer repeats, and none inside another"
        )
    try:
        return _compiled(pattern).fullmatch(path) is not None
    except (re.error, RecursionError, OverflowError) as error:
        shown = one_line(pattern, 80)
        raise BadAdapter(
            f"adapter_config.json: {field} {shown!r} is no pattern ({error})"
        ) from error


_compiled = lru_cache(maxsize=4096)(re.compile)


@lru_cache(maxsize=4096)
def _repeats(pattern: str) -> tuple[int, bool]:
    plain = _ATOM.sub("a", pattern)
    return len(_REPEAT.findall(plain)), _nested(plain)


def _nested(plain: str) -> bool:
    """Say whether a group that can match in several ways is repeated."""
    several: list[bool] = []
    for at, letter in enumerate(plain):
        if letter == "(":
            several.append(False)
        elif letter == ")" and several:
            inside = several.pop()
            if inside and _AGAIN.match(plain, at + 1):
                return True
            if several:
                several[-1] |= inside
        elif letter in "*+{|?" and several and plain[at - 1] != "(":
            several[-1] = True
    return False


class _Same:
    """A map that equals itself alone, so that what is made of it can be kept."""

    def __init__(self, patterns: Mapping[str, Any]) -> None:
        self.patterns = patterns

    def __hash__(self) -> int:
        return id(self.patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.patterns is other.patterns


class _Patterns:
    """Patterns in order; those that are paths are looked up, for each module may have its own."""

    def __init__(self, patterns: Mapping[str, Any]) -> None:
        self._patterns = patterns

    @cached_property
    def _others(self) -> list[tuple[int, str]]:
        return [(at, one) for at, one in enumerate(self._patterns) if not _PLAIN.fullmatch(one)]

    @cached_property
    def _paths(self) -> dict[tuple[int, ...], dict[str, tuple[int, str]]]:
        """The plain ones by their length and where their dots are."""
        found: dict[tuple[int, ...], dict[str, tuple[int, str]]] = defaultdict(dict)
        for at, one in enumerate(self._patterns):
            if _PLAIN.fullmatch(one):
                dots = [i for i, letter in enumerate(one) if letter == "."]
                found[len(one), *dots][one] = at, one
        return dict(found)

    @cached_property
    def _lengths(self) -> dict[int, list[tuple[int, ...]]]:
        found: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        for size, *dots in self._paths:
            found[size].append(tuple(dots))
        return found

    def first(self, path: str, field: str) -> str | None:
        """Return the first that matches the end of a path, at a dot."""
        if len(self._others) > _MOST:
            raise BadAdapter(
                f"adapter_config.json: {field} has {len(self._others):,} patterns that are no "
                f"paths, of which {_MOST:,} are tried"
            )
        hit = min(self._plain_hits(path), default=None)
        for at, one in self._others:
            if hit is not None and hit[0] < at:
                break
            if matches(rf"(.*\.)?({one})", path, field):
                return one
        return None if hit is None else hit[1]

    def _plain_hits(self, path: str) -> Iterator[tuple[int, str]]:
        ends = [0, *(i + 1 for i, letter in enumerate(path) if letter == ".")]
        for end in (path[start:] for start in ends if "\n" not in path):
            for dots in self._lengths.get(len(end), ()):
                letters = list(end)
                for dot in dots:
                    letters[dot] = "."
                hit = self._paths[len(end), *dots].get("".join(letters))
                if hit is not None:
                    yield hit


@lru_cache(maxsize=8)
def _indexed(one: _Same) -> _Patterns:
    return _Patterns(one.patterns)
