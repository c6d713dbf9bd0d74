"""Files with dotted names, in the layouts that diffusers and ComfyUI write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ftdiff.adapters import open_tuned
from ftdiff.comparison.engine import compare
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note
from tests.adapters.files import base, change, close, random, write

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
ATTN = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
CLIP = "text_model.encoder.layers.0.self_attn.q_proj"
DOWN, UP = random(2, 6), random(8, 2)
BASE = base(**{f"{name}.weight".replace(".", "__"): (8, 6) for name in (Q, OUT, CLIP)})

#: Two keys as a tool writes them, and the module that they are.
SPELLINGS = {
    "before components had names": (
        f"{ATTN}.processor.to_q_lora.down.weight",
        f"{ATTN}.processor.to_q_lora.up.weight",
        Q,
    ),
    "attention processors": (
        f"unet.{ATTN}.processor.to_q_lora.down.weight",
        f"unet.{ATTN}.processor.to_q_lora.up.weight",
        Q,
    ),
    "the output of a processor": (
        f"unet.{ATTN}.processor.to_out_lora.down.weight",
        f"unet.{ATTN}.processor.to_out_lora.up.weight",
        OUT,
    ),
    "lora layers": (f"unet.{Q}.lora.down.weight", f"unet.{Q}.lora.up.weight", Q),
    "peft's words": (f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight", Q),
    "peft's words and an adapter's name": (
        f"unet.{Q}.lora_A.default.weight",
        f"unet.{Q}.lora_B.default.weight",
        Q,
    ),
    "peft's words without .weight": (f"unet.{Q}.lora_A", f"unet.{Q}.lora_B", Q),
    "sd-scripts' words, dotted": (
        f"diffusion_model.{Q}.lora_down.weight",
        f"diffusion_model.{Q}.lora_up.weight",
        Q,
    ),
    "text encoder, old": (
        "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight",
        "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.up.weight",
        CLIP,
    ),
    "text encoder": (
        f"text_encoder.{CLIP}.lora_linear_layer.down.weight",
        f"text_encoder.{CLIP}.lora_linear_layer.up.weight",
        CLIP,
    ),
}


@pytest.mark.parametrize(("down", "up", "module"), SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_is_the_same_change(tmp_path: Path, down: str, up: str, module: str) -> None:
    path = write(tmp_path / "pytorch_lora_weights.safetensors", {down: DOWN, up: UP})
    tuned = open_tuned(path, BASE)
    name = f"{module}.weight"
    assert (list(tuned.recipes), dict(tuned.unmatched), tuned.kind) == ([name], {}, "lora")
    assert close(change(tuned, name, BASE), UP @ DOWN)
    assert tuned.scalings == {name: "1: no alpha in the file"}


@pytest.mark.parametrize("alpha", [f"unet.{Q}.alpha", f"unet.{ATTN}.processor.to_q_lora.alpha"])
def test_an_alpha_of_its_own_is_divided_by_the_rank(tmp_path: Path, alpha: str) -> None:
    tensors = {f"unet.{Q}.lora_A.weight": DOWN, f"unet.{Q}.lora_B.weight": UP}
    path = write(tmp_path / "a.safetensors", {**tensors, alpha: np.float32(5)})
    tuned = open_tuned(path, BASE)
    assert close(change(tuned, f"{Q}.weight", BASE), 2.5 * UP @ DOWN)
    assert not tuned.unmatched


def _told(**config: object) -> str:
    return json.dumps({f"unet.{key}": value for key, value in config.items()})


def _peft(tmp_path: Path, told: str, **more: np.ndarray) -> Path:
    tensors = {f"unet.{Q}.lora_A.weight": DOWN, f"unet.{Q}.lora_B.weight": UP}
    tensors |= {f"unet.{Q}.{part}": tensor for part, tensor in more.items()}
    return write(tmp_path / "a.safetensors", tensors, lora_adapter_metadata=told, format="pt")


CONFIGS = {
    "alpha": ({"r": 2, "lora_alpha": 6}, 3.0),
    "rslora": ({"r": 2, "lora_alpha": 6, "use_rslora": True}, 6 / np.sqrt(2)),
    "alpha_pattern": ({"r": 2, "lora_alpha": 6, "alpha_pattern": {"to_q": 1}}, 0.5),
}


@pytest.mark.parametrize(("config", "scaling"), CONFIGS.values(), ids=CONFIGS)
def test_the_scale_is_that_of_the_configuration_in_the_metadata(
    tmp_path: Path, config: dict[str, object], scaling: float
) -> None:
    tuned = open_tuned(_peft(tmp_path, _told(**config)), BASE)
    assert close(change(tuned, f"{Q}.weight", BASE), scaling * UP @ DOWN)
    assert tuned.scalings[f"{Q}.weight"].endswith("the file's header")
    assert "scales-in-metadata" in [note.code for note in tuned.notes if isinstance(note, Note)]


def test_dora_has_the_norm_of_the_sum(tmp_path: Path) -> None:
    W = BASE.tensors[f"{Q}.weight"].read().astype("f8")
    m = np.abs(random(8)) + 0.5
    path = _peft(tmp_path, _told(r=2, lora_alpha=6, use_dora=True), lora_magnitude_vector=m)
    summed = W + 3 * UP @ DOWN
    wanted = m[:, None] * summed / np.linalg.norm(summed, axis=1, keepdims=True) - W
    tuned = open_tuned(path, BASE)
    assert tuned.kind == "dora"
    assert close(change(tuned, f"{Q}.weight", BASE), wanted)


def test_a_square_convolution_has_magnitudes_of_its_outputs(tmp_path: Path) -> None:
    opened = base(down_blocks__0__conv__weight=(6, 6, 3, 3))
    W = opened.tensors["down_blocks.0.conv.weight"].read().astype("f8")
    down, up, m = random(2, 6, 3, 3), random(6, 2, 1, 1), np.abs(random(1, 6, 1, 1)) + 0.5
    tensors = {"lora_A.weight": down, "lora_B.weight": up, "lora_magnitude_vector": m}
    path = write(
        tmp_path / "a.safetensors",
        {f"unet.down_blocks.0.conv.{part}": tensor for part, tensor in tensors.items()},
    )
    summed = W.reshape(6, -1) + up.reshape(6, 2) @ down.reshape(2, -1)
    norms = np.linalg.norm(summed, axis=1, keepdims=True)
    wanted = m.reshape(6, 1) * summed / norms - W.reshape(6, -1)
    assert close(change(open_tuned(path, opened), "down_blocks.0.conv.weight", opened), wanted)


def test_an_alpha_beside_a_configuration_is_a_contradiction(tmp_path: Path) -> None:
    path = _peft(tmp_path, _told(r=2, lora_alpha=6), alpha=np.float32(2))
    diff = compare(BASE, path)
    assert "which?" in diff.about["unreadable"][f"{Q}.weight"]


BAD = {
    "no json": ("{", "not valid JSON"),
    "no object": ("[]", "not a JSON object"),
    "deep": ("[" * 100_000, "not valid JSON"),
    "residual": (_told(r=2, lora_alpha=6, init_lora_weights="pissa"), "replaced by a residual"),
}


@pytest.mark.parametrize(("told", "reason"), BAD.values(), ids=BAD)
def test_metadata_that_is_no_plain_configuration_is_refused(
    tmp_path: Path, told: str, reason: str
) -> None:
    with pytest.raises(BadAdapter, match=reason):
        open_tuned(_peft(tmp_path, told), BASE)


def test_components_that_the_base_is_not_are_named(tmp_path: Path) -> None:
    opened = base(**{f"{Q}.weight".replace(".", "__"): (8, 6), "conv_in__weight": (8, 6)})
    modules = (f"unet.{Q}", "unet.conv_in", f"text_encoder.{CLIP}")
    tensors = {f"{module}.lora_A.weight": DOWN for module in modules}
    tensors |= {f"{module}.lora_B.weight": UP for module in modules}
    tuned = open_tuned(write(tmp_path / "a.safetensors", tensors), opened)
    assert set(tuned.recipes) >= {f"{Q}.weight", "conv_in.weight"}
    assert list(tuned.lost) == [f"text_encoder.{CLIP}.weight"] and not tuned.unmatched
    assert "another component than text_encoder" in tuned.lost[f"text_encoder.{CLIP}.weight"]


def test_without_a_base_norms_are_absolute(tmp_path: Path) -> None:
    frame = compare(None, _peft(tmp_path, _told(r=2, lora_alpha=6))).frame
    assert frame.loc[0, "tensor"] == f"unet.{Q}.weight"
    assert frame.loc[0, "delta_sq"] == pytest.approx(np.square(3 * UP @ DOWN).sum(), rel=1e-5)
