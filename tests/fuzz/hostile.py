"""Files as an attacker would build them, what is called on each, and what has to be said of it."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.conftest import llama, nudge, write_model

MODULE = "model.layers.0.self_attn.q_proj"
NAMES = ("=1+1", "+1", "-1", "@SUM(A1)", "a\x1b[2J\nb", "<script>alert(1)</script>", "\u202egnp")


@dataclass(frozen=True)
class Hostile:
    """One input.

    Attributes
    ----------
    make
        Writes it into an empty folder.
    command
        `{}` is that folder, `{base}` a model beside it.
    line
        What the one line of error has to hold; "" where a result comes out.
    """

    make: Callable[[Path], object]
    command: str
    line: str


def _header(told: Any, *, length: int | None = None, body: int = 4) -> Callable[[Path], object]:
    text = (told if isinstance(told, str) else json.dumps(told)).encode()
    head = struct.pack("<Q", len(text) if length is None else length)
    return lambda at: (at / "m.safetensors").write_bytes(head + text + bytes(body))


def _entry(**more: Any) -> dict[str, Any]:
    return {"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], **more}}


def _archive(members: Mapping[str, bytes], *, deflated: str = "") -> Callable[[Path], object]:
    def make(at: Path) -> None:
        with zipfile.ZipFile(at / "m.pt", "w") as file:
            for name, raw in members.items():
                how = zipfile.ZIP_DEFLATED if name == deflated else zipfile.ZIP_STORED
                file.writestr(f"m/{name}", raw, how)

    return make


class _Runs:
    """What a pickle of this calls, when it is read by Python."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _pickled(held: Any) -> Callable[[Path], object]:
    return _archive({"data.pkl": pickle.dumps(held, 2)})


def _executed(at: Path) -> None:
    _pickled({"w": _Runs(os.mkdir, str(at / "pwned"))})(at)


def _expanded(at: Path) -> None:
    """A view of one number as 2⁴⁰: strides of 0."""
    tensor = torch.zeros(1).expand(1 << 20, 1 << 20)
    torch.save({"w": tensor}, at / "m.pt")


def _miscounted(at: Path) -> None:
    """A directory that says it has 65,535 members."""
    raw = io.BytesIO()
    torch.save({"w": torch.zeros(1 << 16)}, raw)
    held = raw.getvalue()
    (at / "m.pt").write_bytes(held[:-22] + held[-22:-12] + b"\xff\xff" + held[-10:])


def _gguf(*parts: bytes) -> Callable[[Path], object]:
    return lambda at: (at / "m.gguf").write_bytes(b"GGUF" + b"".join(parts) + bytes(64))


def _text(value: str, length: int | None = None) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def _lists(depth: int) -> bytes:
    return struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQI", 4, 1, 0)


def _lora(**config: Any) -> Callable[[Path], object]:
    def make(at: Path) -> None:
        at = at / "a"
        at.mkdir()
        shapes = {"lora_A": (2, 16), "lora_B": (16, 2)}
        held = {
            f"base_model.model.{MODULE}.{part}.weight": torch.ones(s) for part, s in shapes.items()
        }
        save_file(held, at / "adapter_model.safetensors")
        told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
        (at / "adapter_config.json").write_text(json.dumps({**told, **config}))

    return make


def _shira(indices: int = 1, **config: Any) -> Callable[[Path], object]:
    def make(at: Path) -> None:
        at = at / "a"
        at.mkdir()
        held = {
            f"base_model.model.{MODULE}.shira_weight": torch.ones(2),
            f"base_model.model.{MODULE}.shira_indices": torch.tensor([[0, 1], [0, indices]]).int(),
        }
        save_file(held, at / "adapter_model.safetensors")
        told = {"peft_type": "SHIRA", "r": 1, "target_modules": ["q_proj"], "random_seed": 1}
        (at / "adapter_config.json").write_text(json.dumps({**told, **config}))

    return make


