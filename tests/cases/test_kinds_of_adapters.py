"""What is an adapter: whole differences, other tools' layouts, and parts of unknown ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import ftdiff
from ftdiff.adapters import unknown
from ftdiff.analyses.inspection import inspect
from ftdiff.cli import ftdiff as door
from ftdiff.comparison.reasons import reasons
from ftdiff.errors import FtdiffError
from ftdiff.tensors import Array
from tests.cases.situations import write_base


def draw(*shape: int, seed: int = 3) -> Array:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) / 10).astype("f4")


def code(*words: object) -> int:
    return CliRunner().invoke(door, [*map(str, words)]).exit_code


UNET = "down_blocks.{}.attentions.0.transformer_blocks.0.{}"
SIDES = {"attn1.to_q": (16, 16), "attn1.to_k": (16, 16), "ff.net.0.proj": (32, 16)}


def unet() -> dict[str, Array]:
    held = {}
    for i in range(2):
        for word, sides in SIDES.items():
            held[f"{UNET.format(i, word)}.weight"] = draw(*sides, seed=i)
            held[f"{UNET.format(i, word)}.bias"] = draw(sides[0], seed=i)
    return held


def differences(base: Mapping[str, Array], spell: Callable[[str], str]) -> dict[str, Array]:
    """Return whole differences of all but the keys' projections."""
    held = {}
    for name, W in base.items():
        path, _, param = name.rpartition(".")
        if "to_k" not in path:
            part = "diff" if param == "weight" else "diff_b"
            held[f"{spell(path)}.{part}"] = draw(*W.shape, seed=9) / 10
    return held


@pytest.mark.parametrize("prefix", ["lora_unet_", "lycoris_", "diffusion_model.", "unet."])
def test_whole_differences_are_an_adapter_what_it_does_not_name_stays(
    tmp_path: Path, prefix: str
) -> None:
    def spell(path: str) -> str:
        return prefix + (path.replace(".", "_") if prefix.endswith("_") else path)

    base = unet()
    held = differences(base, spell)
    files = [tmp_path / f"{name}.safetensors" for name in ("base", "full", "merged")]
    save_file(base, files[0])
    save_file(held, files[1])
    plain = differences(base, str)
    added = {
        name: W + plain.get(name.replace(".weight", ".diff").replace(".bias", ".diff_b"), 0)
        for name, W in base.items()
    }
    save_file({name: W.astype("f4") for name, W in added.items()}, files[2])
    diff = ftdiff.compare(files[0], files[1])
    assert diff.about["kind"] == "lycoris-full"
    counts = diff.about["counts"]
    assert (counts["measured"], counts["untouched"], counts["removed"]) == (8, 4, 0)
    moved = [n for n in base if n.endswith("weight") and "to_k" not in n]
    size = np.sqrt(
        sum(np.square(added[n] - base[n].astype(float)).sum() for n in moved)
        / sum(np.square(base[n].astype(float)).sum() for n in moved)
    )
    assert diff.overall["relative_norm"] == pytest.approx(size, rel=1e-5)
    assert ftdiff.verify(*files).verdict == "merged"
    assert code("verify", *files) == 0


def xlabs() -> dict[str, Array]:
    held = {}
    for i in range(3):
        for word, out in (
            ("qkv_lora1", 96),
            ("qkv_lora2", 96),
            ("proj_lora1", 32),
            ("proj_lora2", 32),
        ):
            path = f"double_blocks.{i}.processor.{word}"
            held[f"{path}.down.weight"] = draw(4, 32, seed=i + out)
            held[f"{path}.up.weight"] = draw(out, 4, seed=i + out + int(word[-1]))
    return held


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_xlabs_processors_are_flux_s_own_modules(tmp_path: Path, prefix: str) -> None:
    held = xlabs()
    save_file({prefix + k: v for k, v in held.items()}, tmp_path / "x.safetensors")
    diff = ftdiff.compare(None, tmp_path / "x.safetensors")
    assert diff.about["kind"] == "lora" and diff.about["counts"]["measured"] == 12
    wanted = sum(
        np.square(held[k.replace("down", "up")].astype(float) @ A).sum()
        for k, A in held.items()
        if ".down." in k
    )
    assert float(diff.frame["delta_sq"].sum()) == pytest.approx(wanted, rel=1e-6)
    names = {name.removeprefix(prefix) for name in diff.frame["tensor"]}
    assert {
        "double_blocks.0.img_attn.qkv.weight",
        "double_blocks.2.txt_attn.proj.weight",
    } < names
    assert "names-of-xlabs" in {one["code"] for one in diff.about["reasons"]}
    same = tmp_path / "comfy.safetensors"
    leaves = {"qkv_lora1": "img_attn.qkv", "qkv_lora2": "txt_attn.qkv"}
    leaves |= {"proj_lora1": "img_attn.proj", "proj_lora2": "txt_attn.proj"}
    comfy = {}
    for key, value in held.items():
        block, _, rest = key.partition(".processor.")
        word, half, _ = rest.split(".")
        comfy[f"{prefix}{block}.{leaves[word]}.lora_{half}.weight"] = value
    save_file(comfy, same)
    both = ftdiff.similarity([tmp_path / "x.safetensors", same])
    assert both.matrix.to_numpy()[0, 1] == pytest.approx(1, abs=1e-6)


