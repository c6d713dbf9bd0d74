"""Names of real architectures have the places that they should."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import ftdiff
from ftdiff.naming import locate
from tests.conftest import FIXTURES

NAMES = FIXTURES / "names"
MODELS = {
    path.name[: -len(".json")]: list(json.loads(path.read_text()))
    for path in sorted(NAMES.glob("*.json"))
}
EXPECTED = tomllib.loads((NAMES / "expected.toml").read_text("utf-8"))
TABLES = {
    path.stem: tomllib.loads(path.read_text("utf-8"))
    for path in sorted((Path(ftdiff.__file__).parent / "naming" / "families").glob("*.toml"))
    if path.stem != "words"
}
STANDARD = {"attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate"}
LISTS = "layers?|h|blocks?|conv_layers|deepstack_merger_list|albert_layer_groups"
every_model = pytest.mark.parametrize("model", MODELS)


@every_model
def test_every_name_is_located_once_and_in_order(model: str) -> None:
    places = locate(MODELS[model])
    assert list(places) == MODELS[model]
    assert [place.name for place in places.values()] == MODELS[model]


@every_model
def test_every_stack_has_all_its_layers(model: str) -> None:
    places = locate(MODELS[model]).values()
    stacks = EXPECTED[model]["stacks"]
    assert {place.stack for place in places if place.layer is not None} == set(stacks)
    for stack, table in stacks.items():
        layers = {place.layer for place in places if place.stack == stack}
        assert layers - {None} == set(range(table["layers"]))


@every_model
def test_every_tensor_of_a_block_is_in_a_layer(model: str) -> None:
    block = re.compile(rf"(^|\.)({LISTS})\.\d+\.")
    for name, place in locate(MODELS[model]).items():
        assert (place.layer is not None) == bool(block.search(name)), name


@every_model
def test_components_are_the_modules_that_they_should_be(model: str) -> None:
    places = locate(MODELS[model]).values()
    for stack, table in EXPECTED[model]["stacks"].items():
        for component in STANDARD | set(table) - {"layers"}:
            modules = {
                place.module
                for place in places
                if (place.stack, place.component) == (stack, component)
            }
            assert table[component] in modules if component in table else not modules, component


@every_model
def test_only_what_is_listed_has_no_role(model: str) -> None:
    for place in locate(MODELS[model]).values():
        if not place.role:
            assert re.fullmatch(EXPECTED[model].get("unnamed", "-"), place.component), place
            assert place.component == place.module


@every_model
def test_no_two_tensors_of_a_layer_mean_the_same(model: str) -> None:
    places = locate(MODELS[model]).values()
    meanings = Counter(
        (place.stack, place.layer, place.sublayer, place.component, place.param, place.expert)
        for place in places
    )
    assert [place for place, count in meanings.items() if count > 1] == []


def test_tables_never_contradict_each_other() -> None:
    seen: dict[tuple[str, str], str] = {}
    for table in TABLES.values():
        assert set(table) <= {"when", "layer", "outside"}
        for where in {"layer", "outside"} & set(table) if "when" not in table else ():
            for module, component in table[where].items():
                assert seen.setdefault((where, module), component) == component


@pytest.mark.parametrize("family", TABLES)
def test_tables_speak_of_known_blocks_in_two_words(family: str) -> None:
    for where in ("layer", "outside"):
        for module, component in TABLES[family].get(where, {}).items():
            assert re.fullmatch(
                r"(attn|mlp|ssm|conv|cond|norm|embed|head)\.[a-z0-9_]+", component
            ), component
            assert len(module.split(".")) <= 6
