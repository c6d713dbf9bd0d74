"""The most alike of very many adapters: those that all exact products find, from kept sketches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from ftdiff.analyses.pairwise import line_up
from ftdiff.analyses.similarity import held_against, one_against_many, shortlist
from ftdiff.reports.terminal.similarity import show_against
from ftdiff.tensors import Array

MODULES = [f"layers.{layer}.self_attn.{name}_proj" for layer in range(2) for name in "qkvo"]
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
MANY, ROWS, COLUMNS, RANK = 26, 48, 96, 4


def adapter(folder: Path, parts: list[tuple[Array, Array]], dtype: type = np.float32) -> Path:
    folder.mkdir()
    state = {}
    for module, (B, A) in zip(MODULES, parts, strict=True):
        state[f"base_model.model.model.{module}.lora_A.weight"] = A.astype(dtype)
        state[f"base_model.model.model.{module}.lora_B.weight"] = B.astype(dtype)
    save_file(state, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    return folder


def factors(seed: int) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((ROWS, RANK)), rng.standard_normal((RANK, COLUMNS))) for _ in MODULES
    ]


def towards(one: list[tuple[Array, Array]], other: list[tuple[Array, Array]], share: float) -> Any:
    """Factors of which the first `share` of the ranks are another's."""
    own = int(share * RANK)
    return [
        (np.concatenate([b[:, :own], d[:, own:]], 1), np.concatenate([a[:own], c[own:]]))
        for (b, a), (d, c) in zip(one, other, strict=True)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters; the last five share one rank to all four of the query's."""
    root = tmp_path_factory.mktemp("adapters")
    query = factors(1000)
    for i in range(MANY):
        share = max(0, i - (MANY - 6)) / 5
        parts = towards(query, factors(i), share)
        adapter(root / f"a{i:02}", parts, ml_dtypes.bfloat16 if i % 2 else np.float32)
    adapter(root / "query", query)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shortlist, "MANY", 20)
    monkeypatch.setenv("FTDIFF_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def others(folder: Path) -> list[Path]:
    return sorted(folder.glob("a*"))


def test_the_most_alike_are_those_of_all_exact_products(folder: Path, cache: Path) -> None:
    whole = held_against(folder / "query", others(folder)).nearest(3)
    found = held_against(folder / "query", others(folder), nearest=3)
    for column in whole:
        assert found.nearest(3)[column].tolist() == whole[column].tolist(), column
    told = found.about["shortlist"]
    assert told["others"] == MANY and 3 <= told["measured"] < MANY / 2
    assert told["below"] < found.nearest(3)["cosine"].iloc[-1]
    assert len(found.about["tuned"]) == MANY + 1 and len([*cache.iterdir()]) == MANY + 1


def test_it_is_printed_how_many_were_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_against(held_against(folder / "query", others(folder), nearest=2), 2)
    printed = capsys.readouterr().out
    assert f"query against {MANY} others" in printed
    assert "of them were measured; by a sketch each of the others has a cosine below" in printed


def test_a_second_query_reads_no_more_than_the_shortlist(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    held_against(folder / "query", others(folder), nearest=3, say=said.append)
    first = held_against(folder / "a24", others(folder)[:24], nearest=3)
    monkeypatch.setattr(shortlist, "_make", None)
    second = held_against(folder / "a24", others(folder)[:24], nearest=3, say=said.append)
    assert second.nearest(3).equals(first.nearest(3))
    assert said == [f"{MANY + 1} of {MANY + 1} adapters are read once for a sketch, which is kept"]


def test_an_adapter_that_was_written_again_is_sketched_again(folder: Path, tmp_path: Path) -> None:
    paths = [*others(folder)[:-1], adapter(tmp_path / "mine", factors(7))]
    held_against(folder / "query", paths, nearest=1)
    save = tmp_path / "mine" / "adapter_model.safetensors"
    save.write_bytes((folder / "query" / "adapter_model.safetensors").read_bytes())
    said: list[str] = []
    found = held_against(folder / "query", paths, nearest=1, say=said.append)
    assert found.nearest(1)["name"].tolist() == ["mine"]
    assert said[0].startswith("1 of 27 ")


def test_where_a_sketch_cannot_tell_all_are_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "_NUMBERS", 1)
    some = others(folder)[:21]
    found = held_against(folder / "query", some, nearest=5)
    assert found.nearest(5).equals(held_against(folder / "query", some).nearest(5))
    assert found.about["shortlist"]["measured"] > 12


def test_what_is_no_product_or_has_no_change_is_held_exactly(folder: Path, tmp_path: Path) -> None:
    nothing = [(0 * B, A) for B, A in factors(3)]
    huge = [(B * 1e25, A) for B, A in towards(factors(1000), factors(4), 0.8)]
    odd = adapter(tmp_path / "odd", towards(factors(1000), factors(5), 0.9))
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps(config | {"use_dora": False}))
    paths = [adapter(tmp_path / "nothing", nothing), adapter(tmp_path / "huge", huge), odd]
    paths += others(folder)[:21]
    found = held_against(folder / "query", paths, nearest=3)
    assert found.nearest(3).equals(held_against(folder / "query", paths).nearest(3))
    assert {*found.nearest(2)["name"]} == {"huge", "odd"}


def test_errors_are_as_large_as_they_are_said_to_be(folder: Path) -> None:
    lineup = line_up(None, [folder / "query", *others(folder)])
    found = shortlist.bounds(lineup, None, None, lambda _: None)
    exact = held_against(folder / "query", others(folder))
    cosines = np.array([exact.cosine(j) for j in range(MANY)])
    off = (found.cosine - cosines) / (found.error / shortlist._SIGMAS)
    assert np.abs(off).max() < 4 and 0.7 < off.std() < 1.4


def test_batches_of_the_shortlist_change_no_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = held_against(folder / "query", others(folder), nearest=4).nearest(4)
    monkeypatch.setattr(one_against_many, "_ROWS", 1)
    monkeypatch.setattr(shortlist, "_AT_ONCE", 7)
    monkeypatch.setattr(shortlist, "_ROWS", 9)
    monkeypatch.setenv("FTDIFF_CACHE", "")
    again = held_against(folder / "query", others(folder), nearest=4)
    assert again.nearest(4).equals(want)
