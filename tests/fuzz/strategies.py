"""Files that are built wrong: Hypothesis draws headers, configurations and tables by their grammar.

A damaged file is near a good one; these are near none, and most of their parts are plausible.
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

#: So many files of a kind are drawn for a seed.
POOL = 200
_EDGES = (0, -1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63, 2**64, 10**30, 10**400)
NAMES = (
    *("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"),
    *(f"base_model.model.model.layers.0.self_attn.q_proj.lora_{p}.weight" for p in "AB"),
    *("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "__metadata__", "a.b", "x"),
    *("lora_te_model_layers_0_self_attn_q_proj.alpha", "model.layers.0.self_attn.q_proj.hada_w1_a"),
    *("model.layers.0.self_attn.q_proj.weight_scale", "model.layers.0.self_attn.q_proj.qzeros"),
)
_HOSTILE = (
    *("", ".", "..", "../x", "/dev/zero", "/proc/self/mem", "\x1b[31mred", "\u202e", "=1+1", "@x"),
    *("<script>alert(1)</script>", "(a|a)*b", "((.*)*)*z", "(", "x" * 3000, "\0", "%s{0}", "nan"),
)
words = st.one_of(st.sampled_from(_HOSTILE), st.sampled_from(NAMES), st.text(max_size=12))
numbers = st.one_of(
    st.integers(-2, 70), st.sampled_from(_EDGES), st.floats(), st.booleans(), st.none()
)
anything = st.recursive(
    numbers | words,
    lambda held: st.lists(held, max_size=4) | st.dictionaries(words, held, max_size=4),
    max_leaves=12,
)
_patterns = st.dictionaries(words | st.sampled_from(("q_proj", ".*q_proj", "^x")), numbers)


def _table(**sane: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Draw an object of these fields, each of which may be missing, or something else."""
    mostly = {name: st.one_of(values, values, values, anything) for name, values in sane.items()}
    return st.fixed_dictionaries({}, optional=mostly)