def _carded(front: str) -> Callable[[Path], object]:
    def make(at: Path) -> None:
        _lora()(at)
        (at / "a" / "README.md").write_text(f"---\n{front}\n---\n")

    return make


def _index(shard: str) -> Callable[[Path], object]:
    def make(at: Path) -> None:
        write_model(at / "elsewhere", llama(layers=1))
        (at / "m").mkdir()
        told = json.dumps({"weight_map": {"w": shard}})
        (at / "m" / "model.safetensors.index.json").write_text(told)

    return make


def _pipe(name: str) -> Callable[[Path], object]:
    def make(at: Path) -> None:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(at / name)

    return make


def _endless(name: str, beside: Callable[[Path], object] = lambda at: None) -> Any:
    """A link to a device that has no end, in the place of a file."""

    def make(at: Path) -> None:
        beside(at)
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).unlink(missing_ok=True)
        (at / name).symlink_to("/dev/zero")

    return make


def _model(**config: Any) -> Callable[[Path], object]:
    return lambda at: write_model(at / "m", nudge(llama(layers=1)), config=config)


def _named(at: Path) -> None:
    state = {name: torch.ones(3, 2) for name in NAMES}
    write_model(at / "b", state)
    write_model(at / "m", nudge(state))


def _quantised(at: Path) -> None:
    weights = {"num_bits": 4, "type": "int", "group_size": 16, "strategy": "group"}
    groups = {"g": {"weights": weights, "targets": ["re:((.*)*)*z"], "format": "pack-quantized"}}
    told = {"quant_method": "compressed-tensors", "config_groups": groups}
    told = {**told, "ignore": ["re:(a|a)*b", "re:((.*)*)*z"]}
    _model(quantization_config=told)(at)


OPEN, BOTH = "inspect {}/m.safetensors", "compare {base} {}/m -j 1"
ADAPTER = "compare {base} {}/a -j 1 -o {}/out"
ZIP, GGUF = "compare {}/m.pt {}/m.pt -j 1 -o {}/out", "compare {}/m.gguf {}/m.gguf -j 1 -o {}/out"
#: What `good` writes, opened as the inputs are: fonts, kernels and tables are read once.
WARM = (ADAPTER, "audit {base} {}/a -j 1", "compare {base} {base} -j 1 -o {}/same")
good = _lora()
_DEEP = "[" * 100_000
_LAUGHS = "a: &a [x,x]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n"
    for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)


def _headers() -> Iterator[tuple[str, Hostile]]:
    lying = {
        "a length beyond the file": (_header({}, length=1 << 62), "header"),
        "a length of nothing": (_header({}, length=0), "header"),
        "offsets beyond the file": (_header(_entry(data_offsets=[0, 1 << 60])), "w"),
        "offsets that run back": (_header(_entry(data_offsets=[4, 0])), "w"),
        "a side of terabytes": (_header(_entry(shape=[1 << 40, 1 << 40])), "w"),
        "a negative side": (_header(_entry(shape=[-4])), "w"),
        "a side that is NaN": (_header(json.dumps(_entry()).replace("[4]", "[NaN]")), "m.safet"),
        "a dtype that is none": (_header(_entry(dtype="F31")), "?"),
        "a name twice": (_header(json.dumps(_entry())[:-1] + ',"w": {}}'), "w"),
        "deep JSON": (_header(_DEEP), "m.safetensors"),
        "a number of 5,000 digits": (_header(f'{{"w": {"9" * 5000}}}'), "m.safetensors"),
    }
    for name, (make, line) in lying.items():
        yield f"header: {name}", Hostile(make, OPEN, line)


