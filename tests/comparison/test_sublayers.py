"""A layer is all of its sublayers, unless they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ftdiff
from ftdiff.comparison.aggregation import natural
from ftdiff.comparison.cells import cells
from ftdiff.comparison.sublayers import unfolded
from tests.conftest import write_model

MODULES = {
    "attentions.{}.transformer_blocks.0.attn1.to_q": "attn.q",
    "attentions.{}.transformer_blocks.0.attn2.to_q": "attn.cross_q",
    "resnets.{}.conv1": "conv.1",
}
UP = "up_blocks.{}.upsamplers.0.conv.weight"


def unet(seed: int) -> dict[str, torch.Tensor]:
    """Return the weights of a few modules of a U-Net: three up blocks of eleven parts each."""
    draw = torch.Generator().manual_seed(seed)
    names = [
        f"up_blocks.{i}.{m.format(j)}.weight" for i in range(3) for j in range(11) for m in MODULES
    ]
    names += [UP.format(i) for i in range(2)] + ["conv_in.weight"]
    return {name: torch.randn(4, 4, generator=draw) for name in names}


@pytest.fixture(scope="module")
def diff(tmp_path_factory: pytest.TempPathFactory) -> ftdiff.Diff:
    folder = tmp_path_factory.mktemp("unet")
    base, moved = unet(0), unet(1)
    tuned = {name: base[name] + 0.01 * moved[name] for name in base}
    sides = [write_model(folder / n, s, config={}) for n, s in (("base", base), ("tuned", tuned))]
    return ftdiff.compare(*sides)


def test_the_frame_says_layer_and_sublayer_of_every_tensor(diff: ftdiff.Diff) -> None:
    columns = [*diff.frame]
    assert columns[columns.index("layer") + 1] == "sublayer"
    rows = diff.frame.set_index("tensor")
    at = rows.loc["up_blocks.1.attentions.10.transformer_blocks.0.attn2.to_q.weight"]
    assert (at["stack"], at["layer"], at["sublayer"]) == ("", 1, "10.0")
    assert at["component"] == "attn.cross_q"
    assert rows.loc["conv_in.weight", ["layer", "sublayer"]].isna().all()


def test_a_layer_adds_up_its_sublayers(diff: ftdiff.Diff) -> None:
    frame, grouped = diff.frame, diff.by("layer", "component")
    for row in grouped.dropna(subset=["layer"]).itertuples():
        here = frame[(frame["layer"] == row.layer) & (frame["component"] == row.component)]
        assert row.tensors == len(here) == (11 if row.component != "conv.upsample" else 1)
        exact = np.sqrt(here["delta_sq"].sum() / here["base_sq"].sum())
        assert row.relative_norm == pytest.approx(exact, rel=1e-12)


def test_sublayers_ascend_as_numbers_and_bring_their_layer(diff: ftdiff.Diff) -> None:
    grouped = diff.by("sublayer").dropna(subset=["layer"])
    assert [*grouped.columns[:3]] == ["stack", "layer", "sublayer"]
    first = grouped[grouped["layer"] == 0]["sublayer"].tolist()
    assert first == sorted(first, key=natural) and first[:3] == ["0", "0.0", "1"]
    assert first[-2:] == ["10", "10.0"]
    table = diff.table(rows="sublayer")
    assert table.index.names == ["layer", "sublayer"] and len(table) == len(grouped)
    assert table.loc[(2, "10.0"), "attn.q"] > 0


def test_findings_are_of_layers(diff: ftdiff.Diff) -> None:
    (found,) = cells(diff, ("relative_norm",))
    assert found.layers == (0, 1, 2)


def test_a_picture_has_a_row_for_each_sublayer_in_order(diff: ftdiff.Diff) -> None:
    rows = unfolded(diff)
    (stack,) = rows.nested
    names = [row.name for row in rows.nested[stack]]
    assert names == [f"up {i}.{j}" for i in range(3) for j in range(11)]
    assert [row.layer for row in rows.nested[stack]] == sorted(11 * [0, 1, 2])
    assert rows.diff.by().equals(diff.by())


def test_a_flat_stack_is_left_as_it_is(tmp_path: Path) -> None:
    names = [f"layers.{i}.mlp.up_proj.weight" for i in range(2)]
    sides = [
        write_model(tmp_path / f"{k}", {n: torch.full((4, 4), k) for n in names}, config={})
        for k in (1.0, 2.0)
    ]
    flat = ftdiff.compare(*sides)
    assert unfolded(flat).diff is flat and not unfolded(flat).nested
    assert flat.frame["sublayer"].isna().all()


def test_a_saved_diff_says_its_version_and_keeps_sublayers(
    diff: ftdiff.Diff, tmp_path: Path
) -> None:
    path = diff.save(tmp_path / "d.json")
    assert json.loads(path.read_text())["format"] == "ftdiff.diff/2"
    pd.testing.assert_frame_equal(ftdiff.Diff.load(path).frame, diff.frame)


def test_an_older_file_keeps_the_layers_that_it_was_saved_with(tmp_path: Path) -> None:
    tensors = [
        {"tensor": f"layers.{i}.blocks.{j}.mlp.fc1.weight", "stack": "", "layer": 2 * i + j}
        for i in range(2)
        for j in range(2)
    ]
    old = {"format": "ftdiff.diff/1", "about": {}, "tensors": tensors}
    (tmp_path / "old.json").write_text(json.dumps(old))
    loaded = ftdiff.Diff.load(tmp_path / "old.json")
    assert loaded.frame["layer"].tolist() == [0, 1, 2, 3]
    assert loaded.frame["sublayer"].isna().all()
    again = ftdiff.Diff.load(loaded.save(tmp_path / "new.json"))
    assert again.frame["layer"].tolist() == [0, 1, 2, 3]
