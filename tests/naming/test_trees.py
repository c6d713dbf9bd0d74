"""Layers are those of the module trees, and roles are told, over many architectures."""

from __future__ import annotations

from functools import cache

import pytest

from ftdiff.naming import Address, locate
from tests.conftest import FIXTURES
from tests.naming.trees import Named, trees

#: Pairs of type and name, drawn at random, with the components that they have as read by hand.
SAMPLE = [
    line.split("\t") for line in (FIXTURES / "names" / "roles.tsv").read_text("utf-8").splitlines()
]


@cache
def placed() -> dict[str, tuple[tuple[Named, Address], ...]]:
    """Return the matrices of each type with their true and their found places."""
    found = {}
    for kind, names in trees().items():
        places = locate([one.name for one in names])
        found[kind] = tuple((one, places[one.name]) for one in names if one.matrix)
    return found


def test_there_are_lists_of_many_architectures() -> None:
    assert len(trees()) >= 250
    assert sum(one.layer is not None for names in trees().values() for one in names) > 50_000


def test_layers_are_those_of_the_module_trees() -> None:
    pairs = [pair for pairs in placed().values() for pair in pairs]
    right = sum(one.layer == place.layer for one, place in pairs)
    assert right >= 0.9995 * len(pairs)
    poor = {
        kind
        for kind, pairs in placed().items()
        if sum(one.layer == place.layer for one, place in pairs) < 0.99 * len(pairs)
    }
    assert poor == set()


def test_sublayers_are_those_of_the_lists_inside() -> None:
    pairs = [pair for pairs in placed().values() for pair in pairs]
    told = [(one, place) for one, place in pairs if place.sublayer is not None]
    assert sum(one.sublayer == place.sublayer for one, place in told) >= 0.995 * len(told)
    # T5 numbers the parts of a block, which are unlike: no list of blocks to us
    nested = [(one, place) for one, place in pairs if one.sublayer and ".layer." not in one.name]
    assert sum(one.sublayer == place.sublayer for one, place in nested) >= 0.98 * len(nested)


def test_the_numbered_parts_of_a_t5_block_are_no_sublayers() -> None:
    assert not any(place.sublayer for _, place in placed()["t5"])
    parts = {place.module for _, place in placed()["t5"] if place.layer is not None}
    assert {
        "layer.0.SelfAttention.q",
        "layer.1.EncDecAttention.q",
        "layer.2.DenseReluDense.wo",
    } <= (parts)


def test_roles_are_told_inside_layers() -> None:
    places = [place for pairs in placed().values() for one, place in pairs if one.layer is not None]
    assert sum(bool(place.role) for place in places) >= 0.94 * len(places)
    # names that differ in numbers only count once, so that deep models do not count more
    kinds = {
        (kind, place.stack, place.module): bool(place.role)
        for kind, pairs in placed().items()
        for one, place in pairs
        if one.layer is not None
    }
    assert sum(kinds.values()) >= 0.93 * len(kinds)


def test_the_sample_is_of_hundreds_of_names_drawn_from_the_lists() -> None:
    assert len({(kind, name) for kind, name, _ in SAMPLE}) == len(SAMPLE) >= 300


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in SAMPLE}))
def test_no_role_that_was_read_by_hand_is_false(kind: str) -> None:
    places = {one.name: place for one, place in placed()[kind]}
    for of, name, component in SAMPLE:
        if of == kind:
            assert places[name].component == component, name