def _archives() -> Iterator[tuple[str, Hostile]]:
    bomb = b"\0" * (64 << 20)
    yield "zip bomb", Hostile(_archive({"data.pkl": bomb}, deflated="data.pkl"), ZIP, "data.pkl")
    plain = {"data.pkl": pickle.dumps({}, 2), "data/0": bomb}
    yield "deflated member", Hostile(_archive(plain, deflated="data/0"), ZIP, "compressed")
    yield "a pickle of 64 MB", Hostile(_archive({"data.pkl": bomb}), ZIP, "m.pt")
    yield "a count of members that lies", Hostile(_miscounted, ZIP, "?")
    yield "strides of nothing", Hostile(_expanded, ZIP, "m.pt")
    yield "a pickle that runs a program", Hostile(_executed, ZIP, "mkdir")
    calls = {"eval": _Runs(eval, "1"), "getattr": _Runs(getattr, "", "join")}
    for name, held in calls.items():
        yield f"a pickle that calls {name}", Hostile(_pickled({"w": held}), ZIP, name)

    def metadata(at: Path) -> None:
        (at / "m").mkdir()
        (at / "m" / ".metadata").write_bytes(pickle.dumps(_Runs(os.mkdir, str(at / "pwned"))))
        (at / "m" / "__0_0.distcp").write_bytes(b"")

    yield "DCP that runs a program", Hostile(metadata, BOTH, "mkdir")
    three = struct.pack("<I", 3)
    counts = {
        "tensors": _gguf(three, struct.pack("<QQ", 1 << 40, 0)),
        "fields": _gguf(three, struct.pack("<QQ", 0, 1 << 62)),
        "letters": _gguf(three, struct.pack("<QQ", 0, 1), _text("x", 1 << 63)),
        "a list": _gguf(
            three,
            struct.pack("<QQ", 0, 1),
            _text("x"),
            struct.pack("<I", 9),
            b"\4\0\0\0",
            struct.pack("<Q", 1 << 62),
        ),
        "lists in lists": _gguf(
            three, struct.pack("<QQ", 0, 1), _text("x"), struct.pack("<I", 9), _lists(50_000)
        ),
        "dimensions": _gguf(
            three, struct.pack("<QQ", 1, 0), _text("x"), struct.pack("<I", 1 << 31)
        ),
        "entries": _gguf(
            three,
            struct.pack("<QQ", 1, 0),
            _text("x"),
            struct.pack("<I4QIQ", 4, *[1 << 62] * 4, 0, 0),
        ),
    }
    for name, make in counts.items():
        yield f"GGUF that lies of {name}", Hostile(make, GGUF, "m.gguf")


def _adapters() -> Iterator[tuple[str, Hostile]]:
    patterns = ("((.*)*)*z", "(a|a)*b", ".*" * 9 + "z", "(")
    for pattern in patterns:
        for field in ("rank_pattern", "alpha_pattern"):
            made = _lora(**{field: {pattern: 2}})
            yield f"{field} {pattern}", Hostile(made, ADAPTER, field if field[0] == "a" else "?")
        for field in ("target_modules", "exclude_modules", "layers_pattern"):
            made = _lora(**{field: pattern, "layers_to_transform": [0]})
            yield f"{field} {pattern}", Hostile(made, "audit {base} {}/a -j 1", "?")
    yield "a pattern of few bits", Hostile(_quantised, BOTH, "?")
    yield "indices outside of the weight", Hostile(_shira(1 << 30), ADAPTER, "?")
    yield "indices before the weight", Hostile(_shira(-5), ADAPTER, "?")
    for r in (1 << 31, 1 << 40, 10**30):
        yield f"a rank of {r:.0e}", Hostile(_shira(r=r), ADAPTER, "?")
        yield f"a LoRA's rank of {r:.0e}", Hostile(_lora(r=r), ADAPTER, "?")
        yield (
            f"a PiSSA's rank of {r:.0e}",
            Hostile(_lora(r=r, init_lora_weights="pissa"), ADAPTER, "?"),
        )
    alone = "--offline audit {}/a -j 1"
    fronts = {
        "a Python object": "base_model: !!python/object/apply:os.mkdir ['{}/pwned']",
        "a billion laughs": _LAUGHS + "base_model: *k",
        "a date that is none": "base_model: 2001-99-99",
        "a number that is none": "base_model: !!int x",
        "deep lists": "base_model: " + _DEEP,
        "megabytes": "x: [" + "a, " * 500_000 + "]",
        "an address": "base_model: http://127.0.0.1:9/x",
        "a bucket": "base_model: s3://bucket/model",
        "a device": "base_model: /dev/zero",
    }
    for name, front in fronts.items():
        line = "/dev/zero" if name == "a device" else "a: "
        yield f"a card of {name}", Hostile(_carded(front), alone, line)
    named = _lora(base_model_name_or_path="http://127.0.0.1:9/model")
    yield "a base at an address", Hostile(named, alone, "127.0.0.1")


