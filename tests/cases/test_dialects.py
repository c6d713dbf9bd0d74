"""One change under every name that trainers give it, onto bases under both of theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

import ftdiff

Tensors = dict[str, torch.Tensor]
Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]
RANK, ALPHA, WIDTH = 2, 1.0, 8

#: FLUX, hidden 8: what the original stores as one, and what diffusers stores of it, row by row.
FLUX = {
    "double_blocks.0.img_attn.qkv": (
        ("transformer_blocks.0.attn.to_q", 8),
        ("transformer_blocks.0.attn.to_k", 8),
        ("transformer_blocks.0.attn.to_v", 8),
    ),
    "double_blocks.0.txt_attn.qkv": (
        ("transformer_blocks.0.attn.add_q_proj", 8),
        ("transformer_blocks.0.attn.add_k_proj", 8),
        ("transformer_blocks.0.attn.add_v_proj", 8),
    ),
    "double_blocks.0.img_attn.proj": (("transformer_blocks.0.attn.to_out.0", 8),),
    "double_blocks.0.txt_attn.proj": (("transformer_blocks.0.attn.to_add_out", 8),),
    "double_blocks.0.img_mlp.0": (("transformer_blocks.0.ff.net.0.proj", 32),),
    "double_blocks.0.txt_mlp.0": (("transformer_blocks.0.ff_context.net.0.proj", 32),),
    "double_blocks.0.img_mod.lin": (("transformer_blocks.0.norm1.linear", 48),),
    "single_blocks.0.linear1": (
        ("single_transformer_blocks.0.attn.to_q", 8),
        ("single_transformer_blocks.0.attn.to_k", 8),
        ("single_transformer_blocks.0.attn.to_v", 8),
        ("single_transformer_blocks.0.proj_mlp", 32),
    ),
    "single_blocks.0.modulation.lin": (("single_transformer_blocks.0.norm.linear", 24),),
    "single_blocks.1.linear1": (
        ("single_transformer_blocks.1.attn.to_q", 8),
        ("single_transformer_blocks.1.attn.to_k", 8),
        ("single_transformer_blocks.1.attn.to_v", 8),
        ("single_transformer_blocks.1.proj_mlp", 32),
    ),
    "img_in": (("x_embedder", 8),),
    "final_layer.linear": (("proj_out", 4),),
}
#: Stable Diffusion 1.5: the original's modules, diffusers', and their shapes.
UNET = [
    ("input_blocks.1.1.proj_in", "down_blocks.0.attentions.0.proj_in", (8, 8, 1, 1)),
    ("input_blocks.1.1.transformer_blocks.0.attn1.to_q",
     "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", (8, 8)),
    ("input_blocks.2.1.transformer_blocks.0.attn2.to_k",
     "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k", (8, 12)),
    ("input_blocks.4.0.in_layers.2", "down_blocks.1.resnets.0.conv1", (8, 8, 3, 3)),
    ("input_blocks.4.0.skip_connection", "down_blocks.1.resnets.0.conv_shortcut", (8, 8, 1, 1)),
    ("input_blocks.5.1.transformer_blocks.0.attn1.to_out.0",
     "down_blocks.1.attentions.1.transformer_blocks.0.attn1.to_out.0", (8, 8)),
    ("input_blocks.6.0.op", "down_blocks.1.downsamplers.0.conv", (8, 8, 3, 3)),
    ("input_blocks.11.0.out_layers.3", "down_blocks.3.resnets.1.conv2", (8, 8, 3, 3)),
    ("middle_block.0.emb_layers.1", "mid_block.resnets.0.time_emb_proj", (8, 16)),
    ("middle_block.1.transformer_blocks.0.ff.net.0.proj",
     "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", (64, 8)),
    ("middle_block.2.out_layers.3", "mid_block.resnets.1.conv2", (8, 8, 3, 3)),
    ("output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv", (8, 8, 3, 3)),
    ("output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv", (8, 8, 3, 3)),
    ("output_blocks.5.1.transformer_blocks.0.attn2.to_v",
     "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_v", (8, 12)),
    ("output_blocks.11.0.in_layers.2", "up_blocks.3.resnets.2.conv1", (8, 16, 3, 3)),
    ("output_blocks.11.1.proj_out", "up_blocks.3.attentions.2.proj_out", (8, 8, 1, 1)),
    ("time_embed.0", "time_embedding.linear_1", (16, 8)),
    ("input_blocks.0.0", "conv_in", (8, 4, 3, 3)),
    ("out.2", "conv_out", (4, 8, 3, 3)),
]  # fmt: skip


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 4


def _factors(shapes: Mapping[str, tuple[int, ...]]) -> Factors:
    """Return down and up of every module."""
    return {
        name: (
            _random(2 * i, RANK, *shape[1:]),
            _random(2 * i + 1, shape[0], RANK, *(1 for _ in shape[2:])),
        )
        for i, (name, shape) in enumerate(shapes.items())
    }


def _norm(factors: Factors) -> float:
    """Return ‖ΔW‖ of all modules, in float64."""
    squares = [
        (ALPHA / RANK * up.double().flatten(1) @ down.double().flatten(1)).square().sum()
        for down, up in factors.values()
    ]
    return float(sum(squares)) ** 0.5


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    return path


def kohya(folder: Path, factors: Factors, prefix: str = "lora_unet_") -> Path:
    tensors: Tensors = {}
    for name, (down, up) in factors.items():
        at = prefix + name.replace(".", "_")
        tensors |= {f"{at}.lora_down.weight": down, f"{at}.lora_up.weight": up}
        tensors[f"{at}.alpha"] = torch.tensor(ALPHA)
    return _write(folder / "kohya.safetensors", tensors)


def dotted(folder: Path, factors: Factors, prefix: str = "diffusion_model.") -> Path:
    tensors: Tensors = {}
    for name, (down, up) in factors.items():
        at = prefix + name
        tensors |= {f"{at}.lora_A.weight": down, f"{at}.lora_B.weight": up}
        tensors[f"{at}.alpha"] = torch.tensor(ALPHA)
    return _write(folder / "dotted.safetensors", tensors)


def processors(folder: Path, factors: Factors) -> Path:
    """Write attention as diffusers' old processors are saved, everything else as it is."""
    tensors: Tensors = {}
    for name, (down, up) in factors.items():
        block, _, leaf = name.removesuffix(".0").rpartition(".")
        at = f"unet.{name}.lora."
        if leaf in ("to_q", "to_k", "to_v", "to_out"):
            at = f"unet.{block}.processor.{leaf}_lora."
        tensors |= {f"{at}down.weight": down, f"{at}up.weight": up * ALPHA / RANK}
    return _write(folder / "old.safetensors", tensors)