def test_of_xlabs_single_blocks_q_k_and_v_are_the_first_rows(tmp_path: Path) -> None:
    block = "single_blocks.0.processor"
    sides = {"qkv_lora": (32, 96), "proj_lora": (160, 32)}
    held = {f"{block}.{word}.down.weight": draw(4, into) for word, (into, _) in sides.items()}
    held |= {f"{block}.{word}.up.weight": draw(out, 4) for word, (_, out) in sides.items()}
    save_file(held, tmp_path / "x.safetensors")
    up, down = (held[f"{block}.qkv_lora.{half}.weight"].astype(float) for half in ("up", "down"))
    wanted = np.square(up @ down).sum()
    whole = {"single_blocks.0.linear1.weight": draw(224, 32)}
    whole["single_blocks.0.linear2.weight"] = draw(32, 160)
    save_file(whole, tmp_path / "bfl.safetensors")
    apart = dict.fromkeys(("attn.to_q", "attn.to_k", "attn.to_v"), (32, 32))
    apart |= {"proj_mlp": (128, 32), "proj_out": (32, 160)}
    names = {f"single_transformer_blocks.0.{leaf}.weight": draw(*s) for leaf, s in apart.items()}
    save_file(names, tmp_path / "dif.safetensors")
    for base in (tmp_path / "bfl.safetensors", tmp_path / "dif.safetensors", None):
        diff = ftdiff.compare(base, tmp_path / "x.safetensors")
        assert diff.about["coverage"] == 1.0 and not diff.about["unmatched"]
        moved = diff.frame.set_index("tensor")["delta_sq"]
        last = [name for name in moved.index if "linear2" in name or "proj_out" in name]
        assert moved.drop(last).sum() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("rows", [95, None])
def test_of_xlabs_single_blocks_what_is_not_q_k_and_v_is_named(
    tmp_path: Path, rows: int | None
) -> None:
    held = {"single_blocks.0.processor.qkv_lora.down.weight": draw(4, 32)}
    held["single_blocks.0.processor.proj_lora.down.weight"] = draw(4, 160)
    held["single_blocks.0.processor.proj_lora.up.weight"] = draw(32, 4)
    if rows:
        held["single_blocks.0.processor.qkv_lora.up.weight"] = draw(rows, 4)
    save_file(held, tmp_path / "x.safetensors")
    frame = ftdiff.compare(None, tmp_path / "x.safetensors").frame.set_index("tensor")
    assert frame["status"]["single_blocks.0.linear1.weight"] == "unreadable"


def _numbered() -> dict[str, Array]:
    return {f"unet:{i}:{half}": draw(*shape) for i in range(3)
            for half, shape in (("down", (4, 32)), ("up", (32, 4)))}  # fmt: skip


def _megatron() -> dict[str, Array]:
    path = "decoder.layers.{}.self_attention.linear_qkv.adapter.{}.weight"
    return {path.format(i, word): draw(*shape) for i in range(3)
            for word, shape in (("linear_in", (4, 32)), ("linear_out", (96, 4)))}  # fmt: skip


def _rotations() -> dict[str, Array]:
    return {f"blocks.{i}.attn.oft_R": draw(4, 8, 8) for i in range(3)}


def _loras_of_its_own() -> dict[str, Array]:
    path = "blocks.{}.qkv_lora.{}"
    return {path.format(i, half): draw(*shape) for i in range(3)
            for half, shape in (("down", (4, 32)), ("up", (96, 4)))}  # fmt: skip


@pytest.mark.parametrize("make", [_numbered, _megatron, _rotations, _loras_of_its_own])
def test_parts_of_an_unknown_layout_are_never_a_checkpoint(
    tmp_path: Path, make: Callable[[], dict[str, Array]]
) -> None:
    file, held = tmp_path / "x.safetensors", make()
    save_file(held, file)
    diff = ftdiff.compare(None, file)
    assert diff.about["kind"] == "unknown" and diff.about["coverage"] == 0
    assert {*diff.about["unmatched"]} == {*held}
    (one,) = reasons(diff.about, "unknown-adapter")
    assert one["tensors"] == len(held)
    assert code("compare", "-", file, "--min-coverage", "0.99") == 1
    assert inspect(file).facts["kind"] == "unknown"
    with pytest.raises(FtdiffError, match="not read"):
        ftdiff.compare(write_base(tmp_path / "base"), file)


def test_what_the_header_of_numbered_modules_says_of_ranks_is_held_against_them(
    tmp_path: Path,
) -> None:
    told = {f"unet:{i}:rank": "4" for i in range(2)} | {"unet:2:rank": "8"}
    save_file(_numbered(), tmp_path / "x.safetensors", metadata=told)
    (one,) = reasons(ftdiff.compare(None, tmp_path / "x.safetensors").about, "header-ranks")
    assert one["modules"] == 1


@pytest.mark.parametrize("prefix", ["oft_unet_", "lora_unet_"])
def test_kohya_s_rotations_are_an_adapter_that_is_not_computed(tmp_path: Path, prefix: str) -> None:
    path = f"{prefix}down_blocks_0_attentions_0_proj_in"
    held = {f"{path}.oft_blocks": draw(4, 8, 8), f"{path}.alpha": np.full((), 1, "f4")}
    save_file(held, tmp_path / "x.safetensors")
    diff = ftdiff.compare(None, tmp_path / "x.safetensors")
    assert diff.about["kind"] != "full"
    (why,) = diff.about["unreadable"].values()
    assert "OFT" in why


def test_words_of_models_make_no_adapter() -> None:
    mlp = {f"blocks.{i}.mlp.{word}.weight": shape for i in range(2)
           for word, shape in (("up", (256, 64)), ("down", (64, 256)))}  # fmt: skip
    llama = {f"layers.{i}.mlp.{word}_proj.weight": (64, 64) for i in range(2)
             for word in ("up", "down")}  # fmt: skip
    blocks = {f"{word}_blocks.0.conv.weight": (8, 8, 3, 3) for word in ("up", "down")}
    for names in (mlp, llama, blocks):
        assert not unknown.parts(names)
