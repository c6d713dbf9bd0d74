"""Every key of an adapter's file is read or named, whoever reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import ftdiff
from ftdiff.adapters import ADAPTERS, account, open_tuned
from ftdiff.deltas.recipes import Tuned, Unreadable
from ftdiff.errors import FtdiffError
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.formats.note import Note
from ftdiff.tensors import Array
from tests.adapters import test_kohya as kohya
from tests.adapters.files import balanced
from tests.cases import situations
from tests.conftest import FIXTURES

Tensors = dict[str, Array]
Q = "model.layers.0.self_attn.q_proj"
BLOCK = "blocks.0.attn"


def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype("f4")


def base(**shapes: tuple[int, ...]) -> Checkpoint:
    """Return a base in memory; __ in a keyword is a dot."""
    return open_checkpoint({n.replace("__", "."): random(*side) for n, side in shapes.items()})


def at(path: str, **parts: Array) -> Tensors:
    """Return tensors under a module's path; __ in a keyword is a dot."""
    return {f"{path}.{name.replace('__', '.')}": tensor for name, tensor in parts.items()}


A, B = random(2, 6), random(8, 2)
LORA = {"lora_A__weight": A, "lora_B__weight": B}
PEFT = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
MLX = {"fine_tune_type": "dora", "lora_parameters": {"rank": 2, "scale": 2.0}}
#: What a PEFT folder holds, and what its configuration says beside that.
FOLDERS: dict[str, tuple[Tensors, dict[str, Any]]] = {
    "dora": (at(Q, **LORA, lora_magnitude_vector=random(8)), {"use_dora": True}),
    "biases": (at(Q, **LORA, lora_B__bias=random(8), base_layer__bias=random(8)), {}),
    "copies": (
        at(Q, **LORA)
        | at("lm_head", weight=random(9, 6))
        | at(Q.replace("q_", "k_"), bias=B[:, 0]),
        {"modules_to_save": ["lm_head"], "bias": "all"},
    ),
    "resumed": (at(Q, **LORA, base_layer__weight=random(8, 6)), {}),
    "tokens": (
        at(Q, **LORA)
        | at("model.embed_tokens", token_adapter__trainable_tokens_delta=random(2, 6)),
        {"trainable_token_indices": {"embed_tokens": [1, 3]}},
    ),
    "embedding": (
        at("model.embed_tokens", lora_embedding_A=random(2, 9), lora_embedding_B=random(6, 2)),
        {"target_modules": ["embed_tokens"]},
    ),
    "attention": (
        at("attn", lora_A__weight=A, lora_B__weight=random(18, 2))
        | at("attn.base_layer.out_proj", lora_A__weight=A, lora_B__weight=random(6, 2)),
        {"target_modules": ["attn"]},
    ),
    "ia3": (at(Q, ia3_l=random(8, 1)), {"peft_type": "IA3", "feedforward_modules": []}),
    "loha": (
        at(Q, hada_w1_a=B, hada_w1_b=A, hada_w2_a=B, hada_w2_b=A),
        {"peft_type": "LOHA", "alpha": 4},
    ),
    "norms": (
        at("model.norm", ln_tuning_layers__weight=random(6)),
        {"peft_type": "LN_TUNING", "target_modules": ["norm"]},
    ),
    "prompts": (
        {"prompt_embeddings": random(3, 6)},
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3},
    ),
}
MODEL = base(
    **{f"{Q}.weight": (8, 6), f"{Q}.bias": (8,), f"{Q.replace('q_', 'k_')}.bias": (8,)},
    lm_head__weight=(9, 6),
    model__embed_tokens__weight=(9, 6),
    model__norm__weight=(6,),
    attn__in_proj_weight=(18, 6),
    attn__out_proj__weight=(6, 6),
)
PIPELINE = base(
    **{f"{BLOCK}.to_q.weight": (8, 6), f"{BLOCK}.to_q.bias": (8,), "blocks.0.modulation": (6, 4)},
    **{f"{BLOCK}.norm.weight": (8,)},
)
#: Dotted names, as ComfyUI, Wan's trainers and diffusers write them.
DOTTED: dict[str, Tensors] = {
    "lora": at(
        f"diffusion_model.{BLOCK}.to_q", lora_down__weight=A, lora_up__weight=B, diff_b=B[:, 0]
    ),
    "old": at(f"unet.{BLOCK}.processor", to_q_lora__down__weight=A, to_q_lora__up__weight=B),
    "norm": at(f"diffusion_model.{BLOCK}.norm", w_norm=random(8)),
    "modulation": at("diffusion_model.blocks.0", diff_m=random(6, 4)),
    "whole modulation": at("diffusion_model.blocks.0.modulation", diff=random(6, 4)),
    "set": at(f"diffusion_model.{BLOCK}.to_q", set_weight=random(8, 6), diff_b=B[:, 0]),
}