def _places() -> Iterator[tuple[str, Hostile]]:
    for shard in ("../elsewhere/model.safetensors", "/etc/passwd", "/dev/zero", "..", "a\0b"):
        yield f"an index to {shard!r}", Hostile(_index(shard), BOTH, "index.json")
    yield "a pipe for a model", Hostile(_pipe("m.safetensors"), OPEN, "m.safetensors")
    yield "a device for a model", Hostile(_endless("m.safetensors"), OPEN, "m.safetensors")
    for name in ("m/model.safetensors", "m/pytorch_model.bin", "m/model.safetensors.index.json"):
        yield f"a pipe for {name}", Hostile(_pipe(name), BOTH, "m")
        yield f"a device for {name}", Hostile(_endless(name), BOTH, "m")
    yield (
        "a device for config.json",
        Hostile(_endless("m/config.json", _model(model_type="llama")), BOTH, "?"),
    )
    name = "a/adapter_config.json"
    yield "a device for adapter_config.json", Hostile(_endless(name, _lora()), ADAPTER, "?")
    yield (
        "a device for a card",
        Hostile(_endless("a/README.md", _lora()), "--offline audit {}/a -j 1", "a"),
    )
    beside = {
        "a policy": "audit {base} {base} -j 1 --policy {}/x",
        "answers": "probe {base} --data {}/x.jsonl",
        "claims": "verify-claim {}/x {base} {base}",
        "a key": "verify-claim {base}/../c.jsonl {base} {base} --key {}/x",
        "a private key": "attest {base}/../diff.json --key {}/x -o {}/c.jsonl",
        "a result": "findings {}/x.json",
        "a matrix": "plot {}/x.csv -o {}/p.svg",
        "a run": "trajectory {base} {base} -j 1 --append {}/x.json",
        "a card": "card {base}/../diff.json {}/x",
        "a checked card": "card --check {}/x {base}/../diff.json",
        "claims that grow": "attest {base}/../diff.json --key {base}/../k -o {}/x",
        "a tokenizer": "parts {base} {base} --by token --tokenizer {}/tokenizer.json -j 1",
    }
    for what, command in beside.items():
        word = next(w for w in command.split() if w.startswith("{}/") and "out" not in w)
        file = {"{}/c.jsonl": "x"}.get(word, word.removeprefix("{}/"))
        file = "x" if file in ("p.svg", "c.jsonl") else file
        yield f"a pipe for {what}", Hostile(_pipe(file), command, file)
        yield f"a device for {what}", Hostile(_endless(file), command, file)
    kept = "compare {base} {base} -j 1 -o {}/out"
    yield "a pipe for a journal", Hostile(_pipe("out/journal.sqlite"), kept, "?")
    yield "a device for a journal", Hostile(_endless("out/journal.sqlite"), kept, "?")


def _shown() -> Iterator[tuple[str, Hostile]]:
    sides = "compare {}/b {}/m -j 1"
    for name in ("table", "json", "csv"):
        yield f"names, {name}", Hostile(_named, f"{sides} --format {name}", "")
    yield "names, in a page", Hostile(_named, f"{sides} -o {{}}/out", "")
    yield "names, inspected", Hostile(_named, "inspect {}/m", "")
    yield "names, audited", Hostile(_named, "audit {}/b {}/m -j 1", "?")


#: By name.
TABLE: Mapping[str, Hostile] = {
    **dict(_headers()),
    **dict(_archives()),
    **dict(_adapters()),
    **dict(_places()),
    **dict(_shown()),
}
