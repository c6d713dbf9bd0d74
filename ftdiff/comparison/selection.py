"""`Selection`: which tensors are wanted, by their names, components, layers, or the largest few."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ftdiff.errors import BadCall, near

_RANGE = re.compile(r"\s*(\d+)\s*(?:(-)\s*(\d+)?\s*)?")


class Placed(NamedTuple):
    """A tensor's name, and where it belongs."""

    name: str
    component: str | None = None
    stack: str | None = None
    layer: int | None = None


@dataclass(frozen=True)
class Selection:
    """Which tensors are wanted; all of them where nothing is asked.

    Attributes
    ----------
    include, exclude
        Globs. One fits a tensor whose name it is, or whole parts of it: `q_proj`, `layers.3.*`,
        `*.bias`; or its component or its stack: `attn.*`, `mlp.up`, `vision*`. What an `exclude`
        fits is left out, also where an `include` fits it.
    layers
        Numbers and ranges of layers, both ends in it: "0-7", "0-3,28-"; "" for all. What stands in
        no layer, as an embedding, is then left out.
    top
        Of what is left, only so many tensors, those in which the metric is largest: matrices, and
        vectors where no matrix was measured.

    Examples
    --------
    >>> Selection(include=("attn.*",), layers="0-7,12", top=5).words
    "--include 'attn.*' --layers 0-7,12 --top 5"
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    layers: str = ""
    top: int | None = None

    def __post_init__(self) -> None:
        """Check that it can be understood.

        Raises
        ------
        BadCall
            The layers are no numbers and ranges, or fewer than one tensor is asked for.
        """
        _ranges(self.layers)
        if self.top is not None and self.top < 1:
            raise BadCall(f"--top {self.top}: at least one tensor is wanted")

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return bool(self.include or self.exclude or self.layers or self.top)

    @property
    def words(self) -> str:
        """What is asked, as the shell takes it."""
        parts = [f"--include {one!r}" for one in self.include]
        parts += [f"--exclude {one!r}" for one in self.exclude]
        parts += [f"--layers {self.layers}"] if self.layers else []
        return " ".join([*parts, *([f"--top {self.top}"] if self.top else [])])

    def record(self) -> dict[str, Any]:
        """Return what is asked as values that JSON holds."""
        asked = {
            "include": [*self.include], "exclude": [*self.exclude], "layers": self.layers,
            "top": self.top,
        }  # fmt: skip
        return {name: value for name, value in asked.items() if value}

    def picked(self, tensors: Iterable[Placed]) -> list[str]:
        """Return the names of the tensors that are wanted, `top` aside.

        Raises
        ------
        BadCall
            There is none, or a glob or the layers fit nothing; near words are suggested.
        """
        every = [*tensors]
        spans = _ranges(self.layers)
        for option, globs in (("--include", self.include), ("--exclude", self.exclude)):
            for glob in globs:
                if not any(fits(glob, one) for one in every):
                    raise BadCall(f"{option} {glob!r} fits {_none_of(every)}{_near(glob, every)}")
        found = [
            one.name
            for one in every
            if (not self.include or any(fits(glob, one) for glob in self.include))
            and not any(fits(glob, one) for glob in self.exclude)
            and (not spans or (one.layer is not None and any(one.layer in s for s in spans)))
        ]
        if not found:
            there = [one.layer for one in every if one.layer is not None]
            known = f"; layers are {min(there)}-{max(there)}" if there else "; there are no layers"
            raise BadCall(f"{self.words} fits {_none_of(every)}{known if spans else ''}")
        return found


def selection_of(asked: Selection | Mapping[str, Any] | None) -> Selection:
    """Return a selection, also of a mapping of what is asked: {"layers": "0-7"}.

    Raises
    ------
    BadCall
        Something else is asked.
    """
    if isinstance(asked, Selection):
        return asked
    try:
        given = dict(asked or {})
        for name in {"include", "exclude"} & given.keys():
            value = given[name]
            given[name] = (value,) if isinstance(value, str) else tuple(value)
        return Selection(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, BadCall):
            raise
        raise BadCall(
            f"a selection is of include, exclude, layers and top, not {asked!r}"
        ) from error


def is_record(found: Mapping[str, Any]) -> bool:
    """Say whether a saved selection has what is read of it."""
    try:
        for one in found["asked"]:
            _ = selection_of(one).words
        return all(type(found[name]) is int for name in ("tensors", "of"))
    except (BadCall, LookupError, TypeError):
        return False


def fits(glob: str, tensor: Placed) -> bool:
    """Say whether a glob fits a tensor: its name, whole parts of it, its component or stack.

    >>> fits("q_proj", Placed("layers.3.q_proj.weight")), fits("layers.3", Placed("layers.30.w"))
    (True, False)
    """
    words = (tensor.component, tensor.stack)
    return fnmatchcase(f".{tensor.name}.", f"*.{glob}.*") or any(
        fnmatchcase(word, glob) for word in words if word
    )


def _ranges(layers: str) -> list[range]:
    """Return the layers of "0-7,12"; of "28-" all from there on."""
    found = []
    for part in layers.split(",") if layers else ():
        read = _RANGE.fullmatch(part)
        if read is None or len(part) > 20:
            raise BadCall(f"--layers {layers}: layers are numbers and ranges, as 0-7 or 0-3,28-")
        first = int(read[1])
        last = int(read[3]) if read[3] else first if read[2] is None else 1 << 31
        if last < first:
            raise BadCall(f"--layers {layers}: {part.strip()} ends before it begins")
        found.append(range(first, last + 1))
    return found


def _none_of(every: list[Placed]) -> str:
    return f"none of {len(every):,} tensor{'' if len(every) == 1 else 's'}"


def _near(glob: str, every: list[Placed]) -> str:
    """Suggest components and parts of names that are nearly what was asked."""
    words = dict.fromkeys(one.component for one in every if one.component)
    words |= dict.fromkeys(part for one in every for part in one.name.split("."))
    return near(glob.strip("*."), (word for word in words if not word.isdigit()))
