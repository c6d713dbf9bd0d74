"""Adapters and parts of image and video models, under the names that their tools give them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ftdiff
from ftdiff.adapters.opening import open_tuned
from ftdiff.reports.document import document

Tensors = dict[str, torch.Tensor]
RANK, WIDTH = 2, 8


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 4


def _write(path: Path, tensors: Mapping[str, torch.Tensor], **header: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: t.clone() for k, t in tensors.items()}, path, metadata=header or None)
    return path


def _pairs(modules: list[str], down: str = "lora_A.weight", up: str = "lora_B.weight") -> Tensors:
    found: Tensors = {}
    for i, module in enumerate(modules):
        found[f"{module}.{down}"] = _random(2 * i, RANK, WIDTH)
        found[f"{module}.{up}"] = _random(2 * i + 1, WIDTH, RANK)
    return found


def _flat(modules: list[str]) -> Tensors:
    names = [f"lora_unet_{module.replace('.', '_')}" for module in modules]
    return _pairs(names, "lora_down.weight", "lora_up.weight")


def _weights(modules: list[str], prefix: str = "") -> Tensors:
    return {f"{prefix}{m}.weight": _random(90 + i, WIDTH, WIDTH) for i, m in enumerate(modules)}


#: Wan's modules in the original spelling, and in diffusers'.
WAN = {
    f"blocks.{n}.{ours}": f"blocks.{n}.{theirs}"
    for n in range(2)
    for ours, theirs in (("self_attn.q", "attn1.to_q"), ("cross_attn.o", "attn2.to_out.0"))
}


def _wan_files(folder: Path) -> list[Path]:
    """Return one change as DiffSynth, PEFT, diffusers and musubi save it."""
    ours, theirs = [*WAN], [*WAN.values()]
    default = ("lora_A.default.weight", "lora_B.default.weight")
    return [
        _write(folder / "peft.safetensors", _pairs([f"base_model.model.{m}" for m in ours])),
        _write(folder / "diffusers.safetensors", _pairs([f"transformer.{m}" for m in theirs])),
        _write(folder / "diffsynth.safetensors", _pairs(ours, *default)),
        _write(folder / "musubi.safetensors", _flat(ours)),
    ]


def test_factors_of_a_known_image_model_need_no_prefix(tmp_path: Path) -> None:
    W = _weights([*WAN])
    bases = (
        _write(tmp_path / "wan.safetensors", W),
        _write(tmp_path / "dif.safetensors", _weights([*WAN.values()])),
    )
    files = _wan_files(tmp_path)
    for base in bases:
        found = [ftdiff.compare(base, file) for file in files]
        assert {diff.about["coverage"] for diff in found} == {1.0}
        norms = [diff.whole("moved")["relative_norm"] for diff in found]
        assert norms == pytest.approx([norms[0]] * len(files), rel=1e-6)
    for order in (files, files[::-1]):
        assert ftdiff.similarity(order).matrix.to_numpy().min() == pytest.approx(1.0)


def test_a_known_model_without_a_prefix_is_read_below_the_prefix_of_peft(tmp_path: Path) -> None:
    names = ["transformer_blocks.0.attn.to_out.0", "transformer_blocks.0.attn.to_add_out"]
    lora = _write(tmp_path / "fal.safetensors", _pairs([f"base_model.model.{n}" for n in names]))
    modules = ["double_blocks.0.img_attn.proj", "double_blocks.0.txt_attn.proj"]
    diff = ftdiff.compare(_write(tmp_path / "bfl.safetensors", _weights(modules)), lora)
    assert diff.about["coverage"] == 1.0 and diff.about["counts"]["added"] == 0


def test_layers_that_a_file_counts_otherwise_are_the_bases(tmp_path: Path) -> None:
    attended = [
        f"output_blocks.{n}.1.transformer_blocks.{k}.attn1.to_{x}"
        for n in range(6)
        for k in range(3 - n // 3)
        for x in "qkv"
    ]
    convolved = [f"output_blocks.{n}.0.in_layers.2" for n in range(9)]
    more = [f"output_blocks.{n}.1.proj_in" for n in range(6)]
    more += [f"output_blocks.{n}.2.conv" for n in (2, 5)]
    base = _weights([*convolved, *more, *attended], "model.diffusion_model.")
    lora = _write(tmp_path / "lora.safetensors", _flat([*convolved, *attended]))
    diff = ftdiff.compare(_write(tmp_path / "base.safetensors", base), lora)
    assert diff.about["coverage"] == 1.0
    assert "layers" not in {one.rule for one in ftdiff.audit(diff).findings}


def test_another_spelling_is_no_wrapper(tmp_path: Path) -> None:
    W = _weights([*WAN])
    there = {f"{WAN[name.removesuffix('.weight')]}.weight": tensor for name, tensor in W.items()}
    base = _write(tmp_path / "base.safetensors", W)
    diff = ftdiff.compare(base, _write(tmp_path / "dif.safetensors", there))
    assert "translated" in {one["code"] for one in diff.about["reasons"]}
    assert not [line for line in document(diff).cautions if "wrappers" in line]


@pytest.mark.parametrize(
    ("prefix", "other"),
    [
        ("", "first_stage_model."),
        ("first_stage_model.", ""),
        ("vae.", "first_stage_model."),
        ("model.diffusion_model.", ""),
    ],
)
def test_a_part_of_a_pipeline_is_all_there_below_any_word_for_it(
    tmp_path: Path, prefix: str, other: str
) -> None:
    outside = ["encoder.conv_in", "decoder.conv_out", "quant_conv", "patch_embedding"]
    names = [*outside, "encoder.down.0.block.0.conv1"]
    base = _write(tmp_path / "base.safetensors", _weights(names, prefix))
    diff = ftdiff.compare(base, _write(tmp_path / "tuned.safetensors", _weights(names, other)))
    assert diff.about["coverage"] == 1.0 and diff.about["counts"]["added"] == 0
    assert "translated" not in {one["code"] for one in diff.about["reasons"]}


def test_a_part_of_a_pipeline_is_not_another(tmp_path: Path) -> None:
    names = ["text_projection", "final_layer_norm"]
    base = _write(tmp_path / "base.safetensors", _weights(names, "text_encoder."))
    other = _write(tmp_path / "other.safetensors", _weights(names, "text_encoder_2."))
    with pytest.raises(ftdiff.errors.Mismatch):
        ftdiff.compare(base, other)


def test_an_alpha_that_nothing_contradicts_is_not_said_to_be_contradicted(tmp_path: Path) -> None:
    modules = ["blocks.0.self_attn.q", "blocks.1.self_attn.q"]
    told = {"ss_network_alpha": "1", "ss_network_dim": str(RANK)}
    lora = _write(tmp_path / "lora.safetensors", _flat(modules), **told)
    diff = ftdiff.compare(_write(tmp_path / "base.safetensors", _weights(modules)), lora)
    (said,) = (one for one in ftdiff.audit(diff).findings if one.rule == "scale-disputed")
    assert "no module has an alpha" in said.message and "contradicts" not in said.message


def test_a_module_of_which_a_part_is_lost_has_its_place(tmp_path: Path) -> None:
    module = "double_blocks.0.img_attn.proj"
    tensors = {**_flat([module]), "lora_unet_double_blocks_0_img_attn_proj.diff_b": _random(1, 8)}
    lora = _write(tmp_path / "lora.safetensors", tensors)
    diff = ftdiff.compare(_write(tmp_path / "base.safetensors", _weights([module])), lora)
    assert "misplaced" not in {one["code"] for one in diff.about["reasons"]}
    assert len(diff.about["unmatched"]) == 1 and not ftdiff.audit(diff).ok


@pytest.mark.parametrize(
    ("down", "up"),
    [("lora.A", "lora.B"), ("my_lora.a", "my_lora.b"), ("lora_in.weight", "lora_out.weight")],
)
def test_pairs_that_say_what_they_are_are_an_adapter(tmp_path: Path, down: str, up: str) -> None:
    file = _write(tmp_path / "x.safetensors", _pairs([f"net.{n}" for n in range(2)], down, up))
    assert open_tuned(file).kind == "unknown"


def test_modules_of_another_part_are_counted_once(tmp_path: Path) -> None:
    names = [f"text_model.encoder.layers.{n}.mlp.fc1" for n in range(2)]
    tensors: Tensors = {}
    for te, width in ((1, WIDTH), (2, 2 * WIDTH)):
        for name in names:
            at = f"lora_te{te}_{name.replace('.', '_')}"
            tensors[f"{at}.lora_down.weight"] = _random(te, RANK, width)
            tensors[f"{at}.lora_up.weight"] = _random(te, width, RANK)
            tensors[f"{at}.alpha"] = torch.tensor(1.0)
    base = _write(tmp_path / "clip.safetensors", _weights(names))
    diff = ftdiff.compare(base, _write(tmp_path / "lora.safetensors", tensors))
    (said,) = (one for one in diff.about["reasons"] if one["code"] == "misplaced")
    assert (said["live"], said["of"]) == (2, 4)


def test_pairs_below_flattened_names_are_an_adapter(tmp_path: Path) -> None:
    tensors = {k.replace(".", "_"): W for k, W in _pairs(["net.0", "net.1"]).items()}
    named = {k.replace("_weight", ""): W for k, W in tensors.items()}
    assert open_tuned(_write(tmp_path / "x.safetensors", named)).kind == "unknown"


def test_letters_alone_are_no_adapter(tmp_path: Path) -> None:
    file = _write(tmp_path / "x.safetensors", _pairs(["net.0", "net.1"], "A", "B"))
    assert open_tuned(file).kind == "full"


def test_a_control_lora_is_no_checkpoint(tmp_path: Path) -> None:
    tensors = {"lora_controlnet": torch.zeros(0), "zero_convs.0.0.weight": _random(1, 8, 8)}
    tensors |= {f"input_blocks.{n}.1.proj_in.bias": _random(n, 8) for n in range(8)}
    tensors |= _pairs(["input_blocks.4.1.proj_in"], "down", "up")
    assert open_tuned(_write(tmp_path / "x.safetensors", tensors)).kind == "unknown"


UNET = [
    f"{side}_blocks.{n}.attentions.0.transformer_blocks.0.attn1.to_{word}"
    for side in ("down", "up")
    for n in range(2)
    for word in "qkv"
]
TEXT = [f"text_model.encoder.layers.{n}.self_attn.{word}_proj" for n in range(2) for word in "qkv"]


def _pipeline(folder: Path, seed: int = 0) -> Path:
    """Write a pipeline of two components, the UNet's q of another seed."""
    unet, text = _weights(UNET), _weights(TEXT)
    if seed:
        unet |= {n: _random(seed, WIDTH, WIDTH) for n in unet if "to_q" in n}
    _write(folder / "unet" / "diffusion_pytorch_model.safetensors", unet)
    _write(folder / "text_encoder" / "model.safetensors", text)
    (folder / "scheduler").mkdir()
    told = {"_class_name": "P", "unet": ["diffusers", "U"], "text_encoder": ["transformers", "C"]}
    told |= {"scheduler": ["diffusers", "S"], "safety_checker": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(told))
    return folder


