"""Parts add up to their tensors, and are what dense arithmetic gives, in every form."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.analyses import parts
from ftdiff.analyses.parts.layouts import Sizes, concatenated, grouped, interleaved, quartered
from ftdiff.analyses.parts.sums import Lines, measure
from ftdiff.cli import ftdiff as door
from ftdiff.comparison.plan import Change, pair
from ftdiff.deltas.moments import COUNTS, SUMS
from ftdiff.deltas.recipes import Added, Product, Replaced, StoredDelta
from ftdiff.errors import BadCall, BadFile, FtdiffError, Mismatch, UnknownName
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import ArrayTensor
from tests.conftest import llama, nudge, write_model

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.sampled_from(
    [(1, 7), (9, 1), (5,), (3, 8), (40, 33), (6, 2, 3), (0, 4), (4, 0), (300, 5)]
)


def change(recipe: Any, base: Any, name: str = "layers.0.mlp.up_proj.weight") -> Change:
    from ftdiff.naming import locate

    return Change(locate([name])[name], base, recipe)


def assert_lines(lines: Lines, W: np.ndarray, dW: np.ndarray, axis: int, within: float) -> None:
    """Compare with sums of float64 matrices along the other axis."""
    W, dW = W.astype(np.float64), dW.astype(np.float64)
    W1 = W + dW
    terms = {
        "base_sq": W * W,
        "tuned_sq": W1 * W1,
        "delta_sq": dW * dW,
        "inner": W * dW,
        "base_abs": abs(W),
        "delta_abs": abs(dW),
        "unequal": dW != 0,
        "sign_flips": W * W1 < 0,
    }
    for name, term in terms.items():
        size = np.sqrt((W * W).sum(axis=1 - axis) * (dW * dW).sum(axis=1 - axis))
        expected = term.sum(axis=1 - axis)
        slack = within * (size if name == "inner" else expected) + 1e-30
        assert (abs(lines.column(name) - expected) <= slack).all(), name
    top = abs(dW).max(axis=1 - axis, initial=0.0)
    assert lines.column("delta_max") == pytest.approx(top, rel=within)
    assert (lines.numel == W.shape[1 - axis]).all()


@given(SHAPES, SEEDS, st.integers(0, 1), st.sampled_from([np.float32, np.float64, np.float16]))
@settings(deadline=None, max_examples=60)
def test_rows_and_columns_equal_float64_sums(
    shape: tuple[int, ...], seed: int, axis: int, dtype: type
) -> None:
    rng = np.random.default_rng(seed)
    W, W1 = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    lines = measure(change(Replaced(ArrayTensor(W1)), ArrayTensor(W)), axis)
    flat = (shape[0], int(np.prod(shape[1:])))
    dW = W1.astype(np.float64) - W.astype(np.float64)
    assert len(lines) == flat[axis]
    if dW.size:
        assert_lines(lines, W.reshape(flat), dW.reshape(flat), axis, 1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), SEEDS, st.booleans())
@settings(deadline=None, max_examples=60)
def test_low_rank_parts_equal_those_of_the_stored_product(
    rows: int, columns: int, r: int, seed: int, transposed: bool
) -> None:
    rng = np.random.default_rng(seed)
    A, B = (rng.standard_normal(s).astype(np.float32) for s in ((r, columns), (rows, r)))
    dW = 0.5 * (B.astype(np.float64) @ A.astype(np.float64))
    dW = dW.T if transposed else dW
    W = ArrayTensor(rng.standard_normal(dW.shape).astype(np.float32))
    low = Added(dW.shape, Product(ArrayTensor(A), ArrayTensor(B), 0.5, transposed))
    stored = StoredDelta(ArrayTensor(np.ascontiguousarray(dW)))
    for axis in (0, 1):
        found, expected = (measure(change(recipe, W), axis) for recipe in (low, stored))
        size = (abs(dW).sum(axis=1 - axis) ** 2) + 1e-30
        for name in SUMS:
            error = abs(found.column(name) - expected.column(name))
            scale = size if name == "delta_sq" else expected.column("base_sq") + size
            assert (error <= 1e-5 * scale + 1e-6 * abs(expected.column(name))).all(), name
        alone = measure(change(low, None), axis)
        assert alone.column("delta_sq") == pytest.approx(found.column("delta_sq"), rel=1e-12)
        assert np.isnan(alone.column("base_sq")).all()


def test_the_closed_form_keeps_digits_that_float32_rows_lose() -> None:
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal(s).astype(np.float32) for s in ((8, 500), (40, 8)))
    W = ArrayTensor(rng.standard_normal((40, 500)).astype(np.float32))
    lines = measure(change(Added((40, 500), Product(ArrayTensor(A), ArrayTensor(B), 0.3)), W), 0)
    dW = 0.3 * (B.astype(np.float64) @ A.astype(np.float64))
    assert lines.column("delta_sq") == pytest.approx((dW * dW).sum(axis=1), rel=1e-13)


@pytest.mark.parametrize("tuned", ["full", "lora", "rslora", "merged"])
@pytest.mark.parametrize("measured", [parts.rows, parts.columns])
def test_rows_and_columns_add_up_to_the_tensor(
    fixtures: Path, tuned: str, measured: Callable[..., ftdiff.Diff]
) -> None:
    whole = ftdiff.compare(fixtures / "base", fixtures / tuned).frame.set_index("tensor")
    for name in ("model.layers.3.mlp.up_proj.weight", "model.layers.27.self_attn.o_proj.weight"):
        frame = measured(fixtures / "base", fixtures / tuned, name).frame
        row = whole.loc[name]
        for column in SUMS:
            size = np.sqrt(row["base_sq"] * row["delta_sq"]) if column == "inner" else row[column]
            assert frame[column].sum() == pytest.approx(row[column], abs=1e-6 * size), column
        for column in COUNTS:
            assert frame[column].sum() == pytest.approx(row[column], abs=2), column
        assert frame["delta_max"].max() == pytest.approx(row["delta_max"], rel=1e-6)
        assert frame["numel"].sum() == row["numel"]
        assert list(frame["row" if "row" in frame else "column"]) == list(range(len(frame)))


@pytest.mark.parametrize("tuned", ["full", "lora", "merged"])
def test_heads_add_up_to_their_projections(fixtures: Path, tuned: str) -> None:
    whole = ftdiff.compare(fixtures / "base", fixtures / tuned)
    diff = parts.heads(fixtures / "base", fixtures / tuned)
    frame = whole.frame
    heads = diff.frame.groupby("tensor")[["base_sq", "delta_sq", "numel", "unequal"]].sum()
    rows = frame.set_index("tensor").loc[heads.index]
    assert heads["base_sq"].to_numpy() == pytest.approx(rows["base_sq"].to_numpy(), rel=1e-6)
    assert heads["delta_sq"].to_numpy() == pytest.approx(rows["delta_sq"].to_numpy(), rel=1e-6)
    assert (heads["numel"] == rows["numel"]).all()
    tops = diff.frame.groupby("tensor")["delta_max"].max().to_numpy(float)
    assert tops == pytest.approx(rows["delta_max"].to_numpy(float), rel=1e-6)
    columns = ["layer", "component"]
    left = diff.by(*columns, param="weight").set_index(columns)["relative_norm"]
    right = whole.by(*columns, param="weight").set_index(columns)["relative_norm"].loc[left.index]
    assert left.to_numpy(float) == pytest.approx(right.to_numpy(float), rel=1e-6)
    assert len(left) == 4 * 28


def test_heads_are_blocks_of_rows_and_of_the_outputs_columns(fixtures: Path) -> None:
    base, full = (open_checkpoint(fixtures / name) for name in ("base", "full"))
    diff = parts.heads(base, full)
    frame = diff.frame[(diff.frame["layer"] == 5) & (diff.frame["param"] == "weight")]
    d = 6
    for role, count in (("q", 6), ("k", 2), ("v", 2), ("o", 6)):
        name = f"model.layers.5.self_attn.{role}_proj.weight"
        W, W1 = (torch.from_numpy(c.tensors[name].read().astype(np.float64)) for c in (base, full))
        mine = frame[frame["role"] == role]
        assert len(mine) == count
        for h, row in enumerate(mine.itertuples()):
            part = (slice(None), slice(h * d, h * d + d))[:: 1 if role == "o" else -1]
            expected = torch.linalg.vector_norm((W1 - W)[part]) / torch.linalg.vector_norm(W[part])
            assert row.relative_norm == pytest.approx(float(expected), rel=1e-6)
            if role in "qo":
                assert (row.head, row.kv_head) == (h, h // 3)
            else:
                assert row.head is pd.NA
                assert row.kv_head == h


def test_a_map_of_heads_has_a_column_for_each(fixtures: Path) -> None:
    diff = parts.heads(fixtures / "base", fixtures / "lora")
    table = diff.table("relative_norm", columns="head")
    assert table.shape == (28, 6)
    assert not table.isna().any().any()


def test_heads_survive_their_file(fixtures: Path, tmp_path: Path) -> None:
    diff = parts.heads(fixtures / "base", fixtures / "lora")
    loaded = ftdiff.Diff.load(diff.save(tmp_path / "heads.json"))
    pd.testing.assert_frame_equal(loaded.frame, diff.frame, check_column_type=False)
    pd.testing.assert_frame_equal(loaded.by("head"), diff.by("head"))


def test_processes_give_the_same_heads(fixtures: Path) -> None:
    alone = parts.heads(fixtures / "base", fixtures / "full").frame
    seen: list[tuple[int, int]] = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        far = parts.heads(
            fixtures / "base", fixtures / "full", processes, lambda *x: seen.append(x)
        )
    pd.testing.assert_frame_equal(far.frame, alone)
    assert seen[-1][0] == seen[-1][1] > 0


def test_a_fused_projection_gives_the_heads_of_the_split_one(tmp_path: Path) -> None:
    config = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}
    split = [llama(layers=2), nudge(llama(layers=2))]
    for state in split:
        for i in range(2):
            for role in "kv":
                name = f"model.layers.{i}.self_attn.{role}_proj.weight"
                state[name] = state[name][:8]
    fused = []
    for state in split:
        other = {k: v for k, v in state.items() if not any(f".{r}_proj" in k for r in "qkv")}
        for i in range(2):
            at = f"model.layers.{i}.self_attn."
            other[f"{at}qkv_proj.weight"] = torch.cat(
                [state[f"{at}{r}_proj.weight"] for r in "qkv"]
            )
        fused.append(other)
    found = []
    for kind, states in (("llama", split), ("phi3", fused)):
        folders = [
            write_model(tmp_path / f"{kind}{i}", s, config={**config, "model_type": kind})
            for i, s in enumerate(states)
        ]
        keys = ["layer", "component", "kv_head", "head"]
        by = parts.heads(*folders).by(*keys, metrics=("relative_norm", "rotation"))
        found.append(by.drop(columns="tensors"))
    pd.testing.assert_frame_equal(*found)


def test_an_unknown_layout_is_said_and_the_rest_is_cut(tmp_path: Path) -> None:
    config = {"num_attention_heads": 4, "hidden_size": 16, "model_type": "strange"}
    base, tuned = llama(), nudge(llama())
    for state in (base, tuned):
        state["model.layers.1.self_attn.qkv_proj.weight"] = torch.cat(
            [state.pop(f"model.layers.1.self_attn.{r}_proj.weight") for r in "qkv"]
        )
        state["model.layers.2.self_attn.q_proj.weight"] = torch.ones(10, 16) + len(tuned)
    b = write_model(tmp_path / "b", base, config=config)
    diff = parts.heads(b, write_model(tmp_path / "t", tuned, config=config))
    uncut = diff.about["uncut"]
    assert uncut["model.layers.1.self_attn.qkv_proj.weight"] == (
        "how strange fuses qkv_proj is not known"
    )
    assert "10 rows are not the 4 runs of 4" in uncut["model.layers.2.self_attn.q_proj.weight"]
    whole = diff.frame[diff.frame["tensor"].isin(uncut)]
    assert whole["head"].isna().all()
    assert len(whole) == 2
    assert diff.frame["head"].notna().sum() == 4 * 4 + 4 + 3 * 4


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "does not tell the number of attention heads"),
        ({"num_attention_heads": "4"}, "does not tell the number of attention heads"),
        ({"num_attention_heads": -4}, "does not tell the number of attention heads"),
        ({"num_attention_heads": 10**30}, "does not tell the number of attention heads"),
        ({"num_attention_heads": 4}, "4 heads, 4 of keys and values, 0 rows each"),
        ({"num_attention_heads": 4, "num_key_value_heads": 3, "head_dim": 4}, "3 of keys"),
        ({"num_attention_heads": 5, "head_dim": 4}, "16 rows are not the 5 runs of 4"),
        ({"num_attention_heads": [4], "text_config": 7}, "does not tell"),
    ],
)
def test_a_configuration_that_does_not_tell_is_refused_in_one_line(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    b = write_model(tmp_path / "b", llama(), config={"model_type": "llama", **config})
    with pytest.raises(BadCall, match="no attention heads to measure") as caught:
        parts.heads(b, write_model(tmp_path / "t", nudge(llama())))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 8))
def test_every_layout_holds_every_head_once(kv: int, each: int, size: int) -> None:
    sizes = Sizes(kv * each, kv, size)
    expected = {*(("q", h) for h in range(kv * each))}
    expected |= {(role, h) for role in "kv" for h in range(kv)}
    for layout in (concatenated, grouped):
        assert sorted(layout(sizes)) == sorted(expected)
    square = Sizes(4 * kv, 4 * kv, size)
    for layout in (concatenated, interleaved, quartered, grouped):
        assert sorted(layout(square)) == sorted((r, h) for r in "qkv" for h in range(4 * kv))


def test_a_tensor_is_found_by_the_end_of_its_name_or_a_near_one_is_offered(fixtures: Path) -> None:
    base, lora = fixtures / "base", fixtures / "lora"
    diff = parts.rows(base, lora, "3.mlp.up_proj.weight")
    assert set(diff.frame["tensor"]) == {"model.layers.3.mlp.up_proj.weight"}
    with pytest.raises(UnknownName, match=r"tensors end in 'up_proj.weight'"):
        parts.rows(base, lora, "up_proj.weight")
    with pytest.raises(UnknownName, match=r"did you mean 'model.layers.*mlp.up_proj"):
        parts.rows(base, lora, "model.layers.3.mlp.upproj.weight")
    with pytest.raises(BadCall, match=r"embed_tokens.weight: untouched, so there is no change"):
        parts.rows(base, lora, "embed_tokens.weight")


def grown(more: int = 3) -> dict[str, torch.Tensor]:
    state = nudge(llama())
    draw = torch.Generator().manual_seed(9)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        new = torch.randn(abs(more), 16, generator=draw).to(torch.bfloat16)
        state[name] = torch.cat([state[name], new]) if more > 0 else state[name][:more]
    return state


def run(*arguments: object) -> Any:
    return CliRunner().invoke(door, [*map(str, arguments)], standalone_mode=False)


def test_the_command_ranks_parts_and_prints_all_of_them(fixtures: Path, tmp_path: Path) -> None:
    base, full = fixtures / "base", fixtures / "full"
    frame = parts.heads(base, full).frame.sort_values("relative_norm", ascending=False)
    frame = frame[frame["param"] == "weight"]  # a bias may move far more than its matrix
    shown = run("parts", base, full, "--top", 3).output
    for value in frame["relative_norm"].head(3):
        assert f"{value:.4g}" in shown
    assert f"{frame['relative_norm'].iloc[3]:.4g}" not in shown
    name = "layers.3.mlp.up_proj.weight"
    for by, size in (("row", 96), ("column", 36)):
        done = run("parts", base, fixtures / "lora", name, "--by", by, "--format", "json")
        assert [row[by] for row in json.loads(done.output)["tensors"]] == list(range(size))
    assert "rows that moved most" in run("parts", "-", fixtures / "lora", name).output
    t = write_model(tmp_path / "t", grown())
    (t / "tokenizer.json").write_text(json.dumps(tokenizer("bpe")))
    b = write_model(tmp_path / "b", llama())
    shown = run("parts", b, t, "--by", "token", "--top", 60).output
    assert "6 added" in shown
    assert "<new>" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "row"), "--by row needs a TENSOR"),
        (("x", "--by", "head"), "--by head takes all tensors"),
        (("x",), "no tensor is called 'x'"),
        (("-m", "relativ_norm"), "did you mean 'relative_norm'"),
        (("-m", "stable_rank"), "stable_rank does not come from sums"),
    ],
)
def test_a_wrong_call_is_one_line(fixtures: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("parts", fixtures / "base", fixtures / "lora", *arguments)
    assert isinstance(done.exception, FtdiffError)
    assert said in str(done.exception)


@pytest.mark.parametrize("more", [3, -4])
def test_rows_of_one_vocabulary_are_apart_from_those_of_both(tmp_path: Path, more: int) -> None:
    base, tuned = llama(), grown(more)
    diff = parts.tokens(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        W, W1 = base[name].double(), tuned[name].double()
        frame = diff.frame[diff.frame["tensor"] == name].set_index("row")
        common = min(len(W), len(W1))
        status = "added" if more > 0 else "removed"
        assert list(frame.index) == list(range(max(len(W), len(W1))))
        assert (frame["status"][:common] == "changed").all()
        assert (frame["status"][common:] == status).all()
        norms = ((W1[:common] - W[:common]) ** 2).sum(dim=1)
        assert frame["delta_sq"][:common].to_numpy(float) == pytest.approx(norms.numpy(), rel=1e-6)
        assert frame["delta_sq"][common:].isna().all()
        here, there = ("tuned_sq", "base_sq") if more > 0 else ("base_sq", "tuned_sq")
        rest = ((W1 if more > 0 else W)[common:] ** 2).sum(dim=1).numpy()
        assert frame[here][common:].to_numpy(float) == pytest.approx(rest, rel=1e-6)
        assert frame[there][common:].isna().all()
    assert diff.frame["token"].isna().all()


TOKENS = {i: f"t{i}" for i in range(24)} | {24: "<new>", 25: "Ġa\x1b[2J", 26: "\\ud800"}


def tokenizer(kind: str) -> dict[str, Any]:
    vocab = {token: i for i, token in TOKENS.items() if i < 24}
    added = [{"id": i, "content": TOKENS[i]} for i in (24, 25)] + [{"id": 26, "content": "\ud800"}]
    if kind == "unigram":
        return {"model": {"vocab": [[token, -1.0] for token in vocab]}, "added_tokens": added}
    return {"model": {"vocab": vocab}, "added_tokens": added}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "vocab.json", "given"])
def test_tokens_are_named_where_a_tokenizer_is_at_hand(tmp_path: Path, kind: str) -> None:
    b, t = write_model(tmp_path / "b", llama()), write_model(tmp_path / "t", grown())
    told = tokenizer(kind)
    if kind == "vocab.json":
        (t / "vocab.json").write_text(json.dumps(told["model"]["vocab"]))
        added = {entry["content"]: entry["id"] for entry in told["added_tokens"]}
        (t / "added_tokens.json").write_text(json.dumps(added))
    elif kind == "given":
        (tmp_path / "k").mkdir()
        (tmp_path / "k" / "tokenizer.json").write_text(json.dumps(told))
    else:
        (t / "tokenizer.json").write_text(json.dumps(told))
    diff = parts.tokens(b, t, tmp_path / "k" if kind == "given" else None)
    named = diff.frame[diff.frame["component"] == "embed.tokens"].set_index("row")["token"]
    assert dict(named) == TOKENS
    assert diff.save(tmp_path / "x.json").exists()
    assert set(ftdiff.Diff.load(tmp_path / "x.json").frame["token"]) == set(TOKENS.values())


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "{}",
        '{"model": 3}',
        '{"model": {"vocab": 3}}',
        '{"model": {"vocab": {"a": "1"}}}',
        '{"model": {"vocab": {"a": -1}}}',
        '{"model": {"vocab": {"a": true}}}',
        '{"model": {"vocab": {"a": 1e99}}}',
        '{"model": {"vocab": {"a": 99999999999999999999}}}',
        '{"model": {"vocab": ["a"]}}',
        '{"model": {"vocab": [[]]}}',
        '{"model": {"vocab": [[{"a": 1}, 0]]}}',
        '{"model": {"vocab": {}}, "added_tokens": {"a": 1}}',
        '{"model": {"vocab": {}}, "added_tokens": [1]}',
        '{"model": {"vocab": {}}, "added_tokens": [{"id": 1}]}',
        '{"model": ' * 3000,
        "\x00",
    ],
)
def test_a_hostile_tokenizer_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    b, t = write_model(tmp_path / "b", llama()), write_model(tmp_path / "t", grown())
    (t / "tokenizer.json").write_text(text)
    with pytest.raises(BadFile, match=r"tokenizer.json") as caught:
        parts.tokens(b, t)
    assert "\n" not in str(caught.value)


def test_what_has_no_embedding_change_says_so(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="it changes no embedding"):
        parts.tokens(fixtures / "base", fixtures / "lora")
    with pytest.raises(BadFile, match=r"neither tokenizer.json nor vocab.json"):
        parts.tokens(fixtures / "base", fixtures / "full", tmp_path)
    with pytest.raises(FtdiffError):
        parts.tokens("nowhere", fixtures / "full")


def test_arrays_in_memory_read_no_file_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_text("hostile")
    monkeypatch.chdir(tmp_path)
    assert parts.tokens(llama(), nudge(llama())).frame["token"].isna().all()


def test_stacked_experts_lie_one_above_the_other() -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    W, W1 = ({name: rng.standard_normal((3, 4, 5)).astype(np.float32)} for _ in range(2))
    assert len(parts.rows(W, W1, name).frame) == 12
    frame = parts.columns(W, W1, name).frame
    expected = ((W1[name].astype(np.float64) - W[name]) ** 2).sum(axis=(0, 1))
    assert frame["delta_sq"].to_numpy(float) == pytest.approx(expected, rel=1e-6)


def test_a_part_without_numbers_stays_a_part() -> None:
    W = np.ones((3, 4), np.float32)
    W1 = W.copy()
    W1[1] = np.nan
    frame = parts.rows({"w": W}, {"w": W1}, "w").frame
    assert list(frame["nonfinite_tuned"]) == [0, 4, 0]
    assert list(frame["status"]) == ["identical", "changed", "identical"]


@pytest.mark.parametrize("tuned", ["full", "lora"])
def test_every_row_is_the_same_for_any_strip(
    fixtures: Path, tuned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_checkpoint(fixtures / "base")
    one = pair(opened, open_tuned(fixtures / tuned, opened)).changes[3]
    whole = [measure(one, axis) for axis in (0, 1)]
    monkeypatch.setattr("ftdiff.analyses.parts.sums._STRIP", 200)
    cut = [measure(one, axis) for axis in (0, 1)]
    assert np.array_equal(whole[0].sums, cut[0].sums)
    assert whole[1].sums == pytest.approx(cut[1].sums, rel=1e-6, abs=1e-9)
