"""LoRA: ΔW = scaling · B A; the scaling and its origin follow from the configuration.

It is a module and no `ClosedForm`: its kind depends on the configuration (lora, dora, …), its keys
nest in each other, and a number that is no number refuses the whole adapter, not one module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_forms import dora, lora_bias
from ftdiff.adapters.peft.closed_forms import lora_experts as experts
from ftdiff.adapters.peft.closed_forms.lora_factors import factors
from ftdiff.adapters.peft.closed_forms.lora_resumed import resumed
from ftdiff.adapters.peft.closed_forms.token_rows import token_rows
from ftdiff.adapters.saved_copies import STRAY, is_copy
from ftdiff.deltas.recipes import Added, Recipe, Replaced, Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note

#: Where PEFT nests the output projection of a `MultiheadAttention`.
_OUTPUT = "base_layer.out_proj."
_TOKENS = "token_adapter.trainable_tokens_delta"
_PARTS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
_KEY = re.compile(
    r"(?P<path>.+?)\.(?P<inner>base_layer\.out_proj\.|(?:base_layer\.)*)"
    rf"(?P<part>lora_\w+|{re.escape(_TOKENS)})(?P<rest>(?:\.[^.]+)*)"
)
_SAVED = re.compile(r"(?P<path>.+?)\.(?:base_layer\.)+(?P<rest>.+)")
#: Configurations whose change is no function of the factors and the scaling alone.
_OTHER_FORMULAS = {
    "kasa_config": "KaSA truncates the base before it adds to it",
    "arrow_config": "Arrow chooses among adapters for every token, so that no single ΔW exists",
}
#: What goes with a pair of factors.
_BESIDE = frozenset(
    {"lora_B.bias", "lora_magnitude_vector", "base_layer.weight", "base_layer.bias"}
)
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
#: What some trainings leave in the file, and merging does not use.
_TRAINING_ONLY = {
    "lora_velora": "VeLoRA's compression of activations acts in training alone: ignored",
    "lora_monteclora": "MonteCLoRA's sampler acts in training alone, no merge uses it: ignored",
}


def check(config: Mapping[str, Any]) -> None:
    """Raise for a configuration that has no closed form.

    Raises
    ------
    BadAdapter
        With the reason of `no_closed_form`.
    """
    reason = no_closed_form(config)
    if reason is not None:
        raise BadAdapter(f"adapter_config.json: {reason}")


def no_closed_form(config: Mapping[str, Any]) -> str | None:
    """Say why the factors and the base's own values do not give the change; None where they do."""
    for switch, why in _OTHER_FORMULAS.items():
        if config.get(switch):
            return f"{switch} is set: {why}"
    init = config.get("init_lora_weights")
    if init in _PLAIN_INITS:
        return None
    return (
        f"init_lora_weights is {init!r}: the factors are not the change, since the base was "
        "replaced by a residual; convert it with peft's save_pretrained("
        "path_initial_model_for_weight_conversion=…)"
    )


def kind(config: Mapping[str, Any]) -> str:
    """Return "lora", or the variant: "dora", "rslora", "alora", "qalora", "bdlora"."""
    if config.get("use_dora"):
        return "dora"
    if config.get("alora_invocation_tokens"):
        return "alora"
    for variant in ("qalora", "bdlora", "rslora"):
        if config.get(f"use_{variant}"):
            return variant
    return "lora"


def split(name: str) -> tuple[str, str] | None:
    """Return module path and suffix, dropping an adapter's name (`lora_A.default.weight`).

    What peft nested keeps its nesting in the suffix (`base_layer.lora_A.weight`): several
    parameters of one module, and a multi-head attention's output.
    """
    found = _KEY.fullmatch(name)
    if found is None:
        saved = _SAVED.fullmatch(name)
        if saved is None:
            return None
        words = [word for word in saved["rest"].split(".") if word != "base_layer"]
        return saved["path"], f"base_layer.{'.'.join(words)}"
    part, words = found["part"], found["rest"].split(".")[1:]
    if part in _PARTS:
        param = words[-1:] if words[-1:] in (["weight"], ["bias"]) else []
        named = len(words) - len(param)
        words = param if named <= 1 else words
        words = [] if part == "lora_magnitude_vector" and words == ["weight"] else words
    return found["path"], found["inner"] + ".".join([part, *words])


