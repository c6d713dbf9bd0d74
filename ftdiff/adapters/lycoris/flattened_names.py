"""Names whose dots became underscores, found among the base's own names, never by splitting."""

from __future__ import annotations

from collections import defaultdict

from ftdiff.adapters.family import Target
from ftdiff.formats import Checkpoint
from ftdiff.tensors import LazyTensor

#: The prefixes of flattened names, longest first, and the towers of a base that they mean.
TOWERS: dict[str, tuple[str, ...]] = {
    "lora_transformer_": ("transformer", "model.diffusion_model", "diffusion_model"),
    "lora_unet_": ("unet", "model.diffusion_model", "diffusion_model", "transformer"),
    "lora_te1_": ("text_encoder", "conditioner.embedders.0.transformer"),
    "lora_te2_": ("text_encoder_2", "conditioner.embedders.1.model"),
    "lora_te3_": ("text_encoder_3",),
    "lora_te_": ("text_encoder", "cond_stage_model.transformer"),
    "lora_prior_": ("prior",),
    "oft_unet_": ("unet", "model.diffusion_model", "diffusion_model", "transformer"),
    "oft_te1_": ("text_encoder", "conditioner.embedders.0.transformer"),
    "oft_te2_": ("text_encoder_2", "conditioner.embedders.1.model"),
    "oft_te_": ("text_encoder", "cond_stage_model.transformer"),
    "lycoris_": (),
}


class Flattened(Target):
    """A base that is asked for `lora_unet_mid_block_attentions_0_proj_in.weight`.

    A name is found where exactly one module of the base has it when its own dots are flattened, as
    a whole or below a tower (`unet.`, `model.diffusion_model.`, …). Names that do not contain a
    prefix of `TOWERS` are asked with their dots, as anywhere else.
    """

    def __init__(self, base: Checkpoint | None) -> None:
        super().__init__(base)
        self._flat: dict[str, set[str]] = defaultdict(set)
        self._base = base.tensors if base is not None else {}
        for name in self._base:
            path = name.rpartition(".")[0]
            for end in _ends(path):
                self._flat[end.replace(".", "_")].add(path)

    def find(self, name: str) -> LazyTensor | None:
        """Return the base tensor of a flattened or dotted name."""
        found = self._locate(name)
        return super().find(name) if found is None else self._base.get(found)

    def name(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Return the base's spelling of a name; the name itself where the base has none."""
        return self._locate(name) or super().name(name, shape)

    def why_lost(self, name: str) -> str:
        """Say why the base has no tensor of that name."""
        path = name.rpartition(".")[0]
        _, rest = _split(path)
        if len(self._flat.get(rest, ())) > 1:
            return f"ambiguous: {' and '.join(sorted(self._flat[rest])[:2])} both flatten to it"
        here, there = _dialect(path), _dialect("_".join(self._flat))
        if here and there and here != there:
            return f"named as in {here}, and the base as in {there}; not guessed"
        return "no tensor of the base has this name when its dots are flattened"

    def _locate(self, name: str) -> str | None:
        path, _, param = name.rpartition(".")
        towers, rest = _split(path)
        found = self._flat.get(rest, set())
        if len(found) > 1:
            found = {each for each in found if _below(each, towers, rest)}
        if len(found) != 1:
            return None
        wanted = f"{next(iter(found))}.{param}"
        return wanted if wanted in self._base else None


def _split(path: str) -> tuple[tuple[str, ...], str]:
    for prefix, towers in TOWERS.items():
        if path.startswith(prefix):
            return towers, path.removeprefix(prefix)
    return (), path


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
