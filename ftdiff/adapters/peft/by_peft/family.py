"""Every type without a closed form: its change is what PEFT's own merge adds to each module."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ftdiff.adapters.family import Adapter, Module, Reading, Target
from ftdiff.adapters.peft.by_peft.merge import Job, Leaf, Merge
from ftdiff.adapters.peft.by_peft.module_order import targeted
from ftdiff.adapters.peft.capabilities import Capability
from ftdiff.adapters.peft.closed_forms.token_rows import token_rows
from ftdiff.adapters.peft.orientation import turned
from ftdiff.adapters.saved_copies import saved_copies
from ftdiff.deltas.recipes import Rebuilt, Recipe, Unreadable
from ftdiff.errors import Irreproducible
from ftdiff.formats.note import Note
from ftdiff.naming import locate
from ftdiff.tensors import LazyTensor

_PREFIX = "base_model.model."
_TOKENS = ".token_adapter.trainable_tokens_delta"
#: Settings that name modules and files, or that the saved tensors have settled.
_SETTLED = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layer_replication",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
        "modules_to_save",
        "peft_version",
        "revision",
        "runtime_config",
        "target_modules",
        "target_parameters",
        "task_type",
        "trainable_token_indices",
    }
)


@dataclass(frozen=True)
class OneModule:
    """A family of adapters whose modules PEFT merges one at a time.

    Parameters
    ----------
    row
        What the table of capabilities says of the adapter's configuration.
    """

    row: Capability

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise for a configuration that the files do not determine.

        Raises
        ------
        Irreproducible
            With the reason that the table gives.
        """
        if self.row.way == "refused":
            said = ", ".join(f"{name} = {config.get(name)!r}" for name in self.row.when)
            told = f"{self.row.type} with {said}" if said else self.row.type
            raise Irreproducible(
                f"adapter_config.json: the change of {told} is not in its files: {self.row.why}"
            )

    def kind(self, config: Mapping[str, Any]) -> str:
        """Return the kind's short name."""
        return self.row.kind

    def split(self, name: str) -> tuple[str, str] | None:
        """Return module path and suffix, dropping an adapter's name (`oft_R.default.weight`)."""
        found = re.fullmatch(rf"(.+?)\.({re.escape(self.row.prefix)}.+)", name)
        return (found[1], found[2].replace(".default", "")) if found else None

    def read(self, module: Module) -> Reading:
        """Read one module as if it were the whole adapter."""
        modules = {module.path: module.tensors}
        return self.read_all(Adapter(modules, {}, module.shared, module.config, module.target))

    def read_all(self, adapter: Adapter) -> Reading:
        """Return a recipe for every tensor of every target, and the saved copies.

        Without a base nothing is known of the modules but their names, which have to be read
        from it.
        """
        target, plain = adapter.target, dict(adapter.plain)
        recipes = _token_rows(plain, adapter)
        modules = dict(adapter.modules) or self._named(adapter)
        leaves, homeless = _leaves(modules, adapter)
        recipes |= homeless
        problem = self._problem(leaves, modules, target)
        for path, tensors in modules.items():
            saved = {part: plain.pop(f"{path}.{part}", None) for part in ("weight", "bias")}
            own = {**tensors, **{f"base_layer.{p}": t for p, t in saved.items() if t is not None}}
            leaf = leaves.get(path)
            for part in self._parts(saved):
                name = target.name(f"{path}.{part}")
                base = target.find(f"{path}.{part}")
                if problem:
                    shape = base.shape if base is not None else ()
                    held = (*own.values(), *adapter.shared.values())
                    recipes[name] = Unreadable(shape, f"{path}: {problem}", parts=held)
                elif leaf is not None and base is not None:
                    job = self._job(leaf, own, leaves, adapter)
                    needs = f"{path}: {self.row.why}"
                    recipes[name] = Rebuilt(base.shape, Merge(job, part), self.row.kind, needs)
        copies = saved_copies(replace(adapter, plain=plain))
        recipes.update(copies.recipes)
        note = f"the change of each module is what peft's own merge adds to it: {self.row.why}"
        return Reading(recipes, {}, copies.unmatched, (Note("merged-by-peft", note),))

    def _parts(self, saved: Mapping[str, LazyTensor | None]) -> Iterator[str]:
        if self.row.weight or saved["weight"] is not None:
            yield "weight"
        if self.row.bias or saved["bias"] is not None:
            yield "bias"

    def _problem(self, leaves: Mapping[str, Leaf], modules: Iterable[str], target: Target) -> str:
        if not target.names:
            return f"{self.row.why}; give the base"
        lost = next((path for path in modules if path not in leaves), None)
        if self.row.way in ("shapes", "order") and lost is not None:
            return f"{self.row.why}, and the base has no {lost}.weight"
        if self.row.way == "order" and "model_type" not in target.config:
            return f"{self.row.why}, and the base has no config.json that gives their order"
        return ""

    def _named(self, adapter: Adapter) -> dict[str, dict[str, LazyTensor]]:
        """Return the targets of an adapter that holds nothing but what they share."""
        weights = (name for name in adapter.target.names if name.endswith(".weight"))
        paths = (name.removesuffix(".weight") for name in weights)
        return {path: {} for path in targeted(adapter.config, paths)} if adapter.shared else {}

    def _job(
        self,
        leaf: Leaf,
        tensors: Mapping[str, LazyTensor],
        leaves: Mapping[str, Leaf],
        adapter: Adapter,
    ) -> Job:
        target = adapter.target
        weight = target.find(f"{leaf.path}.weight")
        assert weight is not None
        keys = {f"{_PREFIX}{leaf.path}.{suffix}": t for suffix, t in tensors.items()}
        keys |= {f"base_model.{name}": t for name, t in adapter.shared.items()}
        return Job(
            leaf,
            weight,
            target.find(f"{leaf.path}.bias"),
            json.dumps(_settings(adapter.config, tensors), sort_keys=True),
            tuple(sorted(keys.items())),
            self._others(leaf, leaves),
            json.dumps(dict(target.config), default=str) if self.row.way == "order" else "",
        )

    def _others(self, leaf: Leaf, leaves: Mapping[str, Leaf]) -> tuple[Leaf, ...]:
        if self.row.way == "shapes":
            sides = [_sides(other) for other in leaves.values()]
            largest = max(out for out, _ in sides), max(into for _, into in sides)
            return (
                (Leaf("ftdiff_largest_target", "linear", largest),)
                if largest != _sides(leaf)
                else ()
            )
        if self.row.way == "order":
            others = [other for other in leaves.values() if other is not leaf]
            if self.row.placeholders:
                others = [Leaf(other.path, "linear", (1, 1)) for other in others]
            return tuple(others)
        return ()