def test_a_pipeline_s_folder_is_a_model_of_components(tmp_path: Path) -> None:
    base, tuned = _pipeline(tmp_path / "base"), _pipeline(tmp_path / "tuned", 7)
    diff = ftdiff.compare(base, tuned)
    frame = diff.frame
    assert set(frame[frame.status == "changed"].tensor) == {
        f"unet.{name}.weight" for name in UNET if name.endswith("to_q")
    }
    assert {s.partition(".")[0] for s in frame["stack"]} == {"unet", "text"} and diff.about[
        "coverage"
    ] == 1.0
    assert "pipeline" in {one["code"] for one in diff.about["reasons"]}
    files = diff.about["sources"]["base"][0]["files"]
    assert [Path(one["path"]).parent.name for one in files] == ["text_encoder", "unet"]
    assert all("pages_sha256" in one for one in files)


def test_adapters_and_components_meet_a_pipeline(tmp_path: Path) -> None:
    base = _pipeline(tmp_path / "base")
    dotted = _pairs([f"unet.{m}" for m in UNET] + [f"text_encoder.{m}" for m in TEXT])
    unet = {f"lora_unet_{m.replace('.', '_')}" for m in UNET}
    text = {f"lora_te_{m.replace('.', '_')}" for m in TEXT}
    flat = _pairs([*sorted(unet), *sorted(text)], "lora_down.weight", "lora_up.weight")
    for tensors in (dotted, flat):
        diff = ftdiff.compare(base, _write(tmp_path / "lora.safetensors", tensors))
        assert (diff.frame.status == "changed").sum() == len(UNET) + len(TEXT)
        assert not diff.about["unmatched"]
    alone = ftdiff.compare(base, _pipeline(tmp_path / "tuned", 7) / "unet")
    counts = alone.about["counts"]
    assert (counts["measured"], counts["removed"]) == (len(UNET), len(TEXT))


def test_what_a_pipeline_lacks_is_named(tmp_path: Path) -> None:
    folder = _pipeline(tmp_path / "base")
    shutil.rmtree(folder / "text_encoder")
    (note,) = (n for n in ftdiff.open_checkpoint(folder).notes if n.code == "components-missing")
    assert note.data == {"components": ["text_encoder"]}
    shutil.rmtree(folder / "unet")
    with pytest.raises(ftdiff.errors.BadFile, match="no component has weights"):
        ftdiff.open_checkpoint(folder)
