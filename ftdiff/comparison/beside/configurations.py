"""Which fields of two configurations differ, and which of them decide what weights compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.comparison.beside.fields import Field, differing
from ftdiff.comparison.beside.spellings import spelled

#: Fields that say who wrote the file, with what, or how it is run: nothing is said of them.
_BOOKKEEPING = (
    *("_name_or_path", "_commit_hash", "transformers_version", "_diffusers_version", "auto_map"),
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
    *("repetition_penalty", "num_beams", "language", "pad_token", "cache_implementation"),
    *("quantization_config", "quantization", "compression_config"),
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
        kind = _kind(one, sides)
        if kind:
            kinds[kind].append(one)
    return ConfigFields(**{kind: tuple(fields) for kind, fields in kinds.items()})


def _kind(one: Field, sides: tuple[Mapping[str, Any], Mapping[str, Any]]) -> str:
    at, _, name = str(one["field"]).rpartition(".")
    if name in _BOOKKEEPING or name.startswith(_BOOKKEEPING_STARTS) or name.endswith("_token_id"):
        return ""  # ids of tokens are the tokenizer's matter
    both = "base" in one and "tuned" in one
    if name == "dtype":
        return "dtype" if both and not at else ""
    harmless = name in _HARMLESS or name.endswith(_HARMLESS_ENDS)
    if both:
        return "others" if harmless else "deciding"
    held, value = sides[0 if "base" in one else 1], one.get("base", one.get("tuned"))
    if at or _is_inert(name, value, held):  # what versions write of a part differs most
        return ""
    if name in _DECISIVE:
        return "deciding"
    writers = {side.get("transformers_version") for side in sides}
    return "others" if len(writers) == 1 and None not in writers else ""


def _is_inert(name: str, value: Any, held: Mapping[str, Any]) -> bool:
    """Say whether a field that one side lacks has the value that it has without being named."""
    if name in ("tie_word_embeddings", "label2id", "id2label", "layer_types", "architectures"):
        return True
    if name not in _DECISIVE and value is not True and value in _INERT:
        return True
    if name == "num_key_value_heads":
        return bool(value == held.get("num_attention_heads"))
    if name == "head_dim":
        sizes = [held.get(word) for word in ("hidden_size", "num_attention_heads")]
        width, heads = (size if type(size) is int else 0 for size in sizes)
        return bool(heads and value == width // heads)
    return (name, value) in (("rope_theta", 10_000), ("partial_rotary_factor", 1))


def id_fields(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of special tokens' ids that are set."""
    for name, value in settings.items():
        if str(name).endswith("_token_id") and value is not None:
            yield str(name), value