def _token_rows(plain: dict[str, LazyTensor], adapter: Adapter) -> dict[str, Recipe]:
    """Take out of the saved copies what are single rows, and return their recipes."""
    recipes: dict[str, Recipe] = {}
    for name in [name for name in plain if name.endswith(_TOKENS)]:
        path = name.removesuffix(_TOKENS)
        module = Module(path, {}, adapter.config, adapter.target)
        recipes.update(token_rows(module, plain.pop(name)).recipes)
    return recipes


def _leaves(
    modules: Mapping[str, Mapping[str, LazyTensor]], adapter: Adapter
) -> tuple[dict[str, Leaf], dict[str, Recipe]]:
    """Return the modules that the base has, and the complaints of the others."""
    leaves: dict[str, Leaf] = {}
    homeless: dict[str, Recipe] = {}
    for path, tensors in modules.items():
        weight = adapter.target.find(f"{path}.weight")
        if weight is not None and len(weight.shape) > 1:
            module = Module(path, tensors, adapter.config, adapter.target)
            leaves[path] = Leaf(path, _leaf_kind(module, weight.shape), weight.shape)
        elif adapter.target.names:
            found = f"{path}.weight of shape {weight.shape}" if weight else f"no {path}.weight"
            shape = weight.shape if weight is not None else ()
            complaint = Unreadable(shape, f"the base has {found}", parts=tuple(tensors.values()))
            homeless[adapter.target.name(f"{path}.weight")] = complaint
    return leaves, homeless


def _leaf_kind(module: Module, shape: tuple[int, ...]) -> str:
    if len(shape) > 2:
        return "convolution"
    name = f"{module.path}.weight"
    if any("_embedding_" in suffix for suffix in module.tensors) or (
        locate([name])[name].block == "embed"
    ):
        return "embedding"
    return "conv1d" if turned(module) else "linear"


def _sides(leaf: Leaf) -> tuple[int, int]:
    out, into = leaf.shape[:2]
    return (into, out) if leaf.kind == "conv1d" else (out, into)


def _settings(config: Mapping[str, Any], tensors: Mapping[str, LazyTensor]) -> dict[str, Any]:
    """Return what decides one module's change."""
    settings = {name: value for name, value in config.items() if name not in _SETTLED}
    if settings.pop("proportional_parameters", False):  # how many each got, its tensor tells
        spectrum = tensors.get("waveft_spectrum")
        settings["n_frequency"] = spectrum.shape[0] if spectrum is not None else 0
        settings["n_frequency_pattern"] = {}
    if config.get("peft_type") == "FROD":
        settings["progressbar"] = False
    return settings
