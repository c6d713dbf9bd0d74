"""How attention heads lie in projections: runs of rows, each of one role and one head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ftdiff.errors import BadCall


class Run(NamedTuple):
    """Rows of one head, one after the other; `head` counts within its role."""

    role: str
    head: int


class Sizes(NamedTuple):
    """Query heads, key and value heads, and the rows of a head."""

    query: int
    kv: int
    size: int


Layout = Callable[[Sizes], list[Run]]


def concatenated(heads: Sizes) -> list[Run]:
    """All queries, then all keys, then all values: [q | k | v]."""
    return [
        *(Run("q", h) for h in range(heads.query)),
        *(Run("k", h) for h in range(heads.kv)),
        *(Run("v", h) for h in range(heads.kv)),
    ]


def interleaved(heads: Sizes) -> list[Run]:
    """Head by head its query, key and value: a view of heads × 3 × size."""
    return [Run(role, h) for h in range(heads.query) for role in "qkv"]


def grouped(heads: Sizes) -> list[Run]:
    """Group by group its queries, its key and its value: a view of groups × (n + 2) × size."""
    each = heads.query // heads.kv
    runs: list[Run] = []
    for g in range(heads.kv):
        runs += [Run("q", g * each + i) for i in range(each)]
        runs += [Run("k", g), Run("v", g)]
    return runs


def quartered(heads: Sizes) -> list[Run]:
    """Four blocks, each of a quarter of the heads as [q | v | k]."""
    each = heads.query // 4
    return [Run(role, b * each + i) for b in range(4) for role in "qvk" for i in range(each)]


def _falcon(config: Mapping[str, Any]) -> Layout:
    if config.get("new_decoder_architecture"):
        return grouped
    return concatenated if config.get("multi_query", True) else interleaved


def _bigcode(config: Mapping[str, Any]) -> Layout:
    return concatenated if config.get("multi_query", True) else interleaved


#: Fused projections by model type and the module's last word, or what decides by configuration.
_FUSED: Mapping[tuple[str, str], Layout] = {
    **{(family, "c_attn"): concatenated for family in ("gpt2", "imagegpt", "decision_transformer")},
    **{(family, "Wqkv"): concatenated for family in ("mpt", "dbrx", "modernbert")},
    **{(family, "query_key_value"): interleaved for family in ("gpt_neox", "bloom", "persimmon")},
    ("phi3", "qkv_proj"): concatenated,
    ("codegen", "qkv_proj"): quartered,
}
_DECIDED: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Layout]] = {
    ("falcon", "query_key_value"): _falcon,
    ("gpt_bigcode", "c_attn"): _bigcode,
}
#: Model types that store these projections in × out.
_CONV1D = ("gpt2", "imagegpt", "decision_transformer", "openai-gpt")
#: Model types whose query rows hold, head by head, a gate too.
_GATED = ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")
_SPLIT = ("q", "k", "v", "o")


def runs(
    config: Mapping[str, Any], heads: Sizes, role: str, module: str, length: int
) -> tuple[list[Run], int]:
    """Return the runs of a projection in the order of its rows (of `o`: its inputs).

    Parameters
    ----------
    config
        The model's configuration.
    heads
        What `sizes` found in it.
    role, module
        Of the tensor's address: q, k, v, o or qkv; how the file spells it.
    length
        Its rows; the inputs of `o`.

    Returns
    -------
    runs, size
        The runs, and how many rows each has.

    Raises
    ------
    BadCall
        The layout is not known, or does not fit.
    """
    family, word = str(config.get("model_type", "")), module.rpartition(".")[2]
    if role in _SPLIT:
        count = heads.kv if role in ("k", "v") else heads.query
        found = [Run(role, h) for h in range(count)]
    elif (family, word) in _FUSED:
        found = _FUSED[family, word](heads)
    elif (family, word) in _DECIDED:
        found = _DECIDED[family, word](config)(heads)
    else:
        raise BadCall(f"how {family or 'this model'} fuses {word} is not known")
    wanted = heads.size * (2 if role == "q" and family in _GATED else 1)
    if len(found) * wanted != length:
        side = "inputs" if role == "o" else "rows"
        raise BadCall(
            f"{length} {side} are not the {len(found)} runs of {wanted} that the configuration "
            f"tells of ({heads.query} heads, {heads.kv} of keys and values)"
        )
    return found, wanted


def turned(config: Mapping[str, Any], module: str) -> bool:
    """Say whether a projection is stored in × out."""
    word = module.rpartition(".")[2]
    return config.get("model_type") in _CONV1D and word in ("c_attn", "c_proj", "q_attn")


_QUERY = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
_SIZE = ("head_dim", "d_kv", "attention_head_size")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")


def settings(config: Mapping[str, Any], stack: str) -> Mapping[str, Any]:
    """Return the part of a configuration that speaks of one stack, with the names it inherits."""
    for key in (f"{stack}_config", "text_config"):
        part = config.get(key)
        if isinstance(part, Mapping) and (key != "text_config" or stack in ("", "text")):
            return part
    return config


def sizes(config: Mapping[str, Any], stack: str) -> Sizes:
    """Read how many heads there are, of how many rows.

    Raises
    ------
    BadCall
        The configuration does not tell, or contradicts itself.
    """
    inner = config.get("attn_config")
    told = {**config, **(inner if isinstance(inner, Mapping) else {})}
    query = _first(told, (*_QUERY, f"{stack or 'encoder'}_attention_heads"))
    if not query:
        raise BadCall("config.json does not tell the number of attention heads; it has to")
    kv = _first(told, _KV) or query
    if told.get("model_type") == "falcon" and not told.get("new_decoder_architecture"):
        kv = query
    if told.get("multi_query") and not told.get("new_decoder_architecture"):
        kv = 1
    size = _first(told, _SIZE) or (_first(told, _HIDDEN) or 0) // query
    if not size or query % kv:
        raise BadCall(f"config.json: {query} heads, {kv} of keys and values, {size} rows each")
    return Sizes(query, kv, size)


def _first(told: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    """Return the first of these that is a sensible number."""
    for key in keys:
        if type(told.get(key)) is int and 0 < told[key] < 1 << 20:
            return int(told[key])
    return None