def peft(folder: Path, factors: Factors) -> Path:
    tensors: Tensors = {}
    for name, (down, up) in factors.items():
        at = f"base_model.model.{name}"
        tensors |= {f"{at}.lora_A.weight": down, f"{at}.lora_B.weight": up}
    _write(folder / "peft" / "adapter_model.safetensors", tensors)
    targets = sorted({name.rpartition(".")[2] for name in factors})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": targets}
    (folder / "peft" / "adapter_config.json").write_text(json.dumps(config))
    return folder / "peft"


def _split(factors: Factors) -> Factors:
    """Return a FLUX change as diffusers has it: the same down, the rows of up."""
    found: Factors = {}
    for name, (down, up) in factors.items():
        parts = FLUX[name]
        pieces = up.split([rows for _, rows in parts])
        found |= {part: (down, piece) for (part, _), piece in zip(parts, pieces, strict=True)}
    return found


def _flux_bases(folder: Path) -> dict[str, Path]:
    original: Tensors = {}
    diffusers: Tensors = {}
    for i, (name, parts) in enumerate(FLUX.items()):
        W = _random(100 + i, sum(rows for _, rows in parts), WIDTH)
        original[f"{name}.weight"] = W
        original[f"{name}.bias"] = W[:, 0]
        pieces = W.split([rows for _, rows in parts])
        for (part, _), piece in zip(parts, pieces, strict=True):
            diffusers |= {f"{part}.weight": piece, f"{part}.bias": piece[:, 0]}
    modulation = _random(99, 2 * WIDTH, WIDTH)
    original["final_layer.adaLN_modulation.1.weight"] = modulation
    diffusers["norm_out.linear.weight"] = torch.cat([modulation[WIDTH:], modulation[:WIDTH]])
    original["double_blocks.0.img_attn.norm.query_norm.scale"] = modulation[:, 1]
    diffusers["transformer_blocks.0.attn.norm_q.weight"] = modulation[:, 1]
    return {
        "original": _write(folder / "flux.safetensors", original),
        "below a prefix": _write(
            folder / "comfy.safetensors",
            {f"model.diffusion_model.{name}": tensor for name, tensor in original.items()},
        ),
        "diffusers": _write(folder / "transformer.safetensors", diffusers),
    }