def read(module: Module) -> Reading:
    """Return the recipes of a module's weight and bias, keyed by the base's names of them."""
    if experts.targeted(module):
        return experts.read(module)
    inner = f"{_OUTPUT}lora_"
    if any(suffix.startswith(inner) for suffix in module.tensors):
        return _attention(module)
    if _TOKENS in module.tensors:
        return _with_rest(module, token_rows(module, module.tensors[_TOKENS]), {_TOKENS})
    if not any(suffix.startswith("lora_") for suffix in module.tensors):
        return _with_rest(module, Reading({}), set())
    return _layer(module, "weight")


def _layer(module: Module, param: str, times: float = 1.0) -> Reading:
    """Read one pair of factors, what goes with it, and saved copies of what it changes."""
    name = module.target.name(f"{module.path}.{param}")
    found = factors(module, param, times)
    used = {"lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B"}
    if isinstance(found, Unreadable):
        return _with_rest(module, Reading({name: found}), used | _BESIDE)
    copy = module.tensors.get("base_layer.weight")
    notes = list(found.notes)
    if module.config.get("alora_invocation_tokens"):
        text = "conditional: the change acts only after the adapter's invocation tokens"
        notes.append(Note("conditional", text))
    recipe: Recipe
    if module.config.get("use_dora"):
        used |= {"lora_magnitude_vector"}
        recipe = dora.recipe(module, found, copy)
    elif copy is not None:
        recipe, note = resumed(module, Added(found.shape, found.product), copy)
        notes += note
    else:
        recipe = Added(found.shape, found.product)
    spent = lora_bias.not_compared(recipe, "weight", copy)
    if copy is not None:
        used |= {"base_layer.weight"}
    made = Reading({name: recipe}, {name: found.origin}, {}, tuple(notes), spent)
    if "lora_B.bias" in module.tensors:
        made = _merged(made, lora_bias.read(module, found))
        used |= {"lora_B.bias", "base_layer.bias"}
    return _with_rest(module, made, used)


def _attention(module: Module) -> Reading:
    """Read a `MultiheadAttention`: its fused input projection, and its output's, nested in it."""
    outer, inner = {}, {}
    nested: dict[str, str] = {}
    for suffix, tensor in module.tensors.items():
        rest = suffix.removeprefix(_OUTPUT)
        if rest == suffix:
            outer[suffix] = tensor
        else:
            rest = rest if rest.startswith("lora_") else f"base_layer.{rest}"
            inner[rest], nested[rest] = tensor, suffix
    output = replace(module, path=f"{module.path}.out_proj", tensors=inner)
    text = "MultiheadAttention: PEFT adds the change of out_proj twice, in training and merging"
    twice = (Note("added-twice", text),)
    second = _layer(output, "weight", 2.0)
    second = replace(
        second,
        unmatched={nested[suffix]: why for suffix, why in second.unmatched.items()},
        spent={nested[suffix]: names for suffix, names in second.spent.items()},
    )
    made = _merged(_layer(replace(module, tensors=outer), "in_proj_weight"), second)
    return replace(made, notes=(*made.notes, *twice))


def _with_rest(module: Module, made: Reading, used: set[str]) -> Reading:
    """Add what the factors leave over: saved copies are replacements, the rest is unmatched."""
    recipes: dict[str, Recipe] = {}
    unmatched: dict[str, str] = {}
    notes: list[str] = []
    spent: dict[str, tuple[str, ...]] = {}
    for suffix, tensor in module.tensors.items():
        if suffix in used:
            continue
        if suffix.startswith("base_layer.") and ".lora_" not in suffix:
            saved = f"{module.path}.{suffix.removeprefix('base_layer.')}"
            if is_copy(saved, tensor, module.target):
                recipes[module.target.name(saved, tensor.shape)] = Replaced(tensor)
            else:
                unmatched[suffix] = STRAY
            continue
        ignored = [
            Note("training-only", text)
            for start, text in _TRAINING_ONLY.items()
            if suffix.startswith(start)
        ]
        notes += ignored
        if ignored:
            spent[suffix] = ()
        else:
            unmatched[suffix] = _why_unused(suffix)
    rest = Reading(recipes, {}, unmatched, tuple(notes), spent)
    return _merged(made, rest)


def _why_unused(suffix: str) -> str:
    if suffix == "lora_magnitude_vector":
        return "use_dora is not set in adapter_config.json, so that PEFT ignores it too"
    return f"no part of LoRA is called {suffix}"


def _merged(one: Reading, other: Reading) -> Reading:
    return Reading(
        {**one.recipes, **other.recipes},
        {**one.scalings, **other.scalings},
        {**one.unmatched, **other.unmatched},
        (*one.notes, *other.notes),
        {**one.spent, **other.spent},
    )
