"""Names whose dots became underscores, found among the base's own names where there is a base."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from ftdiff.adapters.family import Target
from ftdiff.formats import Checkpoint
from ftdiff.naming.flattened import unflattened
from ftdiff.naming.towers import tower_of
from ftdiff.naming.translation import respelled
from ftdiff.tensors import LazyTensor

#: The prefixes of flattened names, longest first, and the towers of a base that they mean.
TOWERS: dict[str, tuple[str, ...]] = {
    "lora_transformer_": ("transformer", "model.diffusion_model", "diffusion_model"),
    "lora_unet_": ("unet", "model.diffusion_model", "diffusion_model", "transformer"),
    "lora_te1_": ("text_encoder", "conditioner.embedders.0.transformer"),
    "lora_te2_": ("text_encoder_2", "conditioner.embedders.1.model"),
    "lora_te3_": ("text_encoder_3", "text_encoders.t5xxl.transformer"),
    "lora_te_": ("text_encoder", "cond_stage_model.transformer"),
    "lora_prior_": ("prior",),
    "oft_unet_": ("unet", "model.diffusion_model", "diffusion_model", "transformer"),
    "oft_te1_": ("text_encoder", "conditioner.embedders.0.transformer"),
    "oft_te2_": ("text_encoder_2", "conditioner.embedders.1.model"),
    "oft_te_": ("text_encoder", "cond_stage_model.transformer"),
    "lycoris_": (),
}
#: The part of a pipeline that a prefix means, as `naming.translation` calls it, and its own words
#: where there is no base to ask.
_PARTS = {
    "lora_transformer_": ("unet", "transformer."),
    "lora_unet_": ("unet", "unet."),
    "lora_te1_": ("text_1", "text_encoder."),
    "lora_te2_": ("text_2", "text_encoder_2."),
    "lora_te3_": ("text_3", "text_encoder_3."),
    "lora_te_": ("text_1", "text_encoder."),
}
_CANONICAL = dict(reversed(_PARTS.values()))


class Flattened(Target):
    """A base that is asked for `lora_unet_mid_block_attentions_0_proj_in.weight`.

    A name is found where exactly one module of the base has it when its own dots are flattened, as
    a whole or below a tower (`unet.`, `model.diffusion_model.`, …), as the base spells it or as
    another public spelling does. Names that do not contain a prefix of `TOWERS` are asked with
    their dots, as anywhere else. What the base stores otherwise (a part of a tensor, rows in
    another order) keeps its own name, with its dots. So does every name without a base.
    """

    def __init__(self, base: Checkpoint | None) -> None:
        super().__init__(base)
        self._flat: dict[str, set[str]] = defaultdict(set)
        self._apart: dict[str, set[str]] = defaultdict(set)
        self._dialects: dict[tuple[str, str], str] = {}
        self._base = base.tensors if base is not None else {}
        for name in self._base:
            path = name.rpartition(".")[0]
            for end in _ends(path):
                self._flat[end.replace(".", "_")].add(path)
            for tower, one in respelled(name):
                for other in one.names:
                    spelled = other.rpartition(".")[0]
                    flat = spelled.replace(".", "_")
                    if one.is_same:
                        if path not in self._flat[flat]:
                            self._dialects[flat, path] = one.dialect
                        self._flat[flat].add(path)
                    else:
                        self._apart[flat].add(_CANONICAL.get(tower, "") + spelled)

    def find(self, name: str) -> LazyTensor | None:
        """Return the base tensor of a flattened or dotted name."""
        found = self._locate(name)
        return super().find(name) if found is None else self._base.get(found)

    def name(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Return the base's spelling of a name; where the base has none, the name with its dots."""
        found = self._locate(name)
        if found is not None:
            return found
        path, _, param = name.rpartition(".")
        prefix, rest = _split(path)
        if prefix:
            apart = [each for each in self._apart.get(rest, ()) if _in_tower(each, prefix)]
            if len(apart) == 1:
                return f"{apart[0]}.{param}"
            if not self._base:
                return f"{_spelled(prefix, unflattened(rest))}.{param}"
        return super().name(name, shape)

    def why_lost(self, name: str) -> str:
        """Say why the base has no tensor of that name."""
        path = name.rpartition(".")[0]
        _, rest = _split(path)
        if len(self._flat.get(rest, ())) > 1:
            return f"ambiguous: {' and '.join(sorted(self._flat[rest])[:2])} both flatten to it"
        here, there = _dialect(path), self._spoken
        if here and there and here != there:
            return f"named as in {here}; the base, named as in {there}, has no such module"
        return "no tensor of the base has this name when its dots are flattened"

    @cached_property
    def _spoken(self) -> str:
        """The spelling of the base's UNet; "" for another model."""
        return _dialect("_".join(self._base).replace(".", "_"))

    def _locate(self, name: str) -> str | None:
        path, _, param = name.rpartition(".")
        prefix, rest = _split(path)
        found = {each for each in self._flat.get(rest, ()) if _in_tower(each, prefix)}
        if len(found) > 1:
            found = {each for each in found if _below(each, TOWERS.get(prefix, ()), rest)}
        if len(found) != 1:
            return None
        (module,) = found
        wanted = f"{module}.{param}"
        if wanted not in self._base:
            return None
        if (rest, module) in self._dialects:
            self._spellings.translated[name] = self._dialects[rest, module]
        return wanted


def _split(path: str) -> tuple[str, str]:
    """Cut the prefix off; "" for a name without one."""
    for prefix in TOWERS:
        if path.startswith(prefix):
            return prefix, path.removeprefix(prefix)
    return "", path


def _spelled(prefix: str, path: str) -> str:
    """Return a path with the words of its part of the pipeline, as others spell it with dots."""
    words = _PARTS.get(prefix, ("", ""))[1]
    if prefix == "lora_unet_":  # which trainers write for transformers too
        known = {one.dialect for _, one in respelled(f"{path}.weight")}
        words = "diffusion_model." if known and "sd_unet" not in known else words
    return words + path


def _in_tower(path: str, prefix: str) -> bool:
    """Say whether a module is not of another part of the pipeline than the prefix means."""
    return len({tower_of(f"{path}."), _PARTS.get(prefix, ("", ""))[0]} - {""}) < 2


def _below(path: str, towers: tuple[str, ...], rest: str) -> bool:
    """Say whether `path` is `rest` itself, or `rest` right below one of the towers."""
    flat = path.replace(".", "_")
    return flat == rest or any(flat == f"{tower.replace('.', '_')}_{rest}" for tower in towers)


def _ends(path: str) -> list[str]:
    """Return the path and what is left of it below wrappers, down to the list of its layers."""
    words = path.split(".")
    numbers = [i for i, word in enumerate(words) if word.isdecimal()]
    known = {tuple(tower.split(".")) for towers in TOWERS.values() for tower in towers}
    last = numbers[0] - 1 if numbers else 0
    ends = [".".join(words[i:]) for i in range(max(1, last + 1))]
    below = (words[len(tower) :] for tower in known if tuple(words[: len(tower)]) == tower)
    ends += [".".join(rest) for rest in below if rest]
    return list(dict.fromkeys(ends))


def _dialect(flat: str) -> str:
    if "input_blocks_" in flat or "output_blocks_" in flat or "middle_block_" in flat:
        return "the original (LDM) UNet"
    return "diffusers" if "down_blocks_" in flat or "up_blocks_" in flat else ""