def _flux_factors() -> Factors:
    return _factors({n: (sum(rows for _, rows in parts), WIDTH) for n, parts in FLUX.items()})


FLUX_LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "kohya": lambda to: kohya(to, _flux_factors()),
    "kohya, diffusers": lambda to: kohya(to, _split(_flux_factors()), "lora_transformer_"),
    "comfyui": lambda to: dotted(to, _flux_factors()),
    "diffusers": lambda to: dotted(to, _split(_flux_factors()), "transformer."),
    "bfl": lambda to: dotted(to, _flux_factors(), ""),
    "peft": lambda to: peft(to, _split(_flux_factors())),
    "peft, bfl": lambda to: peft(to, _flux_factors()),
}


@pytest.mark.parametrize("layout", FLUX_LAYOUTS)
def test_one_change_of_flux_is_one_number(tmp_path: Path, layout: str) -> None:
    tuned = FLUX_LAYOUTS[layout](tmp_path)
    numbers = []
    bases = _flux_bases(tmp_path)
    for base in bases.values():
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0 and not diff.about["unmatched"]
        assert diff.about["counts"]["added"] == 0
        whole = diff.whole("moved")
        numbers.append(whole["relative_norm"])
        assert diff.frame["delta_sq"].sum() ** 0.5 == pytest.approx(_norm(_flux_factors()))
    W = [_random(100 + i, sum(r for _, r in parts), WIDTH) for i, parts in enumerate(FLUX.values())]
    wanted = _norm(_flux_factors()) / float(sum(w.double().square().sum() for w in W)) ** 0.5
    assert numbers == pytest.approx([wanted] * len(bases), rel=1e-6)


def test_one_change_of_flux_is_one_change(tmp_path: Path) -> None:
    files = [make(tmp_path / str(i)) for i, make in enumerate(FLUX_LAYOUTS.values())]
    for base in (None, *_flux_bases(tmp_path).values()):
        found = ftdiff.similarity(files, base=base)
        assert found.matrix.to_numpy().min() == pytest.approx(1.0, abs=1e-6)


def _unet_bases(folder: Path) -> dict[str, Path]:
    original: Tensors = {}
    diffusers: Tensors = {}
    for i, (theirs, name, shape) in enumerate(UNET):
        W = _random(200 + i, *shape)
        original[f"model.diffusion_model.{theirs}.weight"] = W
        diffusers[f"{name}.weight"] = W
    return {
        "original": _write(folder / "sd15.safetensors", original),
        "diffusers": _write(folder / "unet.safetensors", diffusers),
    }


def _unet_factors(spelling: int) -> Factors:
    return _factors({names[spelling]: names[2] for names in UNET})


UNET_LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "kohya": lambda to: kohya(to, _unet_factors(1)),
    "kohya, original": lambda to: kohya(to, _unet_factors(0)),
    "comfyui": lambda to: dotted(to, _unet_factors(0)),
    "diffusers": lambda to: dotted(to, _unet_factors(1), "unet."),
    "diffusers, old": lambda to: processors(to, _unet_factors(1)),
    "peft": lambda to: peft(to, _unet_factors(1)),
}


@pytest.mark.parametrize("layout", UNET_LAYOUTS)
def test_one_change_of_a_unet_is_one_number(tmp_path: Path, layout: str) -> None:
    tuned = UNET_LAYOUTS[layout](tmp_path)
    numbers = []
    for base in _unet_bases(tmp_path).values():
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0 and not diff.about["unmatched"]
        assert diff.about["counts"]["added"] == 0
        assert diff.frame["delta_sq"].sum() ** 0.5 == pytest.approx(_norm(_unet_factors(1)))
        numbers.append(diff.whole("moved")["relative_norm"])
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)


