from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.comparison.aggregation import Over
from ftdiff.comparison.frame import IDENTITY
from ftdiff.comparison.scope import headline
from ftdiff.deltas.moments import COLUMNS
from ftdiff.errors import BadCall, BadFile, UnknownName
from ftdiff.metrics import resolve
from tests.conftest import FIXTURES, llama, nudge

_ALL = tuple(one.name for one in resolve(()))


@pytest.fixture(scope="module")
def diff() -> ftdiff.Diff:
    base = llama()
    tuned = nudge(base)
    tuned["model.norm.weight"] = base["model.norm.weight"]
    tuned["model.layers.1.mlp.up_proj.weight"][0, 0] = math.nan
    return ftdiff.compare(base, {**tuned, "extra.weight": torch.ones(3)})


def test_the_frame_has_the_columns_that_others_build_on(diff: ftdiff.Diff) -> None:
    assert [*diff.frame.columns] == [*IDENTITY, *COLUMNS, *_ALL]
    assert diff.frame["layer"].dtype == diff.frame["expert"].dtype == pd.Int64Dtype()
    assert diff.frame["tensor"].is_unique


def test_saving_and_loading_is_the_identity(diff: ftdiff.Diff, tmp_path: Path) -> None:
    loaded = ftdiff.Diff.load(diff.save(tmp_path / "d.json"))
    pd.testing.assert_frame_equal(loaded.frame, diff.frame, check_exact=True)
    assert loaded.about == diff.about
    again = loaded.save(tmp_path / "e.json")
    assert again.read_bytes() == (tmp_path / "d.json").read_bytes()


@given(st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_float_survives_to_the_bit(tmp_path: Path, values: list[float]) -> None:
    rows = [
        {"tensor": f"t{i}", "status": "changed", "shape": (1,), "numel": 1, "delta_sq": value}
        for i, value in enumerate(values)
    ]
    made = ftdiff.Diff.of_rows(rows, {})
    loaded = ftdiff.Diff.load(made.save(tmp_path / "x.json"))
    assert [*loaded.frame["delta_sq"]] == values
    json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)


def test_columns_and_their_frame_are_the_same_diff(diff: ftdiff.Diff) -> None:
    made = ftdiff.Diff(diff.frame, diff.about)
    assert diff.frame is diff.frame and made.frame is diff.frame
    for name, values in diff.columns.items():
        np.testing.assert_array_equal(made.columns[name], values)
        assert (values.dtype == np.float64) == (diff.frame[name].dtype == "Float64")
    pd.testing.assert_frame_equal(made.by("layer", "component"), diff.by("layer", "component"))


@pytest.mark.parametrize("value", ["3", 2.5, 1 << 63, [1]])
def test_what_is_no_whole_number_is_no_layer(value: object, tmp_path: Path) -> None:
    document = {
        "format": "ftdiff.diff/1",
        "about": {},
        "tensors": [{"tensor": "x", "layer": value}],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(BadFile, match=r"x\.json: not a diff saved by ftdiff"):
        ftdiff.Diff.load(tmp_path / "x.json")


def test_csv_and_parquet_hold_the_same_numbers(diff: ftdiff.Diff, tmp_path: Path) -> None:
    with diff.save(tmp_path / "d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    parquet = pd.read_parquet(diff.save(tmp_path / "d.parquet"))
    for name in ("delta_sq", "relative_norm"):
        expected = diff.frame[name]
        written = ["" if pd.isna(value) else repr(float(value)) for value in expected]
        assert [row[name] for row in rows] == written
        assert parquet[name].astype("Float64").equals(expected)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", '{"format": "ftdiff.diff/1", "about": 3, "tensors": 4}']
)
def test_what_is_not_a_diff_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadFile, match=r"x\.json"):
        ftdiff.Diff.load(tmp_path / "x.json")


