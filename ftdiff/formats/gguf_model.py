"""Whole models of llama.cpp: under its names, with rows and norms as Hugging Face has them.

llama.cpp's converter reorders the rows of q and k of some architectures, adds one to the norms of
others, and turns GPT-2's matrices; which, is a fact of the architecture that the file names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats import gguf, gguf_blocks
from ftdiff.formats.container import Format, Header
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.tensors import FileTensor, Halved, LazyTensor, Shifted, stored_as
from ftdiff.tensors.turned import Turned

#: Architectures of which the converter reorders the rows of q and k, and of which it does not.
REORDERED = ("llama", "granite", "minicpm", "nanbeige", "olmo", "deepseek", "deci")
KEPT = (
    *("qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi2", "phi3"),
    *("gpt2", "gptneox", "falcon", "bloom", "starcoder2", "stablelm", "command-r", "glm4"),
)
_NORMS_PLUS_ONE = ("gemma", "gemma2", "gemma3", "nemotron", "qwen3next")
_TURNED = ("gpt2",)
#: Tables of angles, which the model computes.
_COMPUTED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class Facts:
    """What the file says of the model.

    Attributes
    ----------
    arch
        `general.architecture`.
    heads, kv_heads
        Of its attention; 0 where it does not say.
    """

    arch: str
    heads: int
    kv_heads: int


def read_header(path: Place) -> Header:
    """Read a model's header.

    Raises
    ------
    BadFile
        The header lies, the file is no model, or a tensor is of a type that cannot be read.
    MissingExtra
        A tensor is stored in blocks, and the `gguf` package is not installed.
    """
    header = gguf.read_header(path)
    if header.fields.get("general.type", "model") != "model":
        raise BadFile(f"{path}: a GGUF file of the type {header.fields['general.type']!r}")
    facts = _facts(header.fields)
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in header.tensors.items():
        if name not in _COMPUTED:
            tensors[name] = _as_trained(name, _readable(name, tensor), facts)
    return Header(tensors, header.record, {}, _notes(header, tensors, facts), _config(header))


def _facts(fields: Mapping[str, Any]) -> Facts:
    arch = str(fields.get("general.architecture", ""))
    heads = _count(fields.get(f"{arch}.attention.head_count"))
    return Facts(arch, heads, _count(fields.get(f"{arch}.attention.head_count_kv")) or heads)


def _count(told: Any) -> int:
    return told if type(told) is int and told > 0 else 0


def _readable(name: str, tensor: FileTensor) -> LazyTensor:
    if not tensor.dtype.startswith(gguf.TYPE):
        return tensor
    kind = int(tensor.dtype.removeprefix(gguf.TYPE))
    blocks = gguf_blocks.tensor(tensor.source, tensor.offset, tensor.shape, kind, name)
    if tensor.offset + blocks.size > tensor.source.size:
        raise BadFile(f"{tensor.source.name}: truncated: {name!r} ends after the file does")
    return blocks


def _as_trained(name: str, tensor: LazyTensor, facts: Facts) -> LazyTensor:
    leaf = name.split(".")[-2] if "." in name else ""
    heads = {"attn_q": facts.heads, "attn_k": facts.kv_heads}.get(leaf, 0)
    if heads and facts.arch in REORDERED and tensor.shape[0] % (2 * heads) == 0:
        return Halved(tensor, heads)
    if facts.arch in _NORMS_PLUS_ONE and name.endswith("norm.weight"):
        return Shifted(tensor, 1.0)
    turned = leaf in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    if facts.arch in _TURNED and turned and len(tensor.shape) == 2:
        return Turned(tensor)
    return tensor


def _notes(
    header: gguf.Header, tensors: Mapping[str, LazyTensor], facts: Facts
) -> tuple[Note, ...]:
    notes = []
    counts = Counter(stored_as(t) for t in tensors.values() if hasattr(t, "scheme"))
    for scheme, count in counts.items():
        text = f"{count:,} tensors are stored as {scheme} (llama.cpp), read dequantised to F32"
        notes.append(Note("dequantised", text, tensors=count, scheme=scheme))
    if any(isinstance(tensor, Halved) for tensor in tensors.values()):
        text = "rows of q and k were put back from llama.cpp's order, by the heads in the file"
        notes.append(Note("row-order-restored", text))
    elif facts.arch not in KEPT and any(".attn_q." in name for name in tensors):
        text = (
            f"whether llama.cpp reorders the rows of q and k of {facts.arch or 'this architecture'}"
            " is not known: their norms are right, what compares them with another file may not be"
        )
        notes.append(Note("row-order-unknown", text))
    skipped = sorted({*header.tensors} - {*tensors})
    if skipped:
        text = f"not weights, and not read: {', '.join(skipped)}"
        notes.append(Note("computed-tensors", text, tensors=skipped))
    return tuple(notes)


def _config(header: gguf.Header) -> dict[str, Any]:
    facts, fields = _facts(header.fields), header.fields
    told = {
        "model_type": facts.arch,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "num_hidden_layers": _count(fields.get(f"{facts.arch}.block_count")),
        "hidden_size": _count(fields.get(f"{facts.arch}.embedding_length")),
    }
    if "output.weight" not in header.tensors and "token_embd.weight" in header.tensors:
        told["tie_word_embeddings"] = True
    return {name: value for name, value in told.items() if value}


FORMAT = Format("gguf", ".gguf", read_header, models=())