@dataclass(frozen=True)
class File:
    """An adapter's tensors, how they are written, and the base that they are for."""

    family: str
    tensors: Tensors
    write: Callable[[Path, Tensors], Path]
    base: Checkpoint


def _alone(
    name: str = "lora.safetensors", told: dict[str, str] | None = None, **config: Any
) -> Callable[[Path, Tensors], Path]:
    """Return what writes tensors as a file, with metadata; or as a folder, with a configuration."""

    def write(folder: Path, tensors: Tensors) -> Path:
        folder.mkdir()
        whole = {key: np.array(tensor, order="C") for key, tensor in tensors.items()}
        save_file(whole, folder / name, told)
        if config:
            (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder if config else folder / name

    return write


def _files() -> Iterator[tuple[str, File]]:
    for name, (make, shape, _) in kohya.CASES.items():
        opened = kohya._base(*shape)
        parts, _ = make(opened.tensors[kohya.NAME].read())
        tensors = {f"{kohya.MODULE}.{part}": tensor for part, tensor in parts.items()}
        yield f"kohya, {name}", File("kohya", tensors, _alone(), opened)
    for name, tensors in DOTTED.items():
        yield f"diffusers, {name}", File("diffusers", tensors, _alone(), PIPELINE)
    for name, (tensors, config) in FOLDERS.items():
        whole = {
            key if key.startswith("prompt") else f"base_model.model.{key}": tensor
            for key, tensor in tensors.items()
        }
        write = _alone("adapter_model.safetensors", **{**PEFT, **config})
        yield f"peft, {name}", File("peft", whole, write, MODEL)
    write = _alone("adapters.safetensors", **MLX)
    yield "mlx", File("mlx", at(Q, lora_a=A.T, lora_b=B.T, m=random(8)), write, MODEL)
    factors = at("layers.0.attn.q_proj", lora_a__weight=A, lora_b__weight=B, magnitude=random(8))
    write = _alone(told={"lora_alpha": "4"})
    yield "torchtune", File("torchtune", factors, write, MODEL)
    yield "bare", File("bare", at(Q, **LORA), write, MODEL)
    leaves = {"qkv_lora1__down__weight": A, "qkv_lora1__up__weight": B}
    image = base(**{"double_blocks.0.img_attn.qkv.weight": (8, 6)})
    yield "xlabs", File("xlabs", at("double_blocks.0.processor", **leaves), _alone(), image)


FILES = dict(_files())


def refused(tuned: Tuned, key: str) -> bool:
    """Say whether a key is of a module that is refused with a reason."""
    recipes = [r for r in tuned.recipes.values() if isinstance(r, Unreadable) and r.reason]
    return any(tuned.given[key] is part for recipe in recipes for part in recipe.parts)


def test_every_family_has_its_file() -> None:
    others = {"gguf", "unknown"}  # held elsewhere; nothing of which is read
    assert {file.family for file in FILES.values()} | others == {*ADAPTERS}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_all_is_read_of_a_sound_file(file: File, tmp_path: Path) -> None:
    path = file.write(tmp_path / "sound", file.tensors)
    tuned = open_tuned(path, file.base)
    balanced(tuned)
    assert {*tuned.given} == {*file.tensors} and not tuned.unmatched
    diff = ftdiff.compare(file.base, path)
    assert diff.about["shares"]["tuned"] == 1.0
    assert diff.about["parts"]["given"] == diff.about["parts"]["read"]
    balanced(open_tuned(path))


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_stray_key_is_named(file: File, tmp_path: Path) -> None:
    path = next(iter(file.tensors)).rpartition(".")[0].removesuffix(".processor")
    for i, key in enumerate((f"{path}.stray_part", "foo.bar", "another_stray")):
        for opened in (file.base, None):
            folder = tmp_path / f"{i}{opened is None}"
            tuned = open_tuned(file.write(folder, {**file.tensors, key: random(3)}), opened)
            balanced(tuned)
            if "prompt" not in str(file.tensors):  # whatever they hold works beside the base
                assert tuned.unmatched.get(key), key


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_key_that_is_called_otherwise_is_named(file: File, tmp_path: Path) -> None:
    for i, key in enumerate(file.tensors):
        if "prompt" in key:
            continue
        renamed = {f"{name}_x" if name == key else name: t for name, t in file.tensors.items()}
        path = file.write(tmp_path / str(i), renamed)
        try:
            tuned = open_tuned(path, file.base)
        except FtdiffError as error:
            assert key.rpartition(".")[0] in str(error)
            continue
        balanced(tuned)
        if tuned.kind != "full":  # else it is a file of another kind, with a row for each tensor
            assert tuned.unmatched.get(f"{key}_x") or refused(tuned, f"{key}_x"), key


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_what_is_left_without_a_key_is_accounted_for(file: File, tmp_path: Path) -> None:
    for i, key in enumerate(file.tensors):
        rest = {name: t for name, t in file.tensors.items() if name != key}
        if rest:
            tuned = open_tuned(file.write(tmp_path / str(i), rest), file.base)
            balanced(tuned)


def test_a_family_that_forgets_a_key_does_not_lose_it() -> None:
    opened = base(**{f"{Q}.weight": (8, 6)})
    given = dict(open_checkpoint({"a": A, "b": B, "alpha": random(1)}).tensors)
    forgetful = Tuned({}, "x", "lora", given=given, spent={"alpha": ()})
    settled = account.settled(forgetful)
    assert [*settled.unmatched] == ["a", "b"] and all(settled.unmatched.values())
    assert opened.tensors and account.settled(settled) == settled


@pytest.mark.parametrize("name", ["lora", "attention", "rslora", "upper_half", "full", "merged"])
def test_the_fixtures_are_read_whole(name: str) -> None:
    whole = open_checkpoint(FIXTURES / "base")
    tuned = open_tuned(FIXTURES / name, whole)
    balanced(tuned)
    assert not tuned.unmatched
    held = [key for file in (FIXTURES / name).glob("*.safetensors") for key in _keys(file)]
    assert sorted(held) == sorted(tuned.given)


def _keys(file: Path) -> list[str]:
    with safe_open(file, "np") as opened:
        return [*opened.keys()]


def compared(tensors: Tensors, opened: Checkpoint, folder: Path) -> dict[str, Any]:
    diff = ftdiff.compare(opened, _alone()(folder, tensors))
    return {row["tensor"]: row for row in diff.frame.to_dict("records")}


LYCORIS = {"lora": kohya.lora, "loha": kohya.loha, "lokr": kohya.lokr}
LINEAR = base(**{"blocks.0.q.weight": (8, 6), "blocks.0.q.bias": (8,)})


@pytest.mark.parametrize("kind", LYCORIS)
@pytest.mark.parametrize("part", ["diff_b", "b_norm"])
def test_a_difference_of_the_bias_stands_beside_factors(
    kind: str, part: str, tmp_path: Path
) -> None:
    parts, dW = LYCORIS[kind](LINEAR.tensors["blocks.0.q.weight"].read())
    tensors = at("diffusion_model.blocks.0.q", **parts) | {
        f"diffusion_model.blocks.0.q.{part}": random(8)
    }
    tensors = {key.replace("__", "."): np.asarray(t) for key, t in tensors.items()}
    rows = compared(tensors, LINEAR, tmp_path / "a")
    assert rows["blocks.0.q.bias"]["delta_sq"] == pytest.approx(np.square(random(8)).sum())
    assert rows["blocks.0.q.weight"]["delta_sq"] == pytest.approx(np.square(dW).sum(), rel=1e-5)
    assert {row["status"] for row in rows.values()} == {"changed"}


@pytest.mark.parametrize("kind", LYCORIS)
def test_a_whole_difference_beside_factors_is_added_and_said(kind: str, tmp_path: Path) -> None:
    parts, dW = LYCORIS[kind](LINEAR.tensors["blocks.0.q.weight"].read())
    tensors = at("diffusion_model.blocks.0.q", **parts, diff=random(8, 6))
    path = _alone()(tmp_path / "a", {key: np.asarray(t) for key, t in tensors.items()})
    diff = ftdiff.compare(LINEAR, path)
    row = diff.frame.set_index("tensor").loc["blocks.0.q.weight"]
    wanted = np.square(dW + random(8, 6)).sum()
    assert row["delta_sq"] == pytest.approx(wanted, rel=1e-5)
    assert "difference-beside-factors" in {one["code"] for one in diff.about["reasons"]}
    (said,) = (one for one in ftdiff.audit(diff).findings if one.rule == "conventions")
    assert "ComfyUI takes the difference alone" in said.message
    assert "diff as it is" in diff.about["scalings"]["blocks.0.q.weight"]


def test_a_value_that_is_set_replaces_the_weight(tmp_path: Path) -> None:
    rows = compared(
        at("diffusion_model.blocks.0.q", set_weight=random(8, 6)), LINEAR, tmp_path / "a"
    )
    W = LINEAR.tensors["blocks.0.q.weight"].read()
    wanted = np.square(random(8, 6) - W).sum()
    assert rows["blocks.0.q.weight"]["delta_sq"] == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def test_a_value_that_is_set_beside_factors_refuses_the_weight(tmp_path: Path) -> None:
    both = at(
        "diffusion_model.blocks.0.q",
        lora_down__weight=A,
        lora_up__weight=B,
        set_weight=random(8, 6),
        diff_b=random(8),
    )
    rows = compared(both, LINEAR, tmp_path / "a")
    assert rows["blocks.0.q.weight"]["status"] == "unreadable"
    assert "set_weight: a value set when it is loaded" in rows["blocks.0.q.weight"]["note"]
    assert rows["blocks.0.q.bias"]["status"] == "changed"


def test_what_another_algorithm_left_beside_factors_is_named(tmp_path: Path) -> None:
    path = "diffusion_model.blocks.0.q"
    factors = at(path, lora_down__weight=A, lora_up__weight=B, dora_scale=random(8))
    left = at(path, lora_down__bias=random(2), w_norm=random(8, 6), diff=random(8, 6))
    diff = ftdiff.compare(LINEAR, _alone()(tmp_path / "a", factors | left))
    # DoRA rescales the base and the factors: nothing is added to that
    assert {*diff.about["unmatched"]} == {*left}
    assert "of which it is no part" in diff.about["unmatched"][f"{path}.diff"]
    (alarm,) = (one for one in ftdiff.audit(diff).findings if one.rule == "unmatched")
    assert alarm.evidence["keys"] == diff.about["unmatched"]
    assert alarm.message.startswith("3 keys of the adapter led to no change")


def test_two_algorithms_in_one_module_are_not_half_read(tmp_path: Path) -> None:
    path = "diffusion_model.blocks.0.q"
    both = at(path, lora_down__weight=A, lora_up__weight=B, hada_w1_a=B, alpha=random(1))
    rows = compared(both, LINEAR, tmp_path / "a")
    assert rows["blocks.0.q.weight"]["status"] == "unreadable"
    assert "hada_w1_a (8×2) but no hada_w1_b" in rows["blocks.0.q.weight"]["note"]
    whole = at(path, lokr_w1=random(2, 2), lokr_w2=random(4, 3)) | both
    del whole[f"{path}.hada_w1_a"]
    tuned = open_tuned(_alone()(tmp_path / "b", whole), LINEAR)
    balanced(tuned)
    assert {*tuned.unmatched} == {f"{path}.lora_down.weight", f"{path}.lora_up.weight"}


def test_a_modulation_without_a_place_is_named(tmp_path: Path) -> None:
    rows = compared(
        at("diffusion_model.blocks.7", diff_m=random(6, 4)) | DOTTED["norm"],
        PIPELINE,
        tmp_path / "a",
    )
    assert rows["diffusion_model.blocks.7.modulation"]["reason"] == "unmatched"


PEFT_STRAYS = {
    "foo.bar": "neither a part",
    f"base_model.model.{Q}.lora_Q.weight": "no part of LoRA is called",
    f"base_model.model.{Q}.lorax_A.weight": "neither a part",
    "base_model.vera_A": "no module of this type uses it",
    f"base_model.model.{Q}.weight_scale": "neither a part",
}


@pytest.mark.parametrize("key", PEFT_STRAYS)
def test_a_stray_key_of_a_folder_is_one_row_and_one_alarm(key: str, tmp_path: Path) -> None:
    bench = situations.write_base(tmp_path / "base")
    lora = situations.write_lora(tmp_path / "lora")
    file = lora / "adapter_model.safetensors"
    with safe_open(file, "np") as opened:
        tensors = {name: opened.get_tensor(name) for name in _keys(file)}
    save_file({**tensors, key: random(4)}, file)
    diff = ftdiff.compare(bench, lora)
    assert list(diff.about["unmatched"]) == [key]
    assert PEFT_STRAYS[key] in diff.about["unmatched"][key]
    (row,) = diff.frame[diff.frame["tensor"] == key].to_dict("records")
    assert (row["status"], row["reason"]) == ("added", "unmatched")
    assert [one.rule for one in ftdiff.audit(diff).findings if one.severity == "alarm"] == [
        "unmatched"
    ]
    parts = diff.about["parts"]
    assert (parts["given"]["tensors"], parts["unmatched"]["tensors"]) == (25, 1)
    assert diff.about["coverage"] == diff.about["shares"]["tuned"] < 1


def test_a_module_that_the_base_lacks_is_counted_once(tmp_path: Path) -> None:
    modules = {
        kohya.MODULE: kohya.lora(random(8, 6))[0],
        "lora_unet_elsewhere_to_q": kohya.lora(random(8, 6))[0],
    }
    diff = ftdiff.compare(kohya._base(8, 6), kohya._write(tmp_path, modules))
    assert list(diff.about["unmatched"]) == ["lora_unet_elsewhere_to_q.weight"]
    assert (diff.frame["reason"] == "unmatched").sum() == 1
    assert (diff.frame["status"] == "added").sum() == 1
    # 2 × 6 and 8 × 2 factors and an α of each, and one of the two was found
    assert diff.about["parts"]["read"] == {"tensors": 3, "parameters": 43}
    assert diff.about["parts"]["unmatched"] == {"tensors": 3, "parameters": 43}


def test_a_peft_module_that_the_base_lacks_is_counted_once(tmp_path: Path) -> None:
    bench = situations.write_base(tmp_path / "base")
    moved = {k.replace("layers.3", "layers.9"): t for k, t in situations.factors().items()}
    diff = ftdiff.compare(bench, situations.write_lora(tmp_path / "lora", moved))
    assert len(diff.about["unmatched"]) == 3 == (diff.frame["status"] == "added").sum()
    (alarm,) = (one for one in ftdiff.audit(diff).findings if one.rule == "unmatched")
    assert "3 tensors that the adapter changes are not in the base" in alarm.message


def test_the_account_is_saved_and_old_diffs_load(tmp_path: Path) -> None:
    diff = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora")
    path = diff.save(tmp_path / "diff.json")
    assert ftdiff.load(path).about["parts"] == diff.about["parts"]
    document = json.loads(path.read_text())
    for name in ("shares", "parts"):
        del document["about"][name]
    path.write_text(json.dumps(document))
    old = ftdiff.load(path)
    assert old.about["coverage"] == 1.0 and ftdiff.audit(old).ok
    assert isinstance(old, ftdiff.Diff)


def test_what_acts_in_training_alone_is_no_loss(tmp_path: Path) -> None:
    extra = at(f"base_model.model.{Q}", lora_velora_embed=random(2))
    tensors = {f"base_model.model.{k}": t for k, t in at(Q, **LORA).items()} | extra
    path = _alone("adapter_model.safetensors", **PEFT)(tmp_path / "a", tensors)
    tuned = open_tuned(path, MODEL)
    balanced(tuned)
    assert {*tuned.spent} == {*extra} and not tuned.unmatched
    assert [note.code for note in tuned.notes if isinstance(note, Note)] == ["training-only"]


def test_parts_of_a_refused_module_are_in_its_complaint(tmp_path: Path) -> None:
    tensors = {
        f"base_model.model.{key}": t for key, t in at(Q, **LORA, lora_B__bias=B[:, 0]).items()
    }
    del tensors[f"base_model.model.{Q}.lora_B.weight"]
    tuned = open_tuned(_alone("adapter_model.safetensors", **PEFT)(tmp_path / "a", tensors), MODEL)
    assert set(account.fates(tuned).values()) == {"unreadable"} and not tuned.unmatched
    half = open_tuned(_alone()(tmp_path / "b", at(kohya.MODULE, lora_up__weight=B, alpha=A[0, :1])))
    assert set(account.fates(half).values()) == {"unreadable"} and not half.unmatched
