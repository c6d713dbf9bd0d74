"""PEFT's types with a formula are rows of one class, and what a row says is how it is read."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest

import ftdiff.adapters.peft.closed_forms as package
from ftdiff.adapters.family import Module, Reading, Target
from ftdiff.adapters.peft.capabilities import read_table
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.folder import FAMILIES
from ftdiff.deltas.recipes import Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.tensors import ArrayTensor

#: Types that are modules of their own, and what their docstring says of it.
MODULES = {"LORA": "its kind depends on the configuration"}
FORMS = {type: family for type, family in FAMILIES.items() if isinstance(family, ClosedForm)}


def test_every_family_is_a_row_or_says_why_not() -> None:
    for type, family in FAMILIES.items():
        if not isinstance(family, ClosedForm):
            assert "ClosedForm" in (inspect.getdoc(family) or "")
            assert MODULES[type] in (inspect.getdoc(family) or "")
    assert set(FORMS) | set(MODULES) == set(FAMILIES)


def test_every_row_is_written_once_and_listed() -> None:
    modules = [
        import_module(m.name)
        for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    written = {module.FORM.name: module for module in modules if hasattr(module, "FORM")}
    assert {form.name for form in FORMS.values()} == set(written)
    for module in written.values():
        again = {"kind", "_read"} & set(vars(module))
        assert not again, f"{module.__name__} repeats {again}, which ClosedForm does"


@pytest.mark.parametrize("type", FORMS)
def test_a_row_s_name_is_that_of_the_table(type: str) -> None:
    rows = [row for row in read_table()[type] if row.way == "closed"]
    assert {FORMS[type].kind({})} == {row.kind for row in rows}


@pytest.mark.parametrize("type", FORMS)
def test_a_row_takes_no_other_type_s_keys(type: str) -> None:
    assert FORMS[type].split("model.layers.0.q_proj.weight") is None
    assert FORMS[type].split("model.layers.0.q_proj.oft_R.default.weight") is None


def _module(path: str) -> Module:
    return Module(path, {"toy": ArrayTensor(np.ones((2, 2), "f4"))}, {}, Target(None))


def _refuse(module: Module) -> Reading:
    raise BadAdapter(f"{module.path}: no such change")


def test_what_a_formula_refuses_is_that_module_s_reason() -> None:
    form = ClosedForm("toy", among("toy"), _refuse)
    form.check({"anything": True})
    recipe = form.read(_module("layers.0.q_proj")).recipes["layers.0.q_proj.weight"]
    assert isinstance(recipe, Unreadable)
    assert recipe.reason == "layers.0.q_proj: no such change"


def test_parts_are_what_their_names_say() -> None:
    split = among("toy_a", "toy_b")
    assert split("layers.0.q_proj.toy_b.default") == ("layers.0.q_proj", "toy_b")
    assert split("layers.0.q_proj.toy_c") is None
