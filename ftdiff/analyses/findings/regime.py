"""Beside which published fine-tunes a change stands, by size: where its structure tells nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.doubt import drowned_matrices, is_damaged, untrained_share
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.analyses.kind_of_change import decided
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import at_scale_one, headline, scope, withheld


@dataclass(frozen=True)
class Calibration:
    """A kind of fine-tune, and the global relative norms that were measured of it."""

    name: str
    low: float
    high: float

    def __str__(self) -> str:
        span = f"{self.low:g}" if self.low == self.high else f"{self.low:g}–{self.high:g}"
        return f"{self.name} ({span})"


#: Measured on published models, from the smallest change to the largest.
CALIBRATION = (
    Calibration("on-policy distillation of a 1.7B model", 0.0005, 0.0005),
    Calibration("reinforcement learning of 7B models", 0.0014, 0.0031),
    Calibration("light supervised fine-tuning of a 7B model", 0.011, 0.011),
    Calibration("a vendor's post-training, Qwen2.5-7B to Instruct", 0.012, 0.012),
    Calibration("chat fine-tuning of 8B models", 0.015, 0.05),
    Calibration("heavy fine-tuning on long reasoning, 7B", 0.13, 0.26),
)
#: Layers as decoders of language name them, from the first word or inside a wrapper's names.
_DECODER = re.compile(
    r"(?:^|^model\.|language_model\.(?:model\.)?|^base_model\.model\.(?:model\.)?)"
    r"layers\.\d+\.(?:self_attn|attention|linear_attn|mixer|mlp\.(?:up|gate|down)_proj)\."
    r"|^(?:transformer\.)?h\.\d+\.(?:attn|mlp|self_attention)\."
    r"|^transformer\.(?:blocks|encoder\.layers)\.\d+\."
    r"|gpt_neox\.layers\.\d+\.|^blk\.\d+\.(?:attn|ffn|ssm)|^backbone\.layers\.\d+\.mixer\."
)
#: Types of configurations that use such names and are no decoders of language.
_OTHERS = {
    "modernbert", "nomic_bert", "vit", "clip_vision_model", "siglip_vision_model", "dinov2",
    "esm", "bart", "mbart", "t5", "pegasus", "marian", "whisper", "wav2vec2", "hubert", "bert",
    "roberta", "deberta", "deberta-v2", "electra", "albert", "distilbert", "xlm-roberta",
    "unet", "flux", "sd3",
}  # fmt: skip
#: A single published number stands for its neighbourhood, up to this factor.
_NEAR = 1.1
#: No size is likened to another where so many matrices are rounding, or so much is no training.
_DROWNED, _UNTRAINED = 0.9, 0.5


@rule(
    "regime",
    kind="context",
    of="diff",
    null="none: sizes of published fine-tunes, one beside the other, and no test",
    power="size alone; silent where structure, damage or rounding explains the change",
)
def regime(diff: Diff) -> Iterator[Finding]:
    """Say which calibration rows the overall change is consistent with, and its neighbours."""
    overall = diff.overall
    size = overall.get("relative_norm")
    if size is None or not diff.about.get("base") or not size > 0 or not of_language(diff):
        return
    if (
        withheld(diff)
        or scope(diff).of == "vectors"  # the published sizes are of matrices
        or at_scale_one(diff)
        or is_damaged(diff)
        or drowned_matrices(diff) >= _DROWNED
        or untrained_share(diff) > _UNTRAINED
        or decided(diff)
    ):
        return
    inside = [row for row in CALIBRATION if row.low / _NEAR <= size <= row.high * _NEAR]
    below = [row for row in CALIBRATION if row.high * _NEAR < size]
    above = [row for row in CALIBRATION if row.low / _NEAR > size]
    near = {
        "next smaller": max(below, key=lambda row: row.high, default=None),
        "next larger": min(above, key=lambda row: row.low, default=None),
    }
    beside = "; ".join(f"{words}: {row}" for words, row in near.items() if row is not None)
    fits = " and ".join(str(row) for row in inside)
    told = f"consistent with {fits}; {beside}" if inside else f"between published sizes; {beside}"
    if not inside and None in near.values():
        told = f"{'above' if below else 'below'} every published size; {beside}"
    message = f"The relative change is {headline(diff)}{_shape(overall)}: {told}."
    found = evidence(
        relative_norm=size,
        consistent=[row.name for row in inside],
        neighbours=[row.name for row in near.values() if row is not None],
        changed_fraction=overall.get("changed_fraction"),
        scale_share=overall.get("scale_share"),
        log10=math.log10(size),
    )
    yield Finding("regime", "note", message, found)


def of_language(diff: Diff) -> bool:
    """Whether this is a decoder of language, by its configuration's type and its tensors' names."""
    configs = diff.about.get("config") or {}
    kinds = {str((config or {}).get("model_type")) for config in configs.values()}
    named = bool(diff.frame["tensor"].astype(str).str.contains(_DECODER).any())
    encoders = bool(diff.frame["stack"].fillna("").isin(("encoder",)).any())
    return named and not kinds & _OTHERS and not encoders


def _shape(overall: dict[str, float]) -> str:
    parts = []
    if "changed_fraction" in overall:
        parts.append(f"{overall['changed_fraction']:.0%} of the entries changed")
    if "scale_share" in overall:
        parts.append(f"{overall['scale_share']:.1%} of its square is a rescale")
    return f"; {', '.join(parts)}" if parts else ""
