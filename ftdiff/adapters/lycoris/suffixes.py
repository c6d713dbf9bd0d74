"""What the suffixes of single-file adapters mean, in every spelling that trainers gave them."""

from __future__ import annotations

import re

#: The part that a suffix is; LoRA's halves go by many names.
_LORA = {
    "down": ("lora_down", "lora_A", r"lora\.down", r"lora_linear_layer\.down"),
    "up": ("lora_up", "lora_B", r"lora\.up", r"lora_linear_layer\.up"),
    "mid": ("lora_mid",),
}
_SPELT = {
    "alpha": "alpha",
    "dora_scale": "dora_scale",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "diff": "diff",
    "diff_b": "diff_b",
    "diff_m": "diff_m",
    "w_norm": "w_norm",
    "b_norm": "b_norm",
    "set_weight": "set_weight",
    "on_input": "on_input",
    **{f"hada_{part}": f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{
        f"lokr_{part}": f"lokr_{part}"
        for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    },
}
#: Suffixes of changes that are not computed, and why.
REFUSED = {
    "oft_blocks": "OFT and BOFT rotate the base; not computed from LyCORIS files",
    "oft_diag": "an early form of OFT; not computed",
    "rescale": "rescales an OFT rotation; not computed",
    "a1.weight": "GLoRA has two historic layouts that the file does not tell apart; not computed",
    "a2.weight": "part of a GLoRA; not computed",
    "b1.weight": "part of a GLoRA; not computed",
    "b2.weight": "part of a GLoRA; not computed",
    "bm.weight": "part of a GLoRA; not computed",
    "bias_indices": "a sparse remainder beside the factors; not computed",
    "bias_values": "part of a sparse remainder; not computed",
    "bias_size": "part of a sparse remainder; not computed",
    "reshape_weight": "pads the base to another shape first; not computed",
    "scalar": "a trained factor that was not folded in; not computed",
}
#: The part by suffix, of one word or two.
_PARTS = {**_SPELT, **{suffix: suffix for suffix in REFUSED}}
_HALF = re.compile(
    r"(?P<path>.+?)\.(?:"
    + "|".join(f"(?P<{part}>{'|'.join(names)})" for part, names in _LORA.items())
    + r")(?:(?:\.[^.]+)??(?P<param>\.weight|\.bias))?"
)


def split(name: str) -> tuple[str, str] | None:
    """Return a key's module path and part; None for a key of no adapter.

    >>> split("lora_unet_mid_block_0.lora_down.weight")
    ('lora_unet_mid_block_0', 'down')
    >>> split("unet.mid.to_q.lora_B.default.weight")
    ('unet.mid.to_q', 'up')
    >>> split("unet.mid.to_q.weight") is None
    True
    """
    half = _HALF.fullmatch(name) if "lora" in name else None
    if half is not None:
        part = next(word for word in _LORA if half[word])
        return half["path"], part + ("_bias" if half["param"] == ".bias" else "")
    path, dot, last = name.rpartition(".")
    above, another, before = path.rpartition(".")
    for start, found, suffix in ((path, dot, last), (above, another, f"{before}.{last}")):
        if found and suffix in _PARTS:
            return start, _PARTS[suffix]
    return None
