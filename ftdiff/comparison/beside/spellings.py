"""A model's configuration flat and in one spelling, whatever version of transformers wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Two names of one setting: the first is written today.
_SAME = {
    "rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta",
    "num_local_experts": "num_experts", "in_chans": "in_channels", "torch_dtype": "dtype",
}  # fmt: skip
#: The length that a rotary embedding was trained at, which versions keep in two places.
_LENGTH = "original_max_position_embeddings"
#: Within which the language model's own settings are, in later versions of some models.
_LANGUAGE = "text_config."
#: Configurations within configurations are followed so far.
_DEEPEST = 4


def spelled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting under its path, rotary embeddings as earlier versions name them.

    The settings of a model's language part stand with the model's, unless it has others itself.

    >>> spelled({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "n": None})
    {'rope_theta': 10000.0}
    >>> spelled({"model_type": "x", "text_config": {"model_type": "x_text", "hidden_size": 8}})
    {'model_type': 'x', 'hidden_size': 8}
    """
    found = _flat(config)
    lifted = {name.removeprefix(_LANGUAGE): value for name, value in found.items()}
    return {**lifted, **{n: v for n, v in found.items() if not n.startswith(_LANGUAGE)}}


def _flat(config: Mapping[str, Any], at: str = "", depth: int = 0) -> dict[str, Any]:
    told = {_SAME.get(str(name), str(name)): v for name, v in config.items() if v is not None}
    flat = {f"{at}{name}": value for name, value in _rope(told).items()}
    if told.get("use_sliding_window") is False:
        told.pop("sliding_window", None)
    if "dtype" in told:
        told["dtype"] = str(told["dtype"]).removeprefix("torch.")
    for name, value in told.items():
        inner = isinstance(value, Mapping) and name.endswith("_config")
        if inner and name != "quantization_config" and depth < _DEEPEST:
            flat |= _flat(value, f"{at}{name}.", depth + 1)
        else:
            flat[f"{at}{name}"] = value
    return flat


def _rope(told: dict[str, Any]) -> dict[str, Any]:
    """Take the rotary embedding's settings out, and return them as earlier versions name them."""
    scaling, parameters = told.pop("rope_scaling", None), told.pop("rope_parameters", None)
    found = {name: told.pop(name, None) for name in ("rope_theta", "rope_local_base_freq")}
    by_kind = parameters if isinstance(parameters, Mapping) else {}
    if by_kind and all(isinstance(one, Mapping) for one in by_kind.values()):
        local = by_kind.get("sliding_attention", {}).get("rope_theta")
        found["rope_local_base_freq"] = found["rope_local_base_freq"] or local
        parameters = by_kind.get("full_attention", next(iter(by_kind.values())))
    if isinstance(scaling, Mapping) or isinstance(parameters, Mapping):
        inner = _typed(scaling) or _typed(parameters)  # of both, transformers reads the former
        for name in ("rope_theta", "partial_rotary_factor", _LENGTH):
            value = inner.pop(name, None)
            found[name] = found.get(name) if value is None else value
        scaling = _scaling(inner)
    found["rope_scaling"] = scaling
    return {name: value for name, value in found.items() if value is not None}


def _typed(told: Any) -> dict[str, Any]:
    """Return the settings of a rotary embedding, its kind under the name of today."""
    inner = {str(n): v for n, v in told.items()} if isinstance(told, Mapping) else {}
    kind = inner.pop("type", None)
    return inner if kind is None else {"rope_type": kind, **inner}


def _scaling(told: dict[str, Any]) -> dict[str, Any] | None:
    """Return how a rotary embedding is scaled; None where it is not."""
    inner = {str(name): value for name, value in told.items() if value is not None}
    kind = inner.pop("rope_type", None)
    if kind not in (None, "default", "mrope"):
        inner["rope_type"] = "longrope" if kind == "su" else kind
    return dict(sorted(inner.items())) or None
