"""The keys that PEFT gives an adapted module of each type, and their shapes.

Without a base sizes are open. A type that has no function here is known by its prefix alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

from ftdiff.adapters.loading.modules import Kind, Shape
from ftdiff.adapters.peft.patterns import first_match, matches

#: Sides, None where one is open, and ... where the rest is; None where nothing is known.
Sides: TypeAlias = tuple[int | EllipsisType | None, ...] | None
Parts: TypeAlias = dict[str, Sides]

#: How the keys of each type begin after the module's path; which of them PEFT looks for.
PREFIXES: Mapping[str, str] = {
    "ADALORA": "lora_", "ADAMSS": "adamss_", "BEFT": "beft_", "BOFT": "boft_", "C3A": "c3a_",
    "DEFT": "deft_", "DELORA": "delora_", "FOURIERFT": "fourierft_", "FROD": "frod_",
    "GLORA": "glora_", "GRALORA": "gralora_", "HIRA": "hira_", "HRA": "hra_", "IA3": "ia3_",
    "LILY": "lily_", "LN_TUNING": "ln_tuning_", "LOHA": "hada_", "LOKR": "lokr_", "LORA": "lora_",
    "MISS": "miss_", "OFT": "oft_", "OSF": "osf_", "PEANUT": "peanut_", "POLY": "poly_",
    "PSOFT": "psoft_", "PVERA": "pvera_lambda_", "RANDLORA": "randlora_", "ROAD": "road_",
    "SHIRA": "shira_", "SUPERTUNING": "supertuning_", "TINYLORA": "tinylora_",
    "TRAINABLE_TOKENS": "trainable_tokens_", "UNILORA": "unilora_", "VBLORA": "vblora_",
    "VERA": "vera_lambda_", "WAVEFT": "waveft_",
}  # fmt: skip
#: Types without modules of their own, or that are loaded otherwise: nothing is said of them.
OTHERS = frozenset(
    {
        *("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING"),
        *("PROMPT_TUNING", "P_TUNING", "SHADOW", "XLORA"),
    }
)
#: The rank where a configuration names none.
_RANKS = {"VERA": 256, "HIRA": 32, "GRALORA": 32, "VBLORA": 4, "ADALORA": 12}


@dataclass(frozen=True)
class Place:
    """A module that gets an adapter.

    Attributes
    ----------
    path, kind, shape
        The module's; without a base the shape is None.
    bias
        Whether it has a bias.
    out, into
        Rows and columns of its matrix; None where they are open.
    r
        The rank that the configuration gives it; None where that is not known.
    config
        The adapter's configuration.
    """

    path: str
    kind: Kind
    shape: Shape | None
    bias: bool
    out: int | None
    into: int | None
    r: int | None
    config: Mapping[str, Any]


def rank(kind: str, config: Mapping[str, Any], path: str) -> int | None:
    """Return the rank that a configuration gives a module; None where it is no number.

    The first pattern that matches the end of the path counts.
    """
    patterns = config.get("rank_pattern")
    if kind == "ADALORA" and patterns:  # which ranks are left, each module's own list says
        return None
    r = config.get("init_r" if kind == "ADALORA" else "r", _RANKS.get(kind, 8))
    if isinstance(patterns, dict):
        first = first_match(patterns, path, "rank_pattern")
        r = r if first is None else patterns[first]
    return r if type(r) is int else None


def _lora(at: Place) -> Parts | None:
    r, out, into = at.r, at.out, at.into
    dora = {"lora_magnitude_vector": (out,)} if at.config.get("use_dora") else {}
    if at.kind == "embedding":
        names = {} if not dora else {"lora_magnitude_vector": (into,)}
        return {"lora_embedding_A": (r, out), "lora_embedding_B": (into, r), **names}
    if at.kind == "attention":
        pair: Parts = {"lora_A.weight": (r, ...), "lora_B.weight": (None, r)}
        inner: Parts = {f"base_layer.out_proj.{name}": sides for name, sides in pair.items()}
        return {**pair, **inner}
    if at.kind == "convolution" and at.shape is not None:
        ones = (1,) * (len(at.shape) - 2)
        scale: Parts = {"lora_magnitude_vector": (1, at.shape[0], *ones)} if dora else {}
        A, B = (r, *at.shape[1:]), (at.shape[0], r, *ones)
        return {"lora_A.weight": A, "lora_B.weight": B, **scale}
    if at.config.get("use_bdlora"):
        return {"lora_A.weight": None, "lora_B.weight": None}
    bias: Parts = {"lora_B.bias": (out,)} if at.config.get("lora_bias") else {}
    diagonal: Parts = {"lora_diag": (r,)} if at.config.get("kasa_config") else {}
    if at.shape is None:
        open_: Parts = {"lora_A.weight": (r, ...), "lora_B.weight": (None, r, ...)}
        return {**open_, **dict.fromkeys(dora), **bias, **diagonal}
    sides = (r, ...) if at.config.get("use_qalora") else (r, into)
    return {"lora_A.weight": sides, "lora_B.weight": (out, r), **dora, **bias, **diagonal}


def _adalora(at: Place) -> Parts | None:
    return {"lora_A": (at.r, at.into), "lora_B": (at.out, at.r), "lora_E": (at.r, 1)}


def _loha(at: Place) -> Parts | None:
    left, right = (at.out, at.r), (at.r, at.into)
    if at.kind == "convolution" or at.shape is None:
        return dict.fromkeys(f"hada_w{number}_{side}" for number in (1, 2) for side in "ab")
    return {"hada_w1_a": left, "hada_w1_b": right, "hada_w2_a": left, "hada_w2_b": right}


def _lokr(at: Place) -> Parts | None:
    if at.kind == "convolution" or at.out is None or at.into is None or at.r is None:
        return {}
    factor = at.config.get("decompose_factor", -1)
    (a, c), (b, d) = _split(at.out, factor), _split(at.into, factor)
    if at.config.get("decompose_both") and at.r < max(a, b) / 2:
        first: Parts = {"lokr_w1_a": (a, at.r), "lokr_w1_b": (at.r, b)}
    else:
        first = {"lokr_w1": (a, b)}
    if at.r < max(c, d) / 2:
        return {**first, "lokr_w2_a": (c, at.r), "lokr_w2_b": (at.r, d)}
    return {**first, "lokr_w2": (c, d)}


def _split(size: int, factor: Any) -> tuple[int, int]:
    """Cut a size into two factors: a given one, or the two that lie nearest to each other."""
    most = factor if type(factor) is int and factor > 0 else size
    if factor == most and size % most == 0:
        return most, size // most
    small = max(m for m in range(1, min(most, int(size**0.5)) + 1) if size % m == 0)
    return small, size // small


def _ia3(at: Place) -> Parts | None:
    if at.kind == "convolution":
        return None
    told = at.config.get("feedforward_modules")
    if isinstance(told, str):
        feedforward = matches(told, at.path, "feedforward_modules")
    else:
        names = told if isinstance(told, list) else []
        feedforward = any(at.path.endswith(str(name)) for name in names)
    return {"ia3_l": (1, at.into) if feedforward else (at.out, 1)}


def _vera(at: Place) -> Parts | None:
    return {"vera_lambda_b": (at.out,), "vera_lambda_d": (at.r,)}


def _gralora(at: Place) -> Parts | None:
    blocks = at.config.get("gralora_k", 2)
    if at.config.get("hybrid_r") or type(blocks) is not int or blocks < 1:
        return None
    if at.out is None or at.into is None:
        return {"gralora_A": (blocks, None, at.r), "gralora_B": (blocks, at.r, None)}
    A, B = (blocks, at.into // blocks, at.r), (blocks, at.r, at.out // blocks)
    return {"gralora_A": A, "gralora_B": B}


def _delora(at: Place) -> Parts | None:
    return {
        "delora_A": (at.r, at.into),
        "delora_B": (at.out, at.r),
        "delora_lambda": (1,),
        "delora_w_norm": (at.into,),
    }


def _hira(at: Place) -> Parts | None:
    if at.kind == "convolution":
        return None
    if at.kind == "embedding":
        return {"hira_embedding_A": (at.r, at.out), "hira_embedding_B": (at.into, at.r)}
    if at.shape is None:
        return {"hira_A": (at.r, ...), "hira_B": (None, at.r, ...)}
    return {"hira_A": (at.r, at.into), "hira_B": (at.out, at.r)}


def _hra(at: Place) -> Parts | None:
    return None if at.kind == "convolution" else {"hra_u": (at.into, at.r)}


def _vblora(at: Place) -> Parts | None:
    if at.config.get("save_only_topk_weights"):
        ends = ("_topk_indices", "_topk_weights")
        return {f"vblora_logits_{side}{end}": None for side in "AB" for end in ends}
    length, count = (at.config.get(name, 256) for name in ("vector_length", "num_vectors"))
    if at.out is None or at.into is None or type(length) is not int or length < 1:
        return {"vblora_logits_A": (at.r, ...), "vblora_logits_B": (None, at.r, ...)}
    A, B = (at.r, at.into // length, count), (at.out // length, at.r, count)
    return {"vblora_logits_A": A, "vblora_logits_B": B}


def _norms(at: Place) -> Parts | None:
    bias: Parts = {"ln_tuning_layers.bias": at.shape} if at.bias else {}
    return {"ln_tuning_layers.weight": at.shape, **bias}


def _tokens(at: Place) -> Parts | None:
    rows = at.config.get("token_indices")
    count = len(rows) if isinstance(rows, list) else None
    return {"trainable_tokens_delta": (count, at.into)}


#: Parts that every module of a type has, of those whose shapes no formula here gives.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "BEFT": ("beft_bias",),
    "BOFT": ("boft_R", "boft_s"),
    "C3A": ("c3a_kernel",),
    "DEFT": ("deft_P",),
    "FOURIERFT": ("fourierft_spectrum",),
    "MISS": ("miss_block",),
    "PVERA": ("pvera_lambda_b", "pvera_lambda_d"),
    "RANDLORA": ("randlora_gamma", "randlora_lambda"),
    "ROAD": ("road_alpha", "road_theta"),
    "WAVEFT": ("waveft_spectrum",),
}


def parts(kind: str, at: Place) -> Parts | None:
    """Return the keys of a module after its path, with their shapes.

    None where a type's are not known here; empty where any key of the module, or none, will do.
    """
    if kind in PARTS:
        return PARTS[kind](at)
    if kind == "OFT":
        return {"oft_embedding_R.weight" if at.kind == "embedding" else "oft_R.weight": None}
    if kind == "UNILORA":  # its modules share one vector, and need nothing of their own
        return {}
    if kind == "UNILORA":  # its modules share one vector, and need nothing of their own
        return {}
    return dict.fromkeys(_NAMES[kind]) if kind in _NAMES else None


PARTS: Mapping[str, Callable[[Place], Parts | None]] = {
    "LORA": _lora,
    "ADALORA": _adalora,
    "LOHA": _loha,
    "LOKR": _lokr,
    "IA3": _ia3,
    "VERA": _vera,
    "VBLORA": _vblora,
    "GRALORA": _gralora,
    "DELORA": _delora,
    "HIRA": _hira,
    "HRA": _hra,
    "LN_TUNING": _norms,
    "TRAINABLE_TOKENS": _tokens,
}

#: Kinds of module that a type can adapt; any other makes PEFT refuse the whole.
_MATRICES: frozenset[Kind] = frozenset({"linear", "convolution"})
ADAPTABLE: Mapping[str, frozenset[Kind]] = {
    "LORA": _MATRICES | {"embedding", "attention"},
    "HIRA": _MATRICES | {"embedding"},
    "OFT": _MATRICES | {"embedding"},
    "LN_TUNING": _MATRICES | {"norm", "embedding", "parameters", "attention"},
    "TRAINABLE_TOKENS": frozenset({"embedding", "linear"}),
    **dict.fromkeys(("LOHA", "LOKR", "IA3", "BOFT", "HRA"), _MATRICES),
    **{kind: frozenset({"linear"}) for kind in ("ADALORA", "VERA", "GRALORA", "DELORA")},
}
#: Tensors that all modules of a type use.
SHARED: Mapping[str, tuple[str, ...]] = {
    "VERA": ("vera_A", "vera_B"),
    "PVERA": ("pvera_A", "pvera_B"),
    "VBLORA": ("vblora_vector_bank",),
    "UNILORA": ("unilora_theta_d",),
}
#: Types that PEFT refuses without these; the modules of the others are left as they start.
NEEDING = frozenset({"VERA", "PVERA"})


def fits(found: Shape, wanted: Sides) -> bool:
    """Say whether a shape is as it is wanted.

    >>> fits((4, 32), (4, None)), fits((2, 32), (4, ...)), fits((4,), (4, 1))
    (True, False, False)
    """
    if wanted is None:
        return True
    if wanted[-1:] == (...,):
        wanted = wanted[:-1]
        found = found[: len(wanted)]
    return len(found) == len(wanted) and all(
        side is None or side == size for size, side in zip(found, wanted, strict=True)
    )
