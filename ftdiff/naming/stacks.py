"""Name the towers of a file after the paths to their lists of blocks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftdiff.naming.tables import Words

_Path = tuple[str, ...]
# Deeper paths do not name a tower: hostile names stay linear.
_DEEPEST = 12
_OTHER_HALF = {"encoder": "decoder", "decoder": "encoder"}


@dataclass(frozen=True)
class Stacks:
    """The stack of each list of blocks, and of what stands beside the lists."""

    of: Mapping[str, str]
    beside: Mapping[_Path, str]
    words: Words

    @classmethod
    def learn(cls, containers: Collection[str], words: Words) -> Stacks:
        """Name the stacks of a file by the fewest words that keep them apart.

        A single stack has the name "". `encoder` stays where there is a `decoder`; a vision tower
        beside a language model is `vision`, the language model "".
        """
        paths = {container: _canonical(container.split("."), words) for container in containers}
        bare = {at: path[:-1] if _is_list(at, words) else path for at, path in paths.items()}
        twice = Counter(bare.values())
        full = {at: path if twice[path] == 1 else paths[at] for at, path in bare.items()}
        shared = len(_common(full.values()))
        short = {path[shared:] for path in full.values()}
        stack = {at: _shorten(path[shared:], short) for at, path in full.items()}
        below: dict[_Path, set[_Path]] = defaultdict(set)
        for at, path in full.items():
            for n in range(1, min(len(path), _DEEPEST) + 1):
                below[path[:n]].add(stack[at])
        return cls(
            {at: ".".join(name) for at, name in stack.items()},
            {path: ".".join(_common(names)) for path, names in below.items()},
            words,
        )

    def split(self, module: str) -> tuple[str, str]:
        """Cut the longest path of a stack off a module that is in no layer."""
        parts = module.split(".")
        stack, start = "", 0
        path: _Path = ()
        for n, word in enumerate(parts[: min(len(parts) - 1, _DEEPEST)], 1):
            path = _append(path, word, self.words)
            if path in self.beside:
                stack, start = self.beside[path], n
        return stack, ".".join(parts[start:])


def _is_list(container: str, words: Words) -> bool:
    return container.rpartition(".")[2] in words.lists


def _canonical(parts: Iterable[str], words: Words) -> _Path:
    path: list[str] = []
    for word in parts:
        path[:] = _append(path, word, words)
    return tuple(path)


def _append(path: Sequence[str], word: str, words: Words) -> _Path:
    """Add a word to a path, unless it wraps or says the last one again."""
    word = words.towers.get(word, word)
    known = word in words.wrappers or tuple(path[-1:]) == (word,)
    return (*path, *([] if known else [word]))


def _common(paths: Iterable[_Path]) -> _Path:
    """The leading words that all paths share."""
    ends = [*(sorted(paths) or [()])]
    first, last = ends[0], ends[-1]
    n = 0
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return first[:n]


def _shorten(path: _Path, others: Collection[_Path]) -> _Path:
    """Drop a last `encoder` or `decoder` that distinguishes nothing."""
    if not path or path[-1] not in _OTHER_HALF:
        return path
    half = (*path[:-1], _OTHER_HALF[path[-1]])
    return path if half in others or path[:-1] in others else path[:-1]
