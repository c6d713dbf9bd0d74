"""Good files of every format and configuration, and the commands that open them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: How a file is damaged: see `tests.fuzz.mutations`.
KINDS = ("json", "lines", "safetensors", "zip", "bytes", "text")


@dataclass(frozen=True)
class Specimen:
    """A folder of good files, the one of them that is damaged, and what opens it.

    Attributes
    ----------
    name
        In reports.
    folder
        Where the good files lie.
    target
        The one that is damaged, below it.
    kind
        One of `KINDS`.
    commands
        Any of these is run; `{}` is the copy of the folder, `{base}` an unharmed model.
    """

    name: str
    folder: Path
    target: str
    kind: str
    commands: tuple[tuple[str, ...], ...]


COMPARE = ("compare", "{base}", "{}/tuned", "-j", "1", "--format", "json")
MODEL = (COMPARE, ("inspect", "{}/tuned"))
ADAPTER = (*MODEL, COMPARE, ("audit", "{base}", "{}/tuned", "-j", "1"))
RESULT = (("findings", "{}/r.json"), ("findings", "{}/r.json", "--format", "json"))
DRAWN = (*RESULT, ("report", "{}/r.json", "-o", "{}/page.html"))


def build(root: Path) -> list[Specimen]:
    """Write all of them below a folder, in a process of its own, so that this one stays small."""
    child = os.fork()
    if not child:
        code = 1
        try:
            write(root)
            code = 0
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the good files could not be written")
    return read(root)


def read(root: Path) -> list[Specimen]:
    """Return what `write` wrote below a folder."""
    listed = json.loads((root / "specimens.json").read_text())
    return [Specimen(n, Path(f), t, k, tuple(map(tuple, c))) for n, f, t, k, c in listed]


def write(root: Path) -> None:
    """Write all of them below a folder."""
    written: list[list[Any]] = []

    def add(
        name: str, kind: str, target: str, commands: Any, make: Callable[[Path], object]
    ) -> None:
        folder = root / name
        folder.mkdir()
        make(folder)
        for one in target.split():
            told = f"{name}: {one}" if " " in target else name
            written.append([told, str(folder), one, kind, commands])

    _models(root, add)
    _adapters(add)
    _few_bits(add)
    _results(root, add)
    (root / "specimens.json").write_text(json.dumps(written))


def _models(root: Path, add: Callable[..., None]) -> None:
    import numpy as np
    import torch

    from tests.conftest import FIXTURES, llama, nudge, write_model
    from tests.formats import test_dcp, test_gguf_model

    small = {n: t for n, t in llama(layers=1).items() if "mlp" not in n}
    config = {"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 4}
    base = write_model(root / "base", small, config=config)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FIXTURES / "base" / name, base / name)
    tuned = nudge(small)

    def folder(at: Path, **more: Any) -> Path:
        return write_model(at / "tuned", tuned, config=config, **more)

    def beside(at: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(FIXTURES / "base" / name, folder(at) / name)

    def torch_zip(at: Path) -> None:
        (at / "tuned").mkdir()
        torch.save({"state_dict": tuned, "step": 3}, at / "tuned" / "pytorch_model.bin")

    def gguf(at: Path, kind: int | None = None) -> None:
        tensors = {
            "token_embd.weight": test_gguf_model.random(8, 32),
            "blk.0.attn_q.weight": test_gguf_model.random(32, 32),
            "output_norm.weight": np.ones(32, np.float32),
        }
        test_gguf_model.write(at / "m.gguf", tensors, kind=kind)

    opened = (("inspect", "{}/m.gguf"), ("compare", "{}/m.gguf", "{}/m.gguf", "-j", "1"))
    add("safetensors", "safetensors", "tuned/model.safetensors", MODEL, folder)
    index = "tuned/model.safetensors.index.json"
    add("index of shards", "json", index, MODEL, lambda at: folder(at, shards=2))
    add("torch zip", "zip", "tuned/pytorch_model.bin", MODEL, torch_zip)
    add("torch zip, bytes", "bytes", "tuned/pytorch_model.bin", MODEL, torch_zip)
    add("gguf", "bytes", "m.gguf", opened, gguf)
    add("gguf Q4_0", "bytes", "m.gguf", opened, lambda at: gguf(at, 2))
    add("dcp", "bytes", "tuned/.metadata", MODEL, lambda at: test_dcp.save(at / "tuned", tuned))
    add(
        "dcp, data",
        "bytes",
        "tuned/__0_0.distcp",
        MODEL,
        lambda at: test_dcp.save(at / "tuned", tuned),
    )
    audit = (ADAPTER[-1], COMPARE)
    files = "tuned/config.json tuned/tokenizer.json tuned/tokenizer_config.json"
    add("settings", "json", files, audit, beside)


def _adapters(add: Callable[..., None]) -> None:
    import numpy as np

    from tests.adapters.files import configure, random, write

    module, kohya = "base_model.model.model.layers.0.self_attn.q_proj", "lora_unet_x"
    kohya = "lora_te_model_layers_0_self_attn_q_proj"
    lora = {f"{module}.lora_A.weight": random(2, 16), f"{module}.lora_B.weight": random(16, 2)}

    def peft(tensors: Any, **config: Any) -> Callable[[Path], None]:
        def make(at: Path) -> None:
            (at / "tuned").mkdir()
            write(at / "tuned" / "adapter_model.safetensors", tensors)
            told = {"base_model_name_or_path": "x/y", "task_type": "CAUSAL_LM"}
            configure(at / "tuned", **told, **config)

        return make

    def alone(tensors: Any, **metadata: str) -> Callable[[Path], None]:
        def make(at: Path) -> None:
            (at / "tuned").mkdir()
            write(at / "tuned" / "x.safetensors", tensors, **metadata)

        return make

    config, weights = "tuned/adapter_config.json", "tuned/adapter_model.safetensors"
    whole = {
        **{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]},
        **{"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}, "use_rslora": True},
        **{"use_dora": False, "layers_to_transform": [0], "modules_to_save": None, "bias": "none"},
        **{"fan_in_fan_out": False, "init_lora_weights": True, "layers_pattern": "layers"},
    }
    add("LoRA configuration", "json", config, ADAPTER, peft(lora, **whole))
    add("LoRA", "safetensors", weights, ADAPTER, peft(lora, **whole))
    hada = {
        f"{module}.hada_{part}": random(16, 2) if part.endswith("a") else random(2, 16)
        for part in ("w1_a", "w1_b", "w2_a", "w2_b")
    }
    loha = {"peft_type": "LOHA", "r": 2, "alpha": 4, "rank_pattern": {}, "alpha_pattern": {"q": 1}}
    add("LoHa configuration", "json", config, ADAPTER, peft(hada, **loha))
    add("LoHa", "safetensors", weights, ADAPTER, peft(hada, **loha))
    kron = {f"{module}.lokr_w1": random(4, 4), f"{module}.lokr_w2": random(4, 4)}
    lokr = {"peft_type": "LOKR", "r": 2, "alpha": 4, "decompose_factor": -1}
    add("LoKr configuration", "json", config, ADAPTER, peft(kron, **lokr))
    add("LoKr", "safetensors", weights, ADAPTER, peft(kron, **lokr))
    scaled = {f"{module}.ia3_l": random(16, 1)}
    ia3 = {"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}
    add("IA3 configuration", "json", config, ADAPTER, peft(scaled, **ia3))
    alpha = {f"{kohya}.alpha": np.array(2, np.float32)}
    plain = {f"{kohya}.lora_down.weight": random(2, 16), f"{kohya}.lora_up.weight": random(16, 2)}
    network = {"ss_network_module": "networks.lora", "ss_network_args": '{"conv_dim": "4"}'}
    file = "tuned/x.safetensors"
    add("kohya", "safetensors", file, ADAPTER, alone(plain | alpha, **network))
    part = {k.replace(module, kohya): v for k, v in hada.items()}
    add(
        "LyCORIS LoHa",
        "safetensors",
        file,
        ADAPTER,
        alone(part | alpha, ss_network_module="lycoris.kohya"),
    )
    split = {
        **{f"{kohya}.lokr_w1": random(4, 4), f"{kohya}.lokr_w2_a": random(4, 2)},
        f"{kohya}.lokr_w2_b": random(2, 4),
    }
    add("LyCORIS LoKr", "safetensors", file, ADAPTER, alone(split | alpha))

    def mlx(at: Path) -> None:
        (at / "tuned").mkdir()
        name = "model.layers.0.self_attn.q_proj"
        held = {f"{name}.lora_a": random(16, 2), f"{name}.lora_b": random(2, 16)}
        write(at / "tuned" / "adapters.safetensors", held)
        told = {"rank": 2, "scale": 20.0, "dropout": 0.0}
        configure(at / "tuned", fine_tune_type="lora", num_layers=1, lora_parameters=told)

    add("MLX configuration", "json", config, ADAPTER, mlx)


def _few_bits(add: Callable[..., None]) -> None:
    import torch
    from safetensors.torch import save_file

    from tests.conftest import llama
    from tests.formats import few_bits_layouts as layouts
    from tests.formats import quantised_models as packed

    small = {n: t for n, t in llama(layers=1).items() if "q_proj" in n or "norm" in n}
    wide = {n: t.repeat(4, 4) if t.ndim == 2 else t.repeat(4) for n, t in small.items()}
    same = (("inspect", "{}/tuned"), ("compare", "{}/tuned", "{}/tuned", "-j", "1"))
    kinds = {
        "bnb": (packed.four_bits(), {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
        "fp8": (packed.float8_blocks(16), {"quant_method": "fp8", "weight_block_size": [16, 16]}),
        "gptq": (packed.gptq(), {"quant_method": "gptq", "bits": 4, "group_size": 16}),
    }
    for name, (pack, told) in kinds.items():

        def make(at: Path, pack: Any = pack, told: Any = told) -> None:
            packed.quantise(at / "tuned", pack, base=wide, quantization_config=told)

        add(f"{name} configuration", "json", "tuned/config.json", same, make)
        add(name, "safetensors", "tuned/model.safetensors", same, make)
    for name in ("ct int4 in groups", "ct int4 with zeros", "ComfyUI, comfy_quant", "ct mxfp4"):
        layout = layouts.LAYOUTS[name](torch.randn(8, 160))

        def write(at: Path, layout: Any = layout) -> None:
            (at / "tuned").mkdir()
            save_file(layout.parts, at / "tuned" / "model.safetensors", layout.metadata or None)
            (at / "tuned" / "config.json").write_text(json.dumps(layout.config))

        add(name, "safetensors", "tuned/model.safetensors", same, write)
        if layout.config:
            add(f"{name}, configuration", "json", "tuned/config.json", same, write)


def _results(root: Path, add: Callable[..., None]) -> None:
    import ftdiff
    from ftdiff.analyses import claims
    from ftdiff.analyses.claims import keys
    from tests.conftest import FIXTURES, llama, nudge, write_model

    base = root / "base"
    small = {n: t for n, t in llama(layers=1).items() if "mlp" not in n}
    tuned = [write_model(root / f"tuned{i}", nudge(small, seed=i)) for i in (1, 2)]
    diff = ftdiff.compare(base, tuned[0], ["stable_rank"])
    made = {
        "diff": (diff, (*DRAWN, ("card", "{}/r.json", "--to", "markdown"), ("audit", "{}/r.json"))),
        "similarity": (ftdiff.similarity(tuned, base=base), DRAWN),
        "trajectory": (ftdiff.trajectory(base, tuned), DRAWN),
        "verification": (
            ftdiff.verify(*(FIXTURES / n for n in ("base", "lora", "merged_f32"))),
            RESULT,
        ),
        "lineage": (ftdiff.lineage(tuned[0], [base, tuned[1]]), RESULT),
    }
    for name, (result, commands) in made.items():
        add(f"saved {name}", "json", "r.json", commands, lambda at, r=result: r.save(at / "r.json"))
        add(
            f"saved {name}, text",
            "text",
            "r.json",
            commands,
            lambda at, r=result: r.save(at / "r.json"),
        )
    drawn = (("findings", "{}/m.csv"), ("plot", "{}/m.csv", "-o", "{}/p.svg"))
    matrix = "layer,q_proj,k_proj\n0,1.5,2\n1,nan,-3e5\n"
    add("matrix", "text", "m.csv", drawn[:1], lambda at: (at / "m.csv").write_text(matrix))
    key = root / "my.key"
    keys.new_key(key)
    claim = claims.attest(diff, key)
    call = (
        "verify-claim",
        "{}/c.jsonl",
        str(base),
        str(tuned[0]),
        "--key",
        f"{key}.pub",
        "-j",
        "1",
    )
    unsigned = (*call[:4], "-j", "1")
    for kind in ("lines", "text"):
        add(
            f"claim, {kind}",
            kind,
            "c.jsonl",
            (call, unsigned),
            lambda at: claim.append(at / "c.jsonl"),
        )

    def journal(at: Path) -> None:
        from ftdiff.comparison import journal as kept

        with kept.kept(at / "journal.sqlite", print):
            ftdiff.compare(base, tuned[0])

    kept = (("compare", str(base), str(tuned[0]), "-j", "1", "-o", "{}", "--format", "json"),)
    add("journal", "bytes", "journal.sqlite", kept, journal)