def test_one_change_of_a_unet_is_one_change(tmp_path: Path) -> None:
    files = [make(tmp_path / str(i)) for i, make in enumerate(UNET_LAYOUTS.values())]
    for base in (None, *_unet_bases(tmp_path).values()):
        found = ftdiff.similarity(files, base=base)
        assert found.matrix.to_numpy().min() == pytest.approx(1.0, abs=1e-6)


def test_a_model_under_two_spellings_is_one_model(tmp_path: Path) -> None:
    for bases in (_flux_bases(tmp_path / "flux"), _unet_bases(tmp_path / "unet")):
        original, diffusers = bases["original"], bases["diffusers"]
        for base, tuned in ((original, diffusers), (diffusers, original)):
            diff = ftdiff.compare(base, tuned)
            counts = diff.about["counts"]
            assert counts["added"] + counts["reshaped"] + counts["unreadable"] == 0
            assert diff.frame["delta_sq"].sum() == 0.0
            codes = {record["code"] for record in diff.about["reasons"]}
            assert "translated" in codes


@pytest.mark.parametrize("spelled", ["original", "diffusers"])
def test_a_merge_is_verified_in_either_spelling(tmp_path: Path, spelled: str) -> None:
    bases = _flux_bases(tmp_path)
    factors = _flux_factors() if spelled == "original" else _split(_flux_factors())
    merged = {}
    with safetensors.safe_open(bases[spelled], "pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            down, up = factors.get(name.removesuffix(".weight"), (None, None))
            W = file.get_tensor(name)
            merged[name] = W if down is None else W + ALPHA / RANK * (up @ down)
    whole = _write(tmp_path / "merged.safetensors", merged)
    for base, layout in zip(bases.values(), ("kohya", "diffusers", "peft"), strict=True):
        for make in (FLUX_LAYOUTS[layout], FLUX_LAYOUTS["comfyui"]):
            found = ftdiff.verify(base, make(tmp_path / "lora"), whole)
            assert found.ok, found.about


#: The two text encoders of SDXL: transformers' names of the first, open_clip's of the second.
LAYER = ("mlp.fc1", "mlp.fc2", "self_attn.q_proj", "self_attn.v_proj", "self_attn.out_proj")
SHAPES = {"mlp.fc1": (16, 8), "mlp.fc2": (8, 16)}


def _encoders(folder: Path) -> Path:
    first, second = (
        "conditioner.embedders.0.transformer.text_model.",
        "conditioner.embedders.1.model.",
    )
    tensors: Tensors = {}
    for i, leaf in enumerate((*LAYER, "self_attn.k_proj")):
        tensors[f"{first}encoder.layers.0.{leaf}.weight"] = _random(i, *SHAPES.get(leaf, (8, 8)))
    at = f"{second}transformer.resblocks.0."
    tensors |= {
        f"{at}mlp.c_fc.weight": _random(20, 16, 8),
        f"{at}mlp.c_proj.weight": _random(21, 8, 16),
        f"{at}attn.in_proj_weight": _random(22, 24, 8),
        f"{at}attn.in_proj_bias": _random(23, 24),
        f"{at}attn.out_proj.weight": _random(24, 8, 8),
        f"{at}ln_1.weight": _random(25, 8),
    }
    return _write(folder / "sdxl.safetensors", tensors)


def _encoder_factors() -> Factors:
    """Return a change of the second encoder, with names as transformers has them."""
    shapes = {f"text_model.encoder.layers.0.{leaf}": SHAPES.get(leaf, (8, 8)) for leaf in LAYER}
    return _factors(shapes)


@pytest.mark.parametrize(
    "make",
    [
        lambda to: kohya(to, _encoder_factors(), "lora_te2_"),
        lambda to: dotted(to, _encoder_factors(), "text_encoder_2."),
    ],
    ids=["kohya", "diffusers"],
)
def test_the_second_encoder_goes_to_its_own_tower(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    diff = ftdiff.compare(_encoders(tmp_path), make(tmp_path))
    moved = diff.frame[diff.frame["status"] == "changed"]
    assert {name.partition("transformer.")[0] for name in moved["tensor"]} == {
        "conditioner.embedders.1.model."
    }
    assert moved["delta_sq"].sum() ** 0.5 == pytest.approx(_norm(_encoder_factors()))
    assert not diff.about["unmatched"] and diff.about["coverage"] == 1.0
    W = _random(22, 24, 8).double()
    A, B = _encoder_factors()["text_model.encoder.layers.0.self_attn.v_proj"]
    rows = diff.frame.set_index("tensor")
    fused = rows.loc["conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"]
    q = _encoder_factors()["text_model.encoder.layers.0.self_attn.q_proj"]
    inner = ALPHA / RANK * ((B.double() @ A.double() * W[16:]).sum())
    inner += ALPHA / RANK * ((q[1].double() @ q[0].double() * W[:8]).sum())
    assert fused["inner"] == pytest.approx(float(inner), rel=1e-5)


def test_the_first_encoder_is_not_taken_for_the_second(tmp_path: Path) -> None:
    base = _encoders(tmp_path)
    lost = {n: t for n, t in _encoder_factors().items() if "out_proj" in n}
    only = {k: v for k, v in load_file(base).items() if "embedders.1" not in k}
    alone = _write(tmp_path / "one.safetensors", only)
    for tuned in (kohya(tmp_path, lost, "lora_te2_"), dotted(tmp_path, lost, "text_encoder_2.")):
        with pytest.raises(ftdiff.errors.FtdiffError, match="none of its 1 tensors"):
            ftdiff.compare(alone, tuned)


def test_wan_has_two_spellings(tmp_path: Path) -> None:
    pairs = {
        "blocks.0.self_attn.q": "blocks.0.attn1.to_q",
        "blocks.0.self_attn.o": "blocks.0.attn1.to_out.0",
        "blocks.1.cross_attn.k": "blocks.1.attn2.to_k",
        "blocks.1.cross_attn.v_img": "blocks.1.attn2.add_v_proj",
        "blocks.1.ffn.0": "blocks.1.ffn.net.0.proj",
        "blocks.1.ffn.2": "blocks.1.ffn.net.2",
    }
    W = {f"{name}.weight": _random(i, 8, 8) for i, name in enumerate(pairs)}
    W["blocks.0.norm3.weight"], W["head.modulation"] = _random(50, 8), _random(51, 1, 2, 8)
    other = {f"{pairs[name.removesuffix('.weight')]}.weight": W[name] for name in [*W][:6]}
    other |= {
        "blocks.0.norm2.weight": W["blocks.0.norm3.weight"],
        "scale_shift_table": W["head.modulation"],
    }
    bases = _write(tmp_path / "a.safetensors", W), _write(tmp_path / "b.safetensors", other)
    for base, tuned in (bases, bases[::-1]):
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0 and diff.frame["delta_sq"].sum() == 0.0
    factors = _factors(dict.fromkeys(pairs, (8, 8)))
    theirs = {pairs[name]: pair for name, pair in factors.items()}
    for base in bases:
        for tuned in (
            kohya(tmp_path, factors),
            dotted(tmp_path, factors),
            dotted(tmp_path / "d", theirs, "transformer."),
            peft(tmp_path, theirs),
        ):
            diff = ftdiff.compare(base, tuned)
            assert diff.frame["delta_sq"].sum() ** 0.5 == pytest.approx(_norm(factors))


DOUBLE = ("img_attn.qkv", "txt_attn.qkv", "img_mlp.0")


def test_flattened_names_have_layers_without_a_base(tmp_path: Path) -> None:
    factors = _factors(
        {
            **{f"double_blocks.{i}.{leaf}": (24, 8) for i in range(3) for leaf in DOUBLE},
            **{f"single_blocks.{i}.linear1": (56, 8) for i in range(5)},
        }
    )
    files = kohya(tmp_path, factors), dotted(tmp_path, factors)
    frames = [ftdiff.compare(None, file).frame for file in files]
    words = ["stack", "layer", "component", "delta_sq"]
    first, second = (frame[words].sort_values(words).reset_index(drop=True) for frame in frames)
    assert first.equals(second)
    assert set(first["stack"]) == {"double_blocks", "single_blocks"}
    double = {"attn.qkv", "attn.txt_qkv", "mlp.up"}
    assert first["layer"].notna().all() and set(first["component"]) == {*double, "attn.qkv_mlp"}


def test_the_encoders_of_flattened_names_are_towers_without_a_base(tmp_path: Path) -> None:
    one = kohya(tmp_path / "1", _encoder_factors(), "lora_te1_")
    two = kohya(tmp_path / "2", _encoder_factors(), "lora_te2_")
    blocks = [f"down_blocks.{i}.attentions.0.proj_{end}" for i in (0, 1) for end in ("in", "out")]
    unet = kohya(tmp_path / "3", _factors(dict.fromkeys(blocks, (8, 8))))
    both = _write(
        tmp_path / "all.safetensors", {**load_file(one), **load_file(two), **load_file(unet)}
    )
    frame = ftdiff.compare(None, both).frame
    te1 = frame[frame["tensor"].str.startswith("text_encoder.")]
    te2 = frame[frame["tensor"].str.startswith("text_encoder_2.")]
    assert len(te1) == len(te2) == len(LAYER) and set(te1["layer"]) == {0}
    assert te1["stack"].nunique() == te2["stack"].nunique() == 1
    assert set(te1["stack"]).isdisjoint(te2["stack"])
    assert frame[frame["tensor"].str.startswith("unet.down_blocks")]["layer"].notna().all()


def _swapped(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat([*reversed(tensor.chunk(2))])


def test_what_the_spellings_store_otherwise_is_arranged(tmp_path: Path) -> None:
    whole, last, final = _random(1, 48, 8), _random(2, 16, 8), _random(3, 16, 8)
    kernel, projection = _random(4, 8, 8, 1, 1), _random(5, 8, 6)
    original = {
        "model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.weight": whole,
        "model.diffusion_model.joint_blocks.1.context_block.adaLN_modulation.1.weight": last,
        "model.diffusion_model.joint_blocks.1.context_block.adaLN_modulation.1.bias": last[:, 0],
        "model.diffusion_model.final_layer.adaLN_modulation.1.weight": final,
        "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": whole[:24],
        "first_stage_model.decoder.mid.attn_1.q.weight": kernel,
        "first_stage_model.decoder.up.3.block.0.conv1.weight": kernel,
        "conditioner.embedders.1.model.text_projection": projection,
    }
    diffusers = {
        "transformer.transformer_blocks.0.norm1_context.linear.weight": whole,
        "transformer.transformer_blocks.1.norm1_context.linear.weight": _swapped(last),
        "transformer.transformer_blocks.1.norm1_context.linear.bias": _swapped(last[:, 0]),
        "transformer.norm_out.linear.weight": _swapped(final),
        "transformer.transformer_blocks.0.attn.to_q.weight": whole[:8],
        "transformer.transformer_blocks.0.attn.to_k.weight": whole[8:16],
        "transformer.transformer_blocks.0.attn.to_v.weight": whole[16:24],
        "vae.decoder.mid_block.attentions.0.to_q.weight": kernel[:, :, 0, 0],
        "vae.decoder.up_blocks.0.resnets.0.conv1.weight": kernel,
        "text_encoder_2.text_projection.weight": projection.T,
    }
    one = _write(tmp_path / "one.safetensors", original)
    two = _write(tmp_path / "two.safetensors", diffusers)
    for base, tuned in ((one, two), (two, one)):
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0
        assert set(diff.frame["status"]) == {"identical"}
    factors = _factors({"norm_out.linear": (16, 8)})
    down, up = factors["norm_out.linear"]
    diff = ftdiff.compare(one, dotted(tmp_path, factors, "transformer."))
    row = diff.frame.set_index("tensor").loc[
        "model.diffusion_model.final_layer.adaLN_modulation.1.weight"
    ]
    inner = ALPHA / RANK * ((up.double() @ down.double()) * _swapped(final).double()).sum()
    assert row["inner"] == pytest.approx(float(inner), rel=1e-5)
    assert not diff.about["unmatched"]