def _several(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


_TYPES = ("LORA", "LOHA", "LOKR", "IA3", "VERA", "OFT", "XLORA", "ADALORA", "C3A", "nobody", "lora")
lora = _table(
    peft_type=_several(*_TYPES, "LORA", "LORA"),
    r=st.integers(0, 64) | st.sampled_from(_EDGES),
    lora_alpha=numbers,
    target_modules=words | st.lists(words, max_size=3) | _several("all-linear", ["q_proj"]),
    exclude_modules=words | st.lists(words, max_size=3),
    layers_to_transform=st.lists(numbers, max_size=3) | numbers,
    layers_pattern=words | st.lists(words, max_size=2),
    rank_pattern=_patterns,
    alpha_pattern=_patterns,
    modules_to_save=st.lists(words, max_size=2),
    trainable_token_indices=st.lists(numbers) | st.dictionaries(words, st.lists(numbers)),
    target_parameters=st.lists(words, max_size=2),
    use_rslora=st.booleans(),
    use_dora=st.booleans(),
    fan_in_fan_out=st.booleans(),
    bias=_several("none", "all", "lora_only", "x"),
    init_lora_weights=_several(True, False, "pissa", "pissa_niter_4", "olora", "gaussian", "eva"),
    base_model_name_or_path=words,
    layer_replication=st.lists(st.lists(numbers, max_size=3), max_size=3),
    megatron_config=anything,
    quantization_config=anything,
    task_type=words,
)
_quantised = _table(
    quant_method=_several("gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", "mxfp4", "x"),
    bits=numbers,
    group_size=numbers,
    weight_block_size=st.lists(numbers, max_size=3),
    desc_act=st.booleans(),
    sym=st.booleans(),
    bnb_4bit_quant_type=words,
    modules_to_not_convert=st.lists(words, max_size=3) | words,
    ignore=st.lists(words | st.sampled_from(("re:.*", "re:((.*)*)*z", "re:(")), max_size=3),
    config_groups=st.dictionaries(
        words,
        _table(
            weights=_table(num_bits=numbers, group_size=numbers, strategy=words, type=words),
            targets=st.lists(words | st.sampled_from(("Linear", "re:(a|a)*b")), max_size=2),
            format=words,
        ),
        max_size=2,
    ),
)
model = _table(
    model_type=_several("llama", "gpt2", "mixtral", "deepseek_v3", "x", "gpt_oss", "qwen2_moe"),
    architectures=st.lists(words, max_size=2),
    num_hidden_layers=numbers,
    num_attention_heads=numbers,
    num_key_value_heads=numbers,
    head_dim=numbers,
    hidden_size=numbers,
    vocab_size=numbers,
    num_local_experts=numbers,
    tie_word_embeddings=st.booleans(),
    torch_dtype=words,
    quantization_config=_quantised,
    text_config=_table(num_hidden_layers=numbers, model_type=words, hidden_size=numbers),
    auto_map=st.dictionaries(words, words, max_size=2),
)
index = _table(
    metadata=st.dictionaries(words, anything, max_size=2),
    weight_map=st.dictionaries(
        words,
        words
        | st.sampled_from(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")),
    ),
)
policy = _table(
    format=_several("ftdiff.policy/1", "ftdiff.policy/2"),
    unlisted=_several("may move", "may not move"),
    rules=st.dictionaries(st.sampled_from(("duplicate", "rescaled", "x")), words, max_size=3),
    expect=st.lists(
        _table(
            name=words,
            where=st.dictionaries(
                st.sampled_from(("component", "layer", "stack", "x")), words | st.lists(words)
            ),
            moves=st.booleans(),
            max=st.dictionaries(st.sampled_from(("relative_norm", "x")), numbers),
        ),
        max_size=3,
    ),
)
row = _table(
    text=words,
    prompt=words,
    answer=words,
    exact_answer=words,
    label=st.integers(0, 1),
    group=words,
    input_ids=st.lists(numbers, max_size=5),
    messages=st.lists(_table(role=_several("user", "assistant"), content=words), max_size=2),
    spans=st.dictionaries(words, st.lists(numbers, max_size=3), max_size=2),
)
_FRONT = (
    *("base_model: x/y", "base_model:\n- a/b\n- c", "base_model: 2001-99-99", "license: mit"),
    *("base_model: !!python/object/apply:os.system ['touch pwned']", "base_model: [" + "[" * 5000),
    *("base_model: &a [*a]", "x: &a [b,b]\ny: &b [*a,*a]\nbase_model: *b", "base_model: !!int x"),
    *("base_model: !!binary =", "? [a]\n: b", "base_model: {a: b", "base_model: /dev/zero"),
    *("base_model: http://127.0.0.1:9/x", "base_model: ../..", "\t", "'", "base_model: 1:61:99"),
    *("base_model: \x1b[2J", "base_model: =1+1", "base_model: ~", "<<: [1, 2]", "base_model: .nan"),
)


@st.composite
def header(draw: Callable[..., Any]) -> bytes:
    """Draw a safetensors file whose offsets mostly fit."""
    at, held = 0, dict[str, Any]()
    sizes = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1, "F8_E4M3": 1, "BOOL": 1, "F64": 8}
    for name in draw(st.lists(words | st.sampled_from(NAMES), max_size=5, unique=True)):
        if name == "__metadata__" or draw(st.integers(0, 9)) == 0:
            held[name] = draw(st.dictionaries(words, words, max_size=3) | anything)
            continue
        dtype = draw(st.sampled_from([*sizes]))
        shape = draw(st.lists(st.sampled_from((0, 1, 2, 16)), max_size=3))
        size = sizes[dtype]
        for side in shape:
            size *= side
        entry: dict[str, Any] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        if draw(st.integers(0, 4)) == 0:
            entry[draw(st.sampled_from([*entry, "x"]))] = draw(anything)
        else:
            at += size
        held[name] = entry
    text = json.dumps(held).encode()
    length = draw(st.sampled_from([len(text)] * 12 + [0, 7, 2**40, 2**63, 2**64 - 1]))
    return struct.pack("<Q", length) + text + bytes(min(at, 1 << 20))


@st.composite
def gguf(draw: Callable[..., Any]) -> bytes:
    """Draw a GGUF file: counts, types and lengths that lie now and then."""

    def count(true: int) -> int:
        return int(draw(st.sampled_from([true] * 12 + [0, true + 1, 2**31, 2**40, 2**63])))

    def text(value: str) -> bytes:
        raw = value.encode("utf-8", "surrogatepass")
        return struct.pack("<Q", count(len(raw))) + raw

    def value(kind: int, depth: int = 0) -> bytes:
        plain = {4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q"}
        if kind in plain:
            return struct.pack(plain[kind], draw(st.integers(0, 100)))
        if kind == 8:
            return text(draw(words))
        inner = draw(st.sampled_from((4, 8, 9 if depth < 4 else 4, 77)))
        many = draw(st.integers(0, 3))
        held = b"" if inner == 77 else b"".join(value(inner, depth + 1) for _ in range(many))
        return struct.pack("<IQ", inner, count(many)) + held

    keys = ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")
    keys += ("llama.block_count", "llama.attention.head_count", "general.alignment", "x")
    named: dict[str, Any] = {"general.architecture": "llama", "general.type": "adapter"}
    fields = []
    for key in draw(st.lists(st.sampled_from(keys), max_size=6)):
        if key in named and draw(st.integers(0, 4)):
            fields.append(text(key) + struct.pack("<I", 8) + text(named[key]))
        else:
            kind = draw(st.sampled_from((4, 5, 6, 7, 8, 9, 10)))
            fields.append(text(key) + struct.pack("<I", kind) + value(kind))
    infos = []
    for name in draw(st.lists(words, max_size=3)):
        sides = draw(st.lists(st.sampled_from((0, 1, 32, 2**31, 2**62)), max_size=5))
        kind = draw(st.sampled_from((0, 0, 1, 2, 8, 30, 99)))
        at = draw(st.sampled_from((0, 0, 32, 31, 2**63)))
        dims = struct.pack(f"<I{len(sides)}Q", count(len(sides)) % 2**32, *sides)
        infos.append(text(name) + dims + struct.pack("<IQ", kind, at))
    version = draw(st.sampled_from((3, 3, 3, 2, 1, 99, 3 << 24)))
    head = struct.pack("<IQQ", version, count(len(infos)), count(len(fields)))
    return b"GGUF" + head + b"".join(fields) + b"".join(infos) + bytes(4096)


def _dumped(held: Any) -> bytes:
    return json.dumps(held).encode()


def _toml(held: dict[str, Any]) -> bytes:
    """Write a policy as TOML, inline; JSON's null and endless numbers make it none, as they may."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return f"{{ {', '.join(f'{json.dumps(k)} = {inline(v)}' for k, v in value.items())} }}"
        if isinstance(value, list):
            return f"[{', '.join(map(inline, value))}]"
        return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")

    return "\n".join(f"{json.dumps(k)} = {inline(v)}" for k, v in held.items()).encode()


def _rows(held: list[Any]) -> bytes:
    return b"".join(_dumped(one) + b"\n" for one in held)


def _front(lines: list[str]) -> bytes:
    return "\n".join(["---", *lines, "---", "# A model", ""]).encode()


#: By kind: how its files are drawn.
FILES: dict[str, st.SearchStrategy[bytes]] = {
    "lora": lora.map(_dumped),
    "model": model.map(_dumped),
    "index": index.map(_dumped),
    "header": header(),
    "gguf": gguf(),
    "toml": policy.map(_toml),
    "rows": st.lists(row, max_size=4).map(_rows),
    "card": st.lists(st.sampled_from(_FRONT), max_size=3).map(_front),
}


@cache
def pool(kind: str, number: int) -> tuple[bytes, ...]:
    """Return files of a kind, the same for the same seed."""
    found: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=POOL,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=[*HealthCheck],
    )
    @given(FILES[kind])
    def collect(one: bytes) -> None:
        found.append(one)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return tuple(found)
