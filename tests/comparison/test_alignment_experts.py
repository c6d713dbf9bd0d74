"""A part of one expert is lent where it lies in the stack, and adapters of one expert fit it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import ftdiff
from ftdiff.comparison.alignment.expert_views import Layout, fit, layout, part
from ftdiff.comparison.alignment.samples import sample
from ftdiff.tensors import ArrayTensor, FileTensor, MappedFile, numel, stamp
from tests.cases import situations
from tests.conftest import write_model
from tests.tensors.sources import Asked

E, ROWS, COLUMNS = 3, 8, 5
PARTS = np.arange(E * 2 * ROWS * COLUMNS, dtype=np.float32).reshape(E, 2, ROWS, COLUMNS)


def stack(way: Layout, parts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Stack experts × parts × rows × columns."""
    order = parts.swapaxes(1, 2) if way.interleaved else parts
    whole = order.reshape(E, 2 * ROWS, *parts.shape[3:])
    return np.ascontiguousarray(whole.swapaxes(1, 2) if way.turned else whole)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("vector", [False, True])
def test_any_run_of_any_part_is_lent(turned: bool, interleaved: bool, vector: bool) -> None:
    if vector and turned:
        return
    parts = PARTS[..., 0] if vector else PARTS
    way = Layout(turned, interleaved)
    whole = ArrayTensor(stack(way, parts))
    for e in range(E):
        for p in range(2):
            view, wanted = part(whole, e, p, 2, way), parts[e, p]
            assert view.shape == wanted.shape and np.array_equal(view.read(), wanted)
            for start in range(0, wanted.size, 3):
                for stop in range(start, wanted.size + 1, 4):
                    with view.window(start, stop) as lent:
                        assert np.array_equal(lent, wanted.reshape(-1)[start:stop])


def test_of_a_plain_stack_the_part_s_bytes_are_asked_and_no_others(tmp_path: Path) -> None:
    way = Layout()
    (tmp_path / "x").write_bytes(stack(way, PARTS).tobytes())
    source = Asked(MappedFile(str(tmp_path / "x"), stamp(tmp_path / "x")))
    whole = FileTensor(source, 0, (E, 2 * ROWS, COLUMNS), "F32")
    assert np.array_equal(part(whole, 1, 1, 2, way).read(), PARTS[1, 1])
    size = 4 * numel((ROWS, COLUMNS))
    assert source.runs == [(3 * size, 4 * size)]


def test_square_stacks_lie_as_the_others_of_their_file_do() -> None:
    square, turned = fit((3, 8, 8), (8, 8), 1), fit((3, 8, 16), (8, 8), 2)
    assert square is not None and turned is not None and square.plain and square.turned
    assert layout(square, [square, turned], "") == Layout(turned=True)
    assert layout(square, [square], "") is None
    assert layout(square, [square], "mixtral") == Layout()
    assert layout(square, [square], "gpt_oss") == Layout(turned=True)
    assert layout(turned, [turned], "") is None
    assert fit((3, 8, 16), (8, 7), 2) is None


def test_a_lora_of_one_expert_meets_a_base_that_stacks_them(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    path = "model.layers.{}.mlp.experts."
    state = {
        path.format(i) + word: torch.randn(shape, generator=draw)
        for i in range(2)
        for word, shape in {"gate_up_proj": (E, 12, 8), "down_proj": (E, 8, 6)}.items()
    }
    base = write_model(tmp_path / "base", state, config={"model_type": "qwen3_moe"})
    lora = tmp_path / "lora"
    lora.mkdir()
    at = "base_model.model." + path.format(1) + "2.up_proj"
    A, B = torch.randn(2, 8, generator=draw), torch.randn(6, 2, generator=draw)
    save_file(
        {f"{at}.lora_A.weight": A, f"{at}.lora_B.weight": B}, lora / "adapter_model.safetensors"
    )
    (lora / "adapter_config.json").write_text(
        json.dumps(situations.adapter_config(r=2, lora_alpha=2, target_modules=["up_proj"]))
    )
    diff = ftdiff.compare(base, lora)
    moved = diff.frame[diff.frame["status"] == "changed"]
    assert [*moved["tensor"]] == [path.format(1) + "2.up_proj.weight"]
    W = state[path.format(1) + "gate_up_proj"][2, 6:]
    assert moved["relative_norm"].iloc[0] == pytest.approx(
        float((B @ A).norm() / W.norm()), rel=1e-5
    )
    assert diff.about["coverage"] == 1.0 and not diff.about["unmatched"]


def test_names_of_mlx_meet_those_of_the_model(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(2, E, 6, 8, generator=draw)
    stacks, apart = {}, {}
    for i in range(2):
        stacks[f"model.layers.{i}.mlp.switch_mlp.gate_proj.weight"] = W[i].clone()
        apart |= {f"model.layers.{i}.mlp.experts.{e}.gate_proj.weight": W[i, e] for e in range(E)}
    apart = {name: part.clone() for name, part in apart.items()}
    for base, tuned in ((stacks, apart), (apart, stacks)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"} and len(diff.frame) == 2 * E


def test_of_a_far_stack_that_is_turned_no_sample_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(stack(Layout(turned=True), PARTS).tobytes())
    near = MappedFile(str(tmp_path / "x"), stamp(tmp_path / "x"))
    far = Asked(near)
    for source, told in ((near, True), (far, False)):
        whole = FileTensor(source, 0, (E, COLUMNS, 2 * ROWS), "F32")
        view = part(whole, 1, 1, 2, Layout(turned=True))
        assert (sample(view, 1) is not None) == told
    assert not far.runs
    with view.window(0, COLUMNS) as lent:
        assert np.array_equal(lent, PARTS[1, 1, 0])


def test_square_stacks_are_turned_with_the_others_of_their_file() -> None:
    draw = torch.Generator().manual_seed(0)
    at = "model.layers.{}.mlp.experts.{}"
    base = {at.format(i, "gate_up_proj"): torch.randn(E, 16, 8, generator=draw) for i in range(2)}
    base |= {at.format(i, "down_proj"): torch.randn(E, 8, 8, generator=draw) for i in range(2)}
    diff = ftdiff.compare(base, {name: W.mT.contiguous() for name, W in base.items()})
    assert {*diff.frame["status"]} == {"identical"}
    square = {name: W for name, W in base.items() if "down" in name}
    diff = ftdiff.compare(square, {name: W.mT.contiguous() for name, W in square.items()})
    assert {*diff.frame["status"]} == {"changed"}  # nothing says that they are
