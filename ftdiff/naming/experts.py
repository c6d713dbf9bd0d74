"""Names of experts that are stacked in one tensor, and of those that are stored one by one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from ftdiff.naming import strip_wrappers

_ONE = re.compile(
    r"(?P<path>.+\.)experts\.(?P<number>\d{1,6})\.(?P<word>\w+)\.(?P<param>weight|bias)"
)
#: Lists of projections inside the experts: `experts.down_projs.3.weight`.
_LISTED = re.compile(
    r"(?P<path>.+\.)experts\.(?P<word>\w+)s\.(?P<number>\d{1,6})\.(?P<param>weight|bias)"
)


@dataclass(frozen=True)
class Stack:
    """A tensor of all experts of a layer: the path to them, its word, and "weight" or "bias"."""

    name: str
    path: str
    word: str
    param: str


@dataclass(frozen=True)
class Apart:
    """The tensors of one word, expert by expert.

    Attributes
    ----------
    path
        To the experts, with the last dot.
    inner
        What is below it, "{}" for the expert's number.
    names
        By the number.
    """

    path: str
    inner: str
    names: dict[int, str] = field(default_factory=dict)

    def at(self, number: int) -> str:
        """Return the name of an expert's, whether or not the file has it."""
        return self.path + self.inner.format(number)


#: Tensors of experts by word and parameter.
Words = dict[tuple[str, str], Apart]


def stacks(names: Iterable[str]) -> dict[str, list[Stack]]:
    """Return the stacked tensors, by the path to their experts.

    >>> (found,) = stacks(["layers.0.mlp.experts.gate_up_proj_bias"])["layers.0.mlp."]
    >>> found.word, found.param
    ('gate_up_proj', 'bias')
    """
    found: dict[str, list[Stack]] = defaultdict(list)
    for name in names:
        words = name.split(".")
        param = words.pop() if words[-1] in ("weight", "bias") else "weight"
        word = words.pop() if words else ""
        if word.endswith("_bias"):
            word, param = word.removesuffix("_bias"), "bias"
        if words and words[-1] in _table()["holders"] and word in _parts():
            path = ".".join([*words[:-1], ""])
            found[path].append(Stack(name, path, word, param))
    return found


def apart(names: Iterable[str]) -> dict[str, Words]:
    """Return the tensors of single experts, by the path to them.

    >>> found = apart([f"layers.0.mlp.experts.{e}.w1.weight" for e in range(2)])
    >>> found["layers.0.mlp."]["w1", "weight"].at(1)
    'layers.0.mlp.experts.1.w1.weight'
    """
    found: dict[str, Words] = defaultdict(dict)
    for name in names:
        one = _ONE.fullmatch(name)
        told = one or _LISTED.fullmatch(name)
        if told is None:
            continue
        path, word, param = told["path"], told["word"], told["param"]
        inner = f"experts.{{}}.{word}.{param}" if one else f"experts.{word}s.{{}}.{param}"
        group = found[path].setdefault((word, param), Apart(path, inner))
        if group.inner == inner and name == group.at(int(told["number"])):
            group.names[int(told["number"])] = name
    return found


def same_paths(here: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Pair paths to experts, whatever wraps the model and its block of experts is called.

    >>> same_paths(["model.layers.0.mlp."], ["layers.0.block_sparse_moe."])
    {'model.layers.0.mlp.': 'layers.0.block_sparse_moe.'}
    """
    mine, theirs = dict.fromkeys(here), dict.fromkeys(there)
    pairs: dict[str, str] = {}
    for key in (str, _bare, _tail):
        left = _unique(key, (path for path in mine if path not in pairs))
        right = _unique(key, (path for path in theirs if path not in pairs.values()))
        pairs |= {path: right[one] for one, path in left.items() if one in right}
    return pairs


def parts(stack: Stack, words: Words) -> tuple[Apart, ...]:
    """Return the parts of one expert, in the order of the rows; none where no name fits.

    Of those of which the file has none the names are made.
    """
    best: tuple[str, ...] = ()
    for option in _parts()[stack.word]:
        there = sum((word, stack.param) in words for word in option)
        if there > sum((word, stack.param) in words for word in best):
            best = option
    known = next((words[word, stack.param] for word in best if (word, stack.param) in words), None)
    if known is None:
        return ()
    return tuple(
        words.get((word, stack.param)) or Apart(known.path, f"experts.{{}}.{word}.{stack.param}")
        for word in best
    )


def is_turned(model_type: str) -> bool:
    """Say whether a model type's stacks hold their matrices as inputs × outputs."""
    return model_type in _table()["layouts"]["turned"]


def is_interleaved(model_type: str) -> bool:
    """Say whether a model type's stacks have the rows of gate and up by turns."""
    return model_type in _table()["layouts"]["interleaved"]


def _unique(key: Any, paths: Iterable[str]) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        found[key(path)].append(path)
    return {one: held[0] for one, held in found.items() if len(held) == 1}


def _bare(path: str) -> str:
    """Return a path without wrapper words, and without the word for the block."""
    words = strip_wrappers(path).removesuffix(".").split(".")
    return ".".join(words[:-1] if words[-1] in _table()["blocks"] else words)


def _tail(path: str) -> str:
    """Return the end of a path from the word before its first number on."""
    words = _bare(path).split(".")
    first = next((i for i, word in enumerate(words) if word.isdecimal()), 0)
    return ".".join(words[max(first - 1, 0) :])


def _options() -> Iterator[tuple[str, tuple[tuple[str, ...], ...]]]:
    for row in _table()["stacks"]:
        yield row["stacked"], tuple(tuple(words) for words in row["parts"])


@cache
def _parts() -> Mapping[str, tuple[tuple[str, ...], ...]]:
    return dict(_options())


@cache
def _table() -> Mapping[str, Any]:
    import tomllib

    return tomllib.loads((files("ftdiff") / "naming" / "experts.toml").read_text("utf-8"))
