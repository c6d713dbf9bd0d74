"""The tree that squared distances of models draw: neighbour joining, and which leaves do not fit.

Where each model is its parent plus a step that has to do with no other, squared distances add up
along the tree. Steps that share a direction, as fine-tunes on like data have them, bend it, and a
merge is on no tree: both are seen in quartets of models (`deltas`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ftdiff.tensors import Array

#: From this mean δ on a model may be merged; and so near to the largest it is the one to ask.
_BENT, _LARGEST = 0.05, 0.9
#: Three sums that differ by a smaller share are those of a star, whose δ is the noise's.
_STAR = 0.05


@dataclass(frozen=True)
class Tree:
    """An unrooted tree of models.

    Attributes
    ----------
    models
        The leaves: nodes 0 to n − 1; the first is the one that is asked for.
    edges
        (node, parent, squared length), each node but the last once; the last is where drawing of
        the tree began, no ancestor of all.
    deltas
        By leaf, the mean δ of the quartets that it is in: 0 where it is on a tree.
    """

    models: tuple[str, ...]
    edges: tuple[tuple[int, int, float], ...]
    deltas: tuple[float, ...]

    @property
    def marked(self) -> tuple[int, ...]:
        """Leaves that may be merges: a mark proposes, and proves nothing."""
        most = max(self.deltas, default=0.0)
        if most < _BENT:
            return ()
        return tuple(i for i, one in enumerate(self.deltas) if one >= _LARGEST * most)

    @property
    def newick(self) -> str:
        """The tree as Newick writes it, with squared lengths, none below 0."""
        below: dict[int, list[tuple[int, float]]] = {}
        for node, parent, length in self.edges:
            below.setdefault(parent, []).append((node, length))

        def written(node: int) -> str:
            if node < len(self.models):
                return _quoted(self.models[node])
            parts = [f"{written(one)}:{max(length, 0.0):.6g}" for one, length in below[node]]
            return f"({','.join(parts)})"

        return written(self.edges[-1][1]) + ";"

    def lines(self, marks: Mapping[int, str]) -> list[str]:
        """Draw it in text from the leaf whose own branch is shortest, lengths not squared.

        >>> tree = Tree(("b", "base", "a"), ((0, 3, 0.01), (1, 3, 0.0), (2, 3, 0.04)), (0,) * 3)
        >>> print("\\n".join(tree.lines({0: "this one"})))
        base
        └─ 0
           ├─ 0.1 b (this one)
           └─ 0.2 a
        """
        root = self.root
        near = self.neighbours
        found = [self._named(root, marks)]

        def draw(node: int, before: int, indent: str) -> None:
            nexts = [(one, length) for one, length in near[node] if one != before]
            for i, (one, length) in enumerate(nexts):
                last = i == len(nexts) - 1
                name = f" {self._named(one, marks)}" if one < len(self.models) else ""
                size = f"{math.sqrt(max(length, 0.0)):.3g}"
                found.append(f"{indent}{'└' if last else '├'}─ {size}{name}")
                draw(one, node, indent + ("   " if last else "│  "))

        draw(root, -1, "")
        return found

    @property
    def root(self) -> int:
        """The leaf, of the others, whose own branch is the shortest: an ancestor has none."""
        own = {node: max(length, 0.0) for node, _, length in self.edges if node < len(self.models)}
        return min(own, key=lambda node: (node == 0, node in self.marked, own[node], node))

    @property
    def neighbours(self) -> dict[int, list[tuple[int, float]]]:
        """By node, those that it is joined to, with the squared lengths."""
        near: dict[int, list[tuple[int, float]]] = {}
        for node, parent, length in self.edges:
            near.setdefault(node, []).append((parent, length))
            near.setdefault(parent, []).append((node, length))
        return near

    def _named(self, node: int, marks: Mapping[int, str]) -> str:
        return self.models[node] + (f" ({marks[node]})" if node in marks else "")

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "newick": self.newick,
            "models": [*self.models],
            "edges": [[*edge] for edge in self.edges],
            "deltas": [*self.deltas],
            "marked": [self.models[i] for i in self.marked],
        }

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Tree:
        """Return the tree of what `document` gave.

        Raises
        ------
        TypeError, ValueError, KeyError
            It is none.
        """
        models, deltas = tuple(map(str, stored["models"])), tuple(map(float, stored["deltas"]))
        edges = tuple((int(a), int(b), float(x)) for a, b, x in stored["edges"])
        tree = cls(models, edges, deltas)
        nodes = {node for node, _, _ in edges}
        if len(deltas) != len(models) or not {*range(len(models))} <= nodes:
            raise ValueError("tree")
        return tree


def tree_of(models: Sequence[str], distances: Array) -> Tree:
    """Join three models or more by the squared distances between them."""
    return Tree(tuple(models), tuple(join(distances)), deltas(distances))


def join(distances: Array) -> list[tuple[int, int, float]]:
    """Join neighbours (Saitou and Nei 1987), as in Studier and Keppler (1988).

    Parameters
    ----------
    distances
        n × n, symmetric, of three leaves at least.

    Returns
    -------
    list of (node, parent, length)
        Exact where the distances are a tree's. A length may be negative where they are not.
    """
    D = np.array(distances, dtype=float)
    nodes, following = [*range(len(D))], len(D)
    edges: list[tuple[int, int, float]] = []
    while len(nodes) > 3:
        n, sums = len(nodes), D.sum(axis=1)
        Q = (n - 2) * D - sums[:, None] - sums[None, :]
        np.fill_diagonal(Q, np.inf)
        i, j = sorted(divmod(int(Q.argmin()), n))
        own = D[i, j] / 2 + (sums[i] - sums[j]) / (2 * (n - 2))
        edges += [(nodes[i], following, float(own)), (nodes[j], following, float(D[i, j] - own))]
        rest = [k for k in range(n) if k not in (i, j)]
        new = (D[i, rest] + D[j, rest] - D[i, j]) / 2
        D = np.block([[D[np.ix_(rest, rest)], new[:, None]], [new[None, :], np.zeros((1, 1))]])
        nodes = [*(nodes[k] for k in rest), following]
        following += 1
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        edges.append((nodes[i], following, float(D[i, j] + D[i, k] - D[j, k]) / 2))
    return edges


def deltas(distances: Array) -> tuple[float, ...]:
    """Return the mean δ of each model's quartets (Holland and others 2002).

    Of four models the two largest of the three sums of opposite distances are equal on a tree; δ is
    how far they are from it, over how far the smallest is from the largest: 0 to 1.
    """
    D, n = np.asarray(distances, dtype=float), len(distances)
    found: list[list[float]] = [[] for _ in range(n)]
    for a, b, c, d in combinations(range(n), 4):
        low, middle, high = sorted((D[a, b] + D[c, d], D[a, c] + D[b, d], D[a, d] + D[b, c]))
        wide = high - low
        delta = (high - middle) / wide if wide > _STAR * high else 0.0
        for one in (a, b, c, d):
            found[one].append(float(delta))
    return tuple(float(np.mean(one)) if one else 0.0 for one in found)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w./+-]+", name) else "'" + name.replace("'", "''") + "'"
