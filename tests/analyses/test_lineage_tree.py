from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ftdiff
from ftdiff import plots
from ftdiff.analyses.lineage_tree import Tree, deltas, join, tree_of
from ftdiff.errors import BadCall
from ftdiff.tensors import Array
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import State
from tests.conftest import write_model

Edges = list[tuple[int, int, float]]


@st.composite
def trees(draw: st.DrawFn) -> Edges:
    """Return the edges of an unrooted tree, all longer than 0; leaves are numbered from 0."""
    length = st.floats(0.01, 10.0)
    edges = [(leaf, 100, draw(length)) for leaf in range(3)]
    for leaf in range(3, draw(st.integers(3, 9))):
        node, parent, old = edges.pop(draw(st.integers(0, len(edges) - 1)))
        edges += [(node, 100 + leaf, old / 2), (100 + leaf, parent, draw(length))]
        edges.append((leaf, 100 + leaf, draw(length)))
    return edges


def between(edges: Edges, count: int) -> Array:
    """Return the length of the way between each two leaves."""
    near: dict[int, list[tuple[int, float]]] = {}
    for node, parent, length in edges:
        near.setdefault(node, []).append((parent, length))
        near.setdefault(parent, []).append((node, length))
    D = np.zeros((count, count))
    for leaf in range(count):
        ways = [(leaf, -1, 0.0)]
        while ways:
            node, before, so_far = ways.pop()
            if node < count:
                D[leaf, node] = so_far
            ways += [(one, node, so_far + x) for one, x in near[node] if one != before]
    return D


@given(trees())
def test_joining_neighbours_is_exact_where_distances_are_a_trees(edges: Edges) -> None:
    count = len({node for node, _, _ in edges if node < 100})
    D = between(edges, count)
    again = between(join(D), count)
    assert np.allclose(again, D, atol=1e-9 * D.max())
    assert len(join(D)) == 2 * count - 3
    assert all(delta < 1e-9 for delta in deltas(D))


def test_a_model_between_two_does_not_fit_and_most_of_all() -> None:
    draw = np.random.default_rng(0)
    base, a, b, c, d = draw.standard_normal((5, 20_000))
    models = {
        "base": 0 * base,
        "a": a,
        "a2": a + c,
        "b": b,
        "b2": b + d,
        "merge": 0.6 * a + 0.4 * b,
    }
    points = np.array([*models.values()])
    D = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    tree = tree_of([*models], D)
    assert tree.deltas[5] == max(tree.deltas) > 0.1 and 5 in tree.marked
    without = tree_of([*models][:5], D[:5, :5])
    assert max(without.deltas) < 0.05 and not without.marked


def test_a_star_has_no_delta_of_its_noise() -> None:
    steps = np.random.default_rng(1).standard_normal((6, 50_000))
    D = ((steps[:, None] - steps[None]) ** 2).sum(axis=-1)
    assert max(deltas(D)) == 0.0


def test_newick_and_the_drawing_say_the_same_tree() -> None:
    tree = Tree(
        ("tuned one", "base", "it's", "d"),
        ((2, 4, 0.04), (3, 4, 0.09), (0, 5, 0.01), (1, 5, -1e-9), (4, 5, 0.25)),
        (0.0, 0.0, 0.3, 0.0),
    )
    assert tree.newick == "('tuned one':0.01,base:0,('it''s':0.04,d:0.09):0.25);"
    assert tree.lines({0: "asked"}) == [
        "base",
        "└─ 0",
        "   ├─ 0.1 tuned one (asked)",
        "   └─ 0.5",
        "      ├─ 0.2 it's",
        "      └─ 0.3 d",
    ]
    assert Tree.of_document(tree.document()) == tree
    with pytest.raises(ValueError, match="tree"):
        Tree.of_document({**tree.document(), "deltas": [0.0]})


def family() -> tuple[State, dict[str, State]]:
    """Return a chain of fine-tunes, each step of a draw of its own, and a branch."""
    base = planted.base()
    code = planted.tuned(base, 1, 0.04, seed=11)[0]
    chat = planted.tuned(code, 1, 0.03, seed=12)[0]
    maths = planted.tuned(base, 1, 0.05, seed=13)[0]
    return chat, {"base": base, "code": code, "maths": maths}


def test_a_lineage_of_four_draws_the_tree_with_ancestors_inside() -> None:
    chat, others = family()
    found = ftdiff.lineage(chat, [*others.values()])
    assert found.verdict == "nearest" and found.merge is None
    tree = found.tree
    assert tree is not None and len(tree.models) == 4 and not tree.marked
    own = {tree.models[node]: length for node, _, length in tree.edges if node < 4}
    lengths = {name: math.sqrt(max(length, 0.0)) for name, length in own.items()}
    asked, code, base, maths = (lengths[name] for name in tree.models)  # the nearest first
    assert (code, base) == (pytest.approx(0, abs=0.006), pytest.approx(0, abs=0.006))
    assert (asked, maths) == (pytest.approx(0.03, rel=0.1), pytest.approx(0.05, rel=0.1))
    again = ftdiff.Lineage.of_document(found.document())
    assert again.tree == tree
    (axes,) = [plots.lineage(found)]
    assert {text.get_text() for text in axes.texts} == {*tree.models}
    with pytest.raises(BadCall, match="four models"):
        plots.draw(ftdiff.lineage(chat, [others["base"], others["code"]]))


def test_of_a_tree_with_a_merge_among_the_candidates_the_merge_is_named(tmp_path: Path) -> None:
    base = planted.base()
    a, b, c = (planted.tuned(base, 1, 0.05, seed=seed)[0] for seed in (21, 22, 23))
    a2 = planted.tuned(a, 1, 0.05, seed=25)[0]
    merge = planted.linear([a, b], [0.6, 0.4])
    folders = [
        write_model(tmp_path / name, state)
        for name, state in {"base": base, "a": a, "b": b, "c": c, "mix": merge}.items()
    ]
    found = ftdiff.lineage(a2, folders)
    assert found.verdict == "nearest" and found.merge is None and found.tree is not None
    assert "mix" in {found.tree.models[i] for i in found.tree.marked}
    (said,) = (one for one in found.sentences if one.startswith("of these"))
    assert "mix is a merge, exactly in a sample" in said
    assert "0.600000 of a + 0.400000 of b" in said