def test_a_diff_of_another_format_says_which(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": "ftdiff.diff/9"}')
    with pytest.raises(BadFile, match=r"ftdiff\.diff/9"):
        ftdiff.Diff.load(tmp_path / "x.json")


def test_an_unknown_ending_or_a_folder_that_is_a_file_is_one_line(
    diff: ftdiff.Diff, tmp_path: Path
) -> None:
    with pytest.raises(BadCall, match=r"\.json, \.csv or \.parquet"):
        diff.save(tmp_path / "d.xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadFile, match="cannot be written"):
        diff.save(tmp_path / "file" / "d.json")


def test_an_interrupted_save_leaves_nothing(
    diff: ftdiff.Diff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        diff.save(tmp_path / "d.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("over", ["all", "moved"])
@pytest.mark.parametrize(
    "columns", [(), ("layer",), ("component",), ("layer", "block"), ("status",)]
)
def test_groups_are_root_sums_not_means_of_ratios(
    diff: ftdiff.Diff, columns: tuple[str, ...], over: Over
) -> None:
    frame = diff.frame[diff.frame["delta_sq"].notna()]
    frame = frame[
        frame["status"].isin(["changed"] if over == "moved" else ["changed", "identical"])
    ]
    frame = frame[frame["shape"].map(len) > 1]
    grouped = diff.by(*columns, over=over)
    groups = frame.groupby(list(columns), dropna=False) if columns else [((), frame)]
    for key, members in groups:
        found = grouped
        for column, value in zip(columns, key if isinstance(key, tuple) else (key,), strict=True):
            same = found[column].isna() if pd.isna(value) else found[column] == value
            found = found[same.fillna(False)]
        expected = math.sqrt(math.fsum(members["delta_sq"]) / math.fsum(members["base_sq"]))
        assert found["relative_norm"].iloc[0] == expected


def test_shares_add_up_to_one_over_any_grouping(diff: ftdiff.Diff) -> None:
    for columns in (("layer",), ("component",), ("layer", "component"), ("tensor",)):
        grouped = diff.by(*columns, metrics=("energy_share", "lift"))
        assert grouped["energy_share"].sum() == pytest.approx(1.0)
        share = (grouped["energy_share"] / grouped["lift"]).sum()
        still = grouped.loc[~(grouped["lift"] > 0).fillna(False), "params"].sum()
        assert share + still / grouped["params"].sum() == pytest.approx(1.0)


def test_the_order_of_rows_changes_no_bit(diff: ftdiff.Diff) -> None:
    shuffled = ftdiff.Diff(diff.frame.sample(frac=1, random_state=1), diff.about)
    pd.testing.assert_frame_equal(
        shuffled.by("layer", metrics=_ALL), diff.by("layer", metrics=_ALL)
    )


def test_a_table_has_layers_ascending_and_components_in_the_published_order(
    diff: ftdiff.Diff,
) -> None:
    table = diff.table()
    assert list(table.index) == [0, 1, 2]
    order = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate"]
    assert list(table.columns)[:7] == order
    row = diff.frame.set_index("tensor").loc["model.layers.2.self_attn.k_proj.weight"]
    assert table.loc[2, "attn.k"] == row["relative_norm"]


def test_a_table_is_of_weights_unless_asked(diff: ftdiff.Diff) -> None:
    base = {"h.0.q_proj.weight": np.ones((2, 2)), "h.0.q_proj.bias": 100 * np.ones(2)}
    tuned = {"h.0.q_proj.weight": 2 * np.ones((2, 2)), "h.0.q_proj.bias": 100 * np.ones(2)}
    tuned["h.0.q_proj.bias"][0] = 101
    both = ftdiff.compare(base, tuned)
    assert both.table().to_numpy().ravel().tolist() == [1.0]
    assert both.table(param=None).to_numpy().ravel().tolist() == [1.0]
    with_vectors = both.by("component", vectors=True)["relative_norm"]
    assert with_vectors.to_list() == [math.sqrt(5 / 20004)]


def test_an_unknown_column_or_metric_is_named(diff: ftdiff.Diff) -> None:
    with pytest.raises(UnknownName, match="no column is called 'layr'"):
        diff.by("layr")
    with pytest.raises(UnknownName, match="no metric is called"):
        diff.table("rotaton")


def test_keeping_metrics_keeps_the_sums(diff: ftdiff.Diff) -> None:
    kept = diff.keeping(["rotation"])
    assert [*kept.frame.columns] == [*IDENTITY, *COLUMNS, "rotation"]
    pd.testing.assert_frame_equal(kept.by("layer"), diff.by("layer"))


def test_an_adapter_and_its_merge_agree_in_every_group(fixtures: Path) -> None:
    adapter = ftdiff.compare(fixtures / "base", fixtures / "lora")
    merged = ftdiff.compare(fixtures / "base", fixtures / "merged_f32")
    for columns in ((), ("layer",), ("component",), ("block",)):
        names = ("relative_norm", "rotation", "lift")
        a = adapter.by(*columns, metrics=names, over="moved")
        b = merged.by(*columns, metrics=names, over="moved")
        keys = ["one", *columns]
        joined = a.assign(one=1).merge(b.assign(one=1), on=keys, suffixes=("", "_b"))
        joined = joined[joined["moved"] > 0]
        for name in names:
            assert joined[name].to_numpy(float) == pytest.approx(
                joined[f"{name}_b"].to_numpy(float), rel=1e-5
            )


def test_linked_and_real_copies_have_the_same_groups_and_one_word_means_one_number(
    fixtures: Path, tmp_path: Path
) -> None:
    base = fixtures / "base"
    linked, copied = tmp_path / "linked", tmp_path / "copied"
    for folder in (linked, copied):
        folder.mkdir()
    (linked / "model.safetensors").symlink_to(base / "model.safetensors")
    shutil.copy(base / "model.safetensors", copied)
    a, b = (ftdiff.compare(base, folder) for folder in (linked, copied))
    for over in ("all", "moved"):
        pd.testing.assert_frame_equal(a.by("layer", over=over), b.by("layer", over=over))
        assert a.whole(over) == b.whole(over)


def test_a_number_says_over_which_matrices_it_is(fixtures: Path) -> None:
    base = fixtures / "base"
    merged, adapter = (ftdiff.compare(base, fixtures / x) for x in ("merged_f32", "lora"))
    whole, some = (merged.whole(over)["relative_norm"] for over in ("all", "moved"))
    assert whole < some == pytest.approx(adapter.overall["relative_norm"], rel=1e-6)
    assert headline(merged) == (
        f"{whole:.4g} over all 197 matrices; {some:.4g} over the 196 that moved "
        "(197 of 338 tensors, 99.1% of the parameters)"
    )
    assert headline(adapter) == (
        f"{some:.4g} over the 196 matrices that it targets "
        "(196 of 338 tensors, 96.7% of the parameters)"
    )
    assert headline(ftdiff.compare(None, fixtures / "lora")) == ""
    lineage = ftdiff.lineage(fixtures / "merged_f32", [base])
    assert lineage.frame["relative_norm"].tolist() == [whole]


def test_one_ulp_in_a_frozen_vector_changes_no_number_of_a_layer() -> None:
    draw = np.random.default_rng(0)
    base = {f"model.layers.{i}.mlp.up_proj.weight": draw.normal(size=(8, 8)) for i in range(3)}
    base |= {f"model.layers.{i}.input_layernorm.weight": 9 * np.ones(8) for i in range(3)}
    tuned = {name: 1.1 * W if W.ndim == 2 else W for name, W in base.items()}
    touched = {**tuned, "model.layers.1.input_layernorm.weight": np.nextafter(9 * np.ones(8), 10)}
    plain, ulp = (ftdiff.compare(base, side) for side in (tuned, touched))
    for over in ("all", "moved"):
        assert plain.by("layer", over=over)["relative_norm"].tolist() == pytest.approx([0.1] * 3)
        assert (
            plain.by("layer", over=over)["relative_norm"]
            == ulp.by("layer", over=over)["relative_norm"]
        ).all()
    norms = ulp.by("component").set_index("component").loc["norm.input"]
    assert norms["of"] == "vectors" and norms["moved"] == 1
    assert ulp.by(vectors=True)["relative_norm"].iloc[0] < 0.1


def test_rows_that_were_added_are_no_movement() -> None:
    draw = np.random.default_rng(0)
    base = {n: draw.normal(size=(8, 4)) for n in ("embed_tokens.weight", "h.0.q_proj.weight")}
    tuned = {
        "embed_tokens.weight": np.vstack([base["embed_tokens.weight"], np.ones((3, 4))]),
        "h.0.q_proj.weight": 1.5 * base["h.0.q_proj.weight"],
    }
    diff = ftdiff.compare(base, tuned)
    moved = diff.by(over="moved").iloc[0]
    assert (moved["relative_norm"], moved["counted"], moved["moved"]) == (0.5, 1, 1)
    assert diff.overall["relative_norm"] < 0.5
    tuned["embed_tokens.weight"][0, 0] += 1.0
    assert ftdiff.compare(base, tuned).by(over="moved")["counted"].iloc[0] == 2


def test_layers_of_different_towers_are_never_added() -> None:
    W = {
        f"{tower}.layers.{i}.fc1.weight": np.eye(4)
        for tower in ("encoder", "decoder")
        for i in (0, 1)
    }
    tuned = {name: V * (3 if name.startswith("encoder") else 2) for name, V in W.items()}
    diff = ftdiff.compare(W, tuned)
    by = diff.by("layer").set_index(["stack", "layer"])["relative_norm"]
    assert by.to_dict() == {
        ("decoder", 0): 1.0,
        ("decoder", 1): 1.0,
        ("encoder", 0): 2.0,
        ("encoder", 1): 2.0,
    }
    assert diff.table().index.names == ["stack", "layer"]


def test_a_notebook_sees_a_row_per_component_and_names_stay_text() -> None:
    names = ["model.layers.0.<script>x</script>.weight", "model.layers.0.mlp.up_proj.weight"]
    base = dict.fromkeys(names, np.ones((2, 2)))
    shown = ftdiff.compare(base, {name: 1.5 * W for name, W in base.items()})._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;" in shown
    assert ">mlp.up</td>" in shown and "<td>0.5</td>" in shown
    assert "2 of 2 tensors moved" in shown
    bare = ftdiff.compare(None, FIXTURES / "lora")._repr_html_()
    assert "attn.q" in bare and "rms_change" in bare and "relative_norm" not in bare
    still = {**base, names[1]: np.full((2, 2), 3.0)}
    assert "<td>–</td>" in ftdiff.compare({**base, names[1]: np.zeros((2, 2))}, still)._repr_html_()
