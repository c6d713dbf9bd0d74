"""Which fields of two model configurations differ, and which of them decide what weights compute.

Versions of transformers spell one setting in several ways; both sides are brought to one spelling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.comparison.beside.fields import Field, differing

#: Fields that say who wrote the file, with what, or how it is run: nothing is said of them.
_BOOKKEEPING = (
    *("_name_or_path", "_commit_hash", "transformers_version", "diffusers_version", "auto_map"),
    *("use_cache", "attn_implementation", "output_attentions", "output_hidden_states"),
    *("return_dict", "use_return_dict", "torchscript", "gradient_checkpointing", "pretraining_tp"),
    *("chunk_size_feed_forward", "tokenizer_class", "max_window_layers", "model_name"),
)
_BOOKKEEPING_STARTS = ("_attn_implementation", "unsloth", "_unsloth", "_sliding_window_pattern")
#: Fields that a trained model's outputs do not depend on: labels, training, limits.
_HARMLESS = (
    *("architectures", "dtype", "initializer_range", "initializer_factor", "id2label", "label2id"),
    *("num_labels", "problem_type", "finetuning_task", "task_specific_params", "layerdrop"),
    *("router_aux_loss_coef", "output_router_logits", "router_jitter_noise", "router_z_loss_coef"),
    *("max_position_embeddings", "max_length", "temperature", "top_p", "top_k", "do_sample"),
    *(
        "repetition_penalty",
        "num_beams",
        "quantization_config",
        "quantization",
        "language",
        "pad_token",
    ),
)
_HARMLESS_ENDS = ("dropout", "dropout_prob", "pdrop", "dropout_rate", "layerdrop")
#: Fields that decide even where one side alone has them: the other's is its class's default.
_DECISIVE = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "num_experts_per_tok"),
    *("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor"),
    *("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "sliding_window"),
    *("hidden_act", "hidden_activation", "activation_function", "query_pre_attn_scalar"),
    *("attn_logit_softcapping", "final_logit_softcapping", "logit_scale"),
)
#: Values that a field has where it is missing, and texts of empty ones.
_INERT = (0, 1, "", "{}", "[]")
#: Configurations within configurations are followed so far.
_DEEPEST = 4


@dataclass(frozen=True)
class ConfigFields:
    """Fields of two configurations that differ.

    Attributes
    ----------
    deciding
        The same weights compute another function.
    others
        Labels, limits, settings of training, and what one side alone has.
    dtype
        In which dtype they say that weights are stored.
    """

    deciding: tuple[Field, ...] = ()
    others: tuple[Field, ...] = ()
    dtype: tuple[Field, ...] = ()


def config_fields(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> ConfigFields:
    """Compare two configurations; nothing differs where a side has none."""
    if not base or not tuned:
        return ConfigFields()
    sides = spelled(base), spelled(tuned)
    kinds: dict[str, list[Field]] = {"deciding": [], "others": [], "dtype": []}
    for one in differing(*sides):
        name = str(one["field"]).rpartition(".")[2]
        kind = _kind(name, one, sides)
        if kind:
            kinds[kind].append(one)
    return ConfigFields(**{kind: tuple(fields) for kind, fields in kinds.items()})


def _kind(name: str, one: Field, sides: tuple[Mapping[str, Any], Mapping[str, Any]]) -> str:
    if name in _BOOKKEEPING or name.startswith(_BOOKKEEPING_STARTS) or name.endswith("_token_id"):
        return ""  # ids of tokens are the tokenizer's matter
    if name == "dtype":
        return "dtype" if len(one) == 3 else ""
    harmless = name in _HARMLESS or name.endswith(_HARMLESS_ENDS)
    if len(one) == 3:
        return "others" if harmless else "deciding"
    held, value = sides[0 if "base" in one else 1], one.get("base", one.get("tuned"))
    if _is_inert(name, str(one["field"]), value, held):
        return ""
    return "deciding" if name in _DECISIVE else "others"


def _is_inert(name: str, path: str, value: Any, held: Mapping[str, Any]) -> bool:
    """Say whether a field that one side lacks has the value that it has without being named."""
    if name in ("tie_word_embeddings", "label2id", "id2label"):
        return True
    if name not in _DECISIVE and value is not True and value in _INERT:
        return True
    at = path.removesuffix(name)
    if name == "rope_theta":
        return bool(value == 10_000)
    if name == "num_key_value_heads":
        return bool(value == held.get(f"{at}num_attention_heads"))
    if name == "head_dim":
        sizes = [held.get(f"{at}{word}") for word in ("hidden_size", "num_attention_heads")]
        width, heads = (size if isinstance(size, int) else 0 for size in sizes)
        return bool(heads and value == width // heads)
    if name == "layer_types":
        kinds = held.get(path)
        return isinstance(kinds, list) and {*map(str, kinds)} <= {"full_attention"}
    return False


def spelled(config: Mapping[str, Any], at: str = "", depth: int = 0) -> dict[str, Any]:
    """Return a configuration flat, in one spelling whatever version of transformers wrote it.

    >>> spelled({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "n": None})
    {'rope_theta': 10000.0}
    """
    found: dict[str, Any] = {}
    told = dict(config)
    found |= _rope(told)
    if told.pop("use_sliding_window", True) is False:
        told.pop("sliding_window", None)
    dtype = told.pop("torch_dtype", None) or told.pop("dtype", None)
    if dtype is not None:
        found["dtype"] = str(dtype).removeprefix("torch.")
    flat: dict[str, Any] = {f"{at}{name}": value for name, value in found.items()}
    for name, value in told.items():
        inner = isinstance(value, Mapping) and str(name).endswith("_config")
        if inner and name != "quantization_config" and depth < _DEEPEST:
            flat |= spelled(value, f"{at}{name}.", depth + 1)
        elif value is not None:
            flat[f"{at}{name}"] = value
    return flat


def _rope(told: dict[str, Any]) -> dict[str, Any]:
    """Take the rotary embedding's settings out, and return them as earlier versions name them."""
    scaling, parameters = told.pop("rope_scaling", None), told.pop("rope_parameters", None)
    found = {"rope_theta": told.pop("rope_theta", None)}
    by_kind = parameters if isinstance(parameters, Mapping) else {}
    if by_kind and all(isinstance(one, Mapping) for one in by_kind.values()):
        local = by_kind.get("sliding_attention", {}).get("rope_theta")
        found["rope_local_base_freq"] = told.pop("rope_local_base_freq", local)
        parameters = by_kind.get("full_attention", next(iter(by_kind.values())))
    if isinstance(parameters, Mapping):
        inner = dict(parameters)
        found["rope_theta"] = inner.pop("rope_theta", found["rope_theta"])
        found["partial_rotary_factor"] = inner.pop("partial_rotary_factor", None)
        scaling = inner
    found["rope_scaling"] = _scaling(scaling)
    return {name: value for name, value in found.items() if value is not None}


def _scaling(told: Any) -> Any:
    if not isinstance(told, Mapping):
        return told
    inner = {name: value for name, value in told.items() if value is not None}
    kind = inner.pop("rope_type", None) or inner.get("type")
    inner.pop("type", None)
    if kind not in (None, "default", "mrope"):
        inner["rope_type"] = kind
    return dict(sorted(inner.items(), key=lambda pair: str(pair[0]))) or None


def id_fields(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of special tokens' ids that are set."""
    for name, value in settings.items():
        if str(name).endswith("_token_id") and value is not None:
            yield str(name), value
