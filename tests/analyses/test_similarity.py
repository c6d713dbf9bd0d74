"""How alike fine-tunes are: sums regroup, nulls hold, planted families are found, files survive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

import ftdiff
from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.similarity.clusters import groups
from ftdiff.deltas.recipes import Replaced, Tuned, Unreadable
from ftdiff.errors import BadCall, BadFile, Mismatch, UnknownName
from ftdiff.reports.terminal.similarity import show_similarity
from ftdiff.tensors import ArrayTensor
from tests.conftest import llama, nudge, write_model
from tests.formats.quantised_models import four_bits

State = Mapping[str, torch.Tensor]


def flat(base: State, tuned: State) -> Any:
    return np.concatenate([(tuned[k].double() - base[k].double()).numpy().ravel() for k in base])


@pytest.fixture(scope="module")
def base() -> State:
    return llama(dtype=torch.float32)


@pytest.fixture(scope="module")
def family(base: State) -> dict[str, State]:
    """Two families of two, in which half of the change is common, and a loner."""
    common = {seed: nudge(base, by=0.2, seed=seed) for seed in (1, 2)}
    made = {
        f"{'ab'[seed - 1]}{i}": nudge(common[seed], by=0.2, seed=10 * seed + i)
        for seed in (1, 2)
        for i in (1, 2)
    }
    return made | {"loner": nudge(base, by=0.3, seed=99)}


@pytest.fixture(scope="module")
def found(base: State, family: dict[str, State]) -> Similarity:
    tuned = {name: dict(state) for name, state in family.items()}
    measured = ftdiff.similarity([*tuned.values()], dict(base), ["all"])
    return Similarity(tuple(tuned), measured.tensors, measured.sums, measured.about)


def test_cosines_are_those_of_all_entries_in_float64(
    base: State, family: dict[str, State], found: Similarity
) -> None:
    D = np.stack([flat(base, state) for state in family.values()])
    norms = np.linalg.norm(D, axis=1)
    assert found.matrix.to_numpy() == pytest.approx(D @ D.T / np.outer(norms, norms), abs=2e-9)


def test_groups_are_regrouped_exactly_from_tensors(found: Similarity) -> None:
    by = found.by("component").set_index(["component", "a", "b"])
    kept = (found.tensors["component"] == "attn.q").to_numpy()
    inner = found.sums["inner"][kept].sum(axis=0)
    want = inner / np.sqrt(np.outer(inner.diagonal(), inner.diagonal()))
    assert by.loc[("attn.q", "a1", "b2"), "cosine"] == pytest.approx(want[0, 3], rel=1e-12)
    assert found.table(component="attn.q").to_numpy() == pytest.approx(want, rel=1e-12)
    assert len(found.frame) == len(found.tensors) * 10


def test_planted_families_are_found_and_the_loner_is_left_alone(found: Similarity) -> None:
    assert {frozenset(members) for members in found.groups.members} == {
        frozenset({"a1", "a2"}),
        frozenset({"b1", "b2"}),
        frozenset({"loner"}),
    }
    assert "widest gap" in found.groups.criterion
    assert (
        dict(zip(found.neighbours["name"], found.neighbours["nearest"], strict=True))["a1"] == "a2"
    )
    rules = {one.rule for one in found.findings()}
    assert "groups" in rules and "duplicate" not in rules
    said = next(one.message for one in found.findings() if one.rule == "unrelated")
    assert said.startswith("loner: ")


def test_strangers_are_groups_of_their_own_and_one_family_is_one_group() -> None:
    assert len(groups("abcd", np.eye(4)).members) == 4
    assert len(groups("abcd", np.full((4, 4), 0.9) + 0.1 * np.eye(4)).members) == 1
    missing = np.full((3, 3), np.nan)
    assert len(groups("abc", missing).members) == 3


def test_planted_duplicates_are_found_at_any_scale(base: State, tmp_path: Path) -> None:
    once = nudge(base, by=0.2, seed=5)
    twice = {name: base[name] + 2 * (tensor - base[name]) for name, tensor in once.items()}
    shelf = {"once": once, "twice": twice, "other": nudge(base, by=0.2, seed=6)}
    paths = [write_model(tmp_path / name, state) for name, state in shelf.items()]
    result = ftdiff.similarity(paths, write_model(tmp_path / "base", base))
    assert [(row.a, row.b) for row in result.duplicates.itertuples()] == [("once", "twice")]
    assert result.duplicates["norm_ratio"].iloc[0] == pytest.approx(2, rel=1e-5)
    said = [one for one in result.findings() if one.rule == "duplicate"]
    assert len(said) == 1 and "at 2 times the length" in said[0].message


def test_changes_that_undo_each_other_are_said(base: State) -> None:
    there = nudge(base, by=0.2, seed=5)
    back = {name: base[name] - (tensor - base[name]) for name, tensor in there.items()}
    result = ftdiff.similarity([there, back], base)
    assert "opposed" in {one.rule for one in result.findings()}
    assert not {"duplicate"} & {one.rule for one in result.findings()}


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_the_null_is_the_spread_of_cosines_of_independent_changes_of_any_rank(rank: int) -> None:
    draw = np.random.default_rng(rank)

    def change() -> Any:
        return draw.normal(size=(12, rank)) @ draw.normal(size=(rank, 20))

    zero = {"layers.0.mlp.up_proj.weight": np.zeros((12, 20))}
    tuned = [{name: change() for name in zero} for _ in range(60)]
    result = ftdiff.similarity(tuned, zero)
    pairs = result.by()
    spread = float(np.sqrt(np.square(pairs["cosine"]).mean()))
    assert pairs["cosine_null"].iloc[0] == pytest.approx(1 / np.sqrt(240))
    assert spread == pytest.approx(1 / np.sqrt(240), rel=0.15)


def test_masks_are_the_entries_that_differ(base: State) -> None:
    draw = torch.Generator().manual_seed(0)
    tuned = []
    for share in (0.1, 0.3):
        mask = {k: torch.rand(W.shape, generator=draw) < share for k, W in base.items()}
        tuned.append({k: W + mask[k] * 0.01 for k, W in base.items()})
    result = ftdiff.similarity(tuned, base, ["masks"])
    first, second = ((flat(base, state) != 0) for state in tuned)
    row = result.by().iloc[0]
    assert row["mask_jaccard"] == pytest.approx((first & second).sum() / (first | second).sum())
    assert row["mask_lift"] == pytest.approx(1, abs=0.1)
    assert row["mask_jaccard_null"] == pytest.approx(row["mask_jaccard"], rel=0.1)


def test_an_adapter_has_no_mask(fixtures: Path) -> None:
    result = ftdiff.similarity(
        [fixtures / "lora", fixtures / "merged"], fixtures / "base", ["masks"]
    )
    assert result.by()["mask_jaccard"].isna().all()


def trimmed(dW: Any, density: float = 0.2) -> Any:
    """Keep the largest entries, at least that share."""
    least = np.sort(np.abs(dW).ravel())[::-1][int(np.ceil(density * dW.size)) - 1]
    return np.where(np.abs(dW) >= least, dW, 0)


def test_signs_and_the_merge_are_those_of_ties(base: State, family: dict[str, State]) -> None:
    names = ["a1", "b1", "loner"]
    result = ftdiff.similarity([family[name] for name in names], base, ["signs"])
    inner, own, merged_sq = np.zeros(3), np.zeros(3), 0.0
    opposed = both = 0
    for name, W in base.items():
        dW = np.stack([(family[n][name].double() - W.double()).numpy() for n in names])
        kept = np.stack([trimmed(one) for one in dW])
        elected = np.sign(kept.sum(axis=0))
        agree = (np.sign(kept) == elected) & (kept != 0)
        merged = (kept * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)
        inner += [(merged * one).sum() for one in dW]
        own += [(one * one).sum() for one in dW]
        merged_sq += (merged * merged).sum()
        both += int(((kept[0] != 0) & (kept[1] != 0)).sum())
        opposed += int((kept[0] * kept[1] < 0).sum())
    ties = result.forecast()
    ties = ties[ties["method"] == "ties"]
    assert ties["kept"].to_numpy() == pytest.approx(inner / own, rel=0.01)
    assert ties["relative_length"].iloc[0] == pytest.approx(
        np.sqrt(merged_sq / own.mean()), rel=0.01
    )
    row = result.by().iloc[0]
    assert row["sign_conflict"] == pytest.approx(opposed / both, rel=0.02)
    assert row["kept_lift"] == pytest.approx(1, abs=0.1)


def test_the_forecast_is_what_merging_does(base: State, family: dict[str, State]) -> None:
    D = np.stack([flat(base, state) for state in family.values()])
    measured = ftdiff.similarity([*family.values()], base)
    forecast = measured.forecast(drop=0.5).set_index(["method", "name"])
    average = D.mean(axis=0)
    own = np.square(D).sum(axis=1)
    assert forecast.loc["average", "kept"].to_numpy() == pytest.approx(D @ average / own)
    length = np.linalg.norm(average) / np.sqrt(own.mean())
    assert forecast.loc["average", "relative_length"].to_numpy() == pytest.approx(length)
    draw = np.random.default_rng(0)
    squares = []
    for _ in range(40):
        dropped = D * (draw.random(D.shape) >= 0.5) / 0.5
        squares.append(np.square(dropped.mean(axis=0)).sum())
    expected = forecast.loc["dare", "relative_length"].iloc[0] ** 2 * own.mean()
    assert expected == pytest.approx(np.mean(squares), rel=0.01)
    with pytest.raises(BadCall, match="share"):
        measured.forecast(drop=1.0)


def test_rounding_is_said_where_a_change_is_under_its_floor(tmp_path: Path) -> None:
    base = llama(dtype=torch.bfloat16)
    near = [nudge(base, by=0.002, seed=seed) for seed in (1, 2)]
    result = ftdiff.similarity(near, base)
    assert (result.by()["snr"] < 10).all()
    assert [one.rule for one in result.findings()].count("under-the-floor") == 2
    far = ftdiff.similarity([nudge(base, by=0.5, seed=seed) for seed in (1, 2)], base)
    assert "under-the-floor" not in {one.rule for one in far.findings()}


def test_the_floor_is_that_of_compare(fixtures: Path) -> None:
    result = ftdiff.similarity([fixtures / "full", fixtures / "lora"], fixtures / "base")
    snr = result.table("snr").iloc[0, 0]
    whole = ftdiff.compare(fixtures / "base", fixtures / "full").whole(vectors=True)
    assert snr == pytest.approx((whole["relative_norm"] / whole["precision_floor"]) ** 2, rel=0.02)


@pytest.fixture
def workers() -> Iterator[list[Any]]:
    with (
        ThreadPoolExecutor(3) as threads,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes,
    ):
        yield [None, threads, processes]


def test_no_bit_depends_on_the_workers(fixtures: Path, workers: list[Any]) -> None:
    tuned = [fixtures / name for name in ("lora", "full", "rslora")]
    sums = [
        ftdiff.similarity(tuned, fixtures / "base", ["signs"], executor).sums
        for executor in workers
    ]
    for other in sums[1:]:
        for name, array in sums[0].items():
            assert array.tobytes() == other[name].tobytes(), name


@given(st.permutations(range(5)))
@settings(max_examples=6, deadline=None)
def test_the_order_given_changes_no_cosine(
    base: State, family: dict[str, State], order: list[int]
) -> None:
    states = [*family.values()]
    one = ftdiff.similarity(states, base).matrix.to_numpy()
    other = ftdiff.similarity([states[i] for i in order], base).matrix.to_numpy()
    assert other == pytest.approx(one[np.ix_(order, order)], abs=1e-12)


def test_what_is_saved_is_read_back_to_the_bit(found: Similarity, tmp_path: Path) -> None:
    again = Similarity.load(found.save(tmp_path / "one.json"))
    assert again.names == found.names and again.about == found.about
    assert again.tensors.equals(found.tensors)
    assert again.by("component").equals(found.by("component"))
    assert found.save(tmp_path / "one.csv").read_text().startswith("tensor,stack,layer")
    with pytest.raises(BadCall, match=r"\.json, \.csv or \.parquet"):
        found.save(tmp_path / "one.xlsx")


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(format="ftdiff.similarity/9"),
        lambda d: d.update(names=["a"]),
        lambda d: d["sums"]["inner"].update(shape=[10**9, 10**9, 10**9]),
        lambda d: d["sums"]["inner"].update(values=["x"]),
        lambda d: d["tensors"].pop(),
        lambda d: d.pop("tensors"),
        lambda d: d.update(about=[]),
        lambda d: d["sums"]["inner"].update(shape=[-1, 5, 5]),
        lambda d: d["sums"]["inner"].update(shape=[2, 200_000, 200_000], values=[None] * 200_000),
        lambda d: d["sums"].pop("floor_sq"),
        lambda d: d["sums"].pop("signs.kept_both"),
        lambda d: d["sums"].update(more=d["sums"]["inner"]),
        lambda d: d.update(names=["a", "a", "b", "c", "d"]),
        lambda d: d["about"].update(unreadable=[1]),
        lambda d: d["about"].update(nonfinite={"a": {}}),
        lambda d: d["about"].update(nonfinite={"a": {"x": "y"}}),
        lambda d: d["about"].pop("base"),
        lambda d: d["tensors"][0].update(numel=None),
    ],
)
def test_a_damaged_file_is_one_line(found: Similarity, tmp_path: Path, damage: Any) -> None:
    path = found.save(tmp_path / "one.json")
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BadFile, match=r"one\.json"):
        Similarity.load(path)


def test_one_truncated_fine_tune_costs_its_tensors_and_nothing_else(
    base: State, family: dict[str, State], tmp_path: Path
) -> None:
    paths = {n: write_model(tmp_path / n, s, shards=3) for n, s in [*family.items()][:3]}
    root = write_model(tmp_path / "base", base)
    opened = [ftdiff.open_tuned(path) for path in paths.values()]
    shard = sorted((tmp_path / "a2").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-64])
    result = ftdiff.similarity(opened, root)
    lost = result.about["unreadable"]["a2"]
    assert {*result.about["unreadable"]} == {"a2"} and 0 < len(lost) < len(base)
    assert result.findings()[0].severity == "alarm"
    gone = result.tensors["tensor"].isin([*lost]).to_numpy()
    assert np.isnan(result.sums["inner"][gone][:, 1]).all()
    assert np.isfinite(result.sums["inner"][~gone]).all()
    assert np.isfinite(result.matrix.to_numpy()).all()


def test_not_a_number_costs_its_entry(base: State) -> None:
    tuned = [dict(nudge(base, seed=seed)) for seed in (1, 2)]
    whole = ftdiff.similarity(tuned, base).matrix.iloc[0, 1]
    name = "model.layers.1.mlp.up_proj.weight"
    broken = tuned[0][name].clone()
    broken[0, 0] = float("nan")
    result = ftdiff.similarity([{**tuned[0], name: broken}, tuned[1]], base)
    assert result.about["nonfinite"] == {result.names[0]: {name: 1}}
    assert result.findings()[0].rule == "nonfinite"
    assert result.matrix.iloc[0, 1] == pytest.approx(whole, abs=1e-3)


def test_a_missing_tensor_is_unknown_not_zero(base: State) -> None:
    one, two = dict(nudge(base, seed=1)), dict(nudge(base, seed=1))
    name = "model.layers.1.mlp.up_proj.weight"
    del two[name]
    result = ftdiff.similarity([one, two], base)
    at = result.tensors["tensor"].tolist().index(name)
    assert np.isnan(result.sums["inner"][at, 0, 1]) and np.isfinite(result.sums["inner"][at, 0, 0])
    assert result.matrix.iloc[0, 1] == pytest.approx(1)
    assert name in result.about["apart"][result.names[1]]


def test_a_grown_vocabulary_is_compared_over_the_rows_that_all_have(base: State) -> None:
    one, two = dict(nudge(base, seed=1)), dict(nudge(base, seed=2))
    embedding = "model.embed_tokens.weight"
    two[embedding] = torch.cat([two[embedding], torch.ones(4, two[embedding].shape[1])])
    result = ftdiff.similarity([one, two], base)
    at = result.tensors["tensor"].tolist().index(embedding)
    assert result.tensors["shape"][at] == tuple(base[embedding].shape)
    plain = ftdiff.similarity([one, dict(nudge(base, seed=2))], base)
    assert result.matrix.equals(plain.matrix)


def test_wrong_calls_say_what_to_do(fixtures: Path, base: State) -> None:
    lora = fixtures / "lora"
    with pytest.raises(BadCall, match="at least 2"):
        ftdiff.similarity([lora])
    with pytest.raises(BadCall, match="--base"):
        ftdiff.similarity([lora, fixtures / "full"])
    with pytest.raises(UnknownName, match="did you mean 'signs'"):
        ftdiff.similarity([lora, lora], measures=["sign"])
    with pytest.raises(Mismatch):
        ftdiff.similarity([lora, dict(nudge(base))], base)
    result = ftdiff.similarity([lora, fixtures / "rslora"])
    with pytest.raises(UnknownName, match="no column"):
        result.by("depth")
    with pytest.raises(UnknownName, match="no number"):
        result.table("cosines")
    with pytest.raises(BadCall, match="no tensor has"):
        result.table(layer=999)


def test_names_are_the_ends_of_paths_that_tell_them_apart() -> None:
    from ftdiff.analyses.pairwise import labels

    assert labels(["x/a/step-1", "x/b/step-1"]) == ("a/step-1", "b/step-1")
    assert labels(["same", "same"]) == ("same #1", "same #2")
    assert labels(["evil\nname", "x"]) == ("evil\\nname", "x")
    assert len({*labels(["a", "a", "a #1"])}) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_kernel_gives_the_products_that_float64_gives(dtype: torch.dtype) -> None:
    root = llama(dtype=dtype)
    tuned = [nudge(root, by=0.2, seed=seed) for seed in range(3)]
    near = ftdiff.similarity(tuned, root).sums["inner"]
    exact = ftdiff.similarity(tuned, root, ["masks"]).sums["inner"]  # which reads all entries
    scale = np.sqrt(np.einsum("tii,tjj->tij", exact, exact))
    within = 2e-8 if dtype is torch.float32 else 1e-13  # differences are rounded to float32
    assert near / scale == pytest.approx(exact / scale, abs=within)


class Counted:
    """A tensor that counts how often its entries are lent."""

    def __init__(self, array: Any) -> None:
        self.inside, self.lent = ArrayTensor(array), 0

    shape = property(lambda self: self.inside.shape)
    dtype = property(lambda self: self.inside.dtype)
    storage = property(lambda self: self.inside.storage)

    def read(self, rows: slice = slice(None)) -> Any:
        self.lent += self.inside.read(rows).size
        return self.inside.read(rows)

    def window(self, start: int, stop: int) -> Any:
        self.lent += stop - start
        return self.inside.window(start, stop)


@pytest.mark.parametrize("count", [2, 10, 30])
def test_each_file_is_read_once_whatever_their_number(count: int) -> None:
    name, draw = "layers.0.mlp.up_proj.weight", np.random.default_rng(0)
    W = draw.normal(size=(300, 400)).astype(np.float32)
    fine = [Counted(W + 0.1 * draw.normal(size=W.shape).astype(np.float32)) for _ in range(count)]
    tuned = [Tuned({name: Replaced(one)}, f"run-{i}", "full") for i, one in enumerate(fine)]
    ftdiff.similarity(tuned, {name: W})
    glance = 1 << 10  # whether its values lie on a coarser grid
    assert {one.lent for one in fine} == {W.size + glance}
    ftdiff.trajectory({name: W}, tuned)
    assert {one.lent for one in fine} == {2 * W.size + glance}


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
def test_a_real_scheduler_gives_the_same_bits(fixtures: Path) -> None:
    import distributed

    tuned = [fixtures / name for name in ("lora", "full")]
    here = ftdiff.similarity(tuned, fixtures / "base")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = ftdiff.similarity(tuned, fixtures / "base", (), client.get_executor(pure=False))
    assert here.sums["inner"].tobytes() == there.sums["inner"].tobytes()


def test_changed_entries_that_coincide_are_lifted_above_chance(base: State) -> None:
    draw = torch.Generator().manual_seed(0)
    common = {k: torch.rand(W.shape, generator=draw) < 0.1 for k, W in base.items()}
    tuned = []
    for _ in range(2):
        mask = {k: common[k] | (torch.rand(W.shape, generator=draw) < 0.1) for k, W in base.items()}
        tuned.append({k: W + mask[k] * 0.01 for k, W in base.items()})
    row = ftdiff.similarity(tuned, base, ["masks"]).by().iloc[0]
    assert row["mask_lift"] == pytest.approx((0.1 + 0.9 * 0.01) / 0.19**2, rel=0.1)
    assert row["mask_jaccard"] > 3 * row["mask_jaccard_null"]


def test_a_change_that_is_not_finite_anywhere_is_not_called_dead(base: State) -> None:
    broken = {name: W * float("nan") for name, W in base.items()}
    result = ftdiff.similarity([broken, nudge(base)], base)
    assert [one.rule for one in result.findings()] == ["nonfinite"]


def test_a_change_that_overflows_is_left_out_and_said(tmp_path: Path) -> None:
    name = "layers.0.mlp.up_proj.weight"
    W = np.random.default_rng(0).normal(size=(8, 8))
    result = ftdiff.similarity([{name: W * 1e200}, {name: W + 1}], {name: W}, ["all"])
    assert result.findings()[0].rule == "unreadable" and "overflows" in result.findings()[0].message
    assert Similarity.load(result.save(tmp_path / "one.json")).matrix.equals(result.matrix)
    run = ftdiff.trajectory({name: W}, [{name: W + 1}, {name: W * 1e200}])
    assert run.findings()[0].rule == "unreadable" and run.save(tmp_path / "run.json").exists()


def test_adapters_whose_names_have_nothing_in_common_need_a_base(
    fixtures: Path, tmp_path: Path
) -> None:
    opened = ftdiff.open_tuned(fixtures / "lora")
    foreign = Tuned({f"far.{k}": v for k, v in opened.recipes.items()}, "foreign", "lora")
    foreign = Tuned(
        {name.replace("layers", "blocks"): recipe for name, recipe in foreign.recipes.items()},
        "foreign",
        "lora",
    )
    with pytest.raises(Mismatch, match="give --base"):
        ftdiff.similarity([opened, foreign])


def test_a_tensor_that_one_lacks_costs_no_number_of_the_others(base: State) -> None:
    tuned = [dict(nudge(base, seed=seed)) for seed in range(3)]
    del tuned[2]["model.layers.1.mlp.up_proj.weight"]
    result = ftdiff.similarity(tuned, base, ["masks", "signs"]).by()
    for number in ("mask_jaccard", "mask_lift", "sign_conflict", "kept_lift"):
        assert np.isfinite(result[number]).all(), number
    assert result["mask_jaccard"].to_numpy() == pytest.approx(1, abs=0.02)


def test_what_could_not_be_read_is_not_called_dead(fixtures: Path) -> None:
    lora = ftdiff.open_tuned(fixtures / "lora")
    lost = Tuned({n: Unreadable(r.shape, "lost") for n, r in lora.recipes.items()}, "lost", "lora")
    result = ftdiff.similarity([lora, lost])
    assert {one.rule for one in result.findings()} == {"unreadable"}


def test_many_copies_are_each_named_once(base: State) -> None:
    copies = [nudge(base, seed=1) for _ in range(5)]
    said = [one.rule for one in ftdiff.similarity(copies, base).findings()]
    assert said.count("duplicate") == 4


UP = "model.layers.0.mlp.up_proj.weight"


def rounded(
    base: torch.Tensor, size: float, cosine: float, *dtypes: torch.dtype
) -> tuple[State, list[State]]:
    """A base, and changes of this relative size and true cosine, stored in these dtypes."""
    draw = torch.Generator().manual_seed(3)
    common, *own = torch.randn((1 + len(dtypes), *base.shape), generator=draw).double()
    tuned = []
    for change, dtype in zip(own, dtypes, strict=True):
        D = cosine**0.5 * common + (1 - cosine) ** 0.5 * change
        D *= size * base.double().norm() / D.norm()
        tuned.append({UP: (base.double() + D).to(dtype)})
    return {UP: base}, tuned


def weights(seed: int = 5) -> torch.Tensor:
    return 0.02 * torch.randn((300, 400), generator=torch.Generator().manual_seed(seed))


BF16, F16 = torch.bfloat16, torch.float16


@pytest.mark.parametrize("widened", [False, True])
@pytest.mark.parametrize("size", [3e-4, 1e-3, 2e-3])
def test_rounding_of_one_dtype_pulls_a_cosine_towards_0_and_says_so(
    size: float, widened: bool
) -> None:
    grid = weights().to(BF16)
    W = grid.float() if widened else grid  # a wider dtype whose numbers are on the grid
    for true in (0.0, 0.3):
        result = ftdiff.similarity(*reversed(rounded(W, size, true, BF16, BF16)))
        stored = result.matrix.iloc[0, 1]
        assert abs(stored) < 0.01 if not true else 0.17 < stored < 0.24
        assert result.by()["rounding_cosine"].iloc[0] == 0
        floor = [one for one in result.findings() if one.rule == "under-the-floor"]
        assert [one.evidence["towards"] for one in floor] == [0, 0]
        snr = result.by()["snr"].iloc[0]
        least = min(floor, key=lambda one: one.evidence["snr"])
        assert f"its squared change is {snr:.2g} times the rounding error" in least.message
        assert "pulled towards 0" in least.message and "towards 1" not in least.message
    assert result.table("snr").iloc[0, 0] < 10


@pytest.mark.parametrize(("size", "least"), [(1e-5, 0.98), (3e-4, 0.65), (1e-3, 0.2)])
def test_the_same_rounding_of_the_base_pulls_unrelated_ones_towards_1_and_says_so(
    size: float, least: float
) -> None:
    for true in (0.0, 0.3):
        base, tuned = rounded(weights(), size, true, BF16, BF16)
        result = ftdiff.similarity(tuned, base)
        stored, bound = result.matrix.iloc[0, 1], result.by()["rounding_cosine"].iloc[0]
        assert stored > true + (least if not true else 0.05)
        error = (base[UP].to(BF16).double() - base[UP].double()).square().sum()
        norms = np.sqrt(np.prod(result.sums["inner"][0].diagonal()))
        assert bound == pytest.approx(float(error) / norms, rel=1e-6)
        if not true:
            assert stored < bound + 0.01
        for one in (one for one in result.findings() if one.rule == "under-the-floor"):
            assert one.evidence["towards"] == 1
            assert "unrelated changes towards 1 (up to" in one.message
            assert f"as large as {one.evidence['base_rounding']:.0%}" in one.message


@pytest.mark.parametrize("dtype", [BF16, F16], ids=["bf16", "f16"])
@pytest.mark.parametrize("on_grid", [True, False], ids=["on the grid", "off the grid"])
@pytest.mark.parametrize("size", [3e-4, 1e-3, 3e-3, 1e-2])
def test_the_cosine_before_rounding_is_within_its_error(
    size: float, on_grid: bool, dtype: torch.dtype
) -> None:
    W = weights().to(dtype) if on_grid else weights()
    for true in (0.0, 0.3, 0.9):
        base, tuned = rounded(W, size, true, dtype, dtype)
        row = ftdiff.similarity(tuned, base).by().iloc[0]
        error = row["cosine_unrounded_error"]
        assert 0 < error < 0.03 / (1e3 * min(size, 1e-3))
        own = 2 * (1 - true**2) / W.numel() ** 0.5  # of the draw that was planted
        assert row["cosine_unrounded"] == pytest.approx(true, abs=3 * error + own)


def test_what_was_not_rounded_has_the_stored_cosine_to_the_bit() -> None:
    W = weights()
    change = torch.randn((2, *W.shape), generator=torch.Generator().manual_seed(4))
    tuned = [{UP: W + 1e-5 * (change[0] + one)} for one in change]
    row = ftdiff.similarity(tuned, {UP: W}).by().iloc[0]
    assert row["cosine_unrounded"] == row["cosine"] and row["cosine_unrounded_error"] == 0


def test_a_file_of_float32_whose_values_lie_on_a_coarser_grid_is_rounded_all_the_same() -> None:
    base, tuned = rounded(weights().to(BF16), 1e-3, 0.3, BF16, BF16)
    wide = [{UP: state[UP].float()} for state in tuned]
    found = ftdiff.similarity(wide, base).by().iloc[0]
    assert found["cosine_unrounded"] == ftdiff.similarity(tuned, base).by()["cosine_unrounded"][0]
    assert found["cosine"] < 0.24 and found["cosine_unrounded"] > 0.26


def test_what_moved_by_the_size_of_its_weights_has_no_cosine_before_rounding() -> None:
    W = weights().to(BF16)
    draw = torch.randn((2, *W.shape), generator=torch.Generator().manual_seed(4)).double()
    sized = (W.double().abs() > 0.01) * 1e-2 + 1e-4  # small weights hardly move
    tuned = [{UP: (W.double() * (1 + sized * one)).to(BF16)} for one in draw]
    row = ftdiff.similarity(tuned, {UP: W}).by().iloc[0]
    assert np.isnan(row["cosine_unrounded"]) and np.isfinite(row["cosine"])


def test_the_cosine_before_rounding_is_said_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    result = ftdiff.similarity(*reversed(rounded(weights().to(BF16), 1e-3, 0.3, BF16, BF16)))
    said = next(one for one in result.findings() if one.rule == "before-rounding")
    assert re.search(r"is 0\.[23]\d\d ± 0\.0\d+, stored 0\.2", said.message)
    show_similarity(result)
    assert "before rounding, estimated" in capsys.readouterr().out
    figure = ftdiff.plots.similarity(result)
    assert any("rounding biases 1 pair" in one.get_text() for one in figure.findobj(Text))


def test_a_file_without_the_cosine_before_rounding_is_read(tmp_path: Path) -> None:
    result = ftdiff.similarity(*reversed(rounded(weights().to(BF16), 1e-3, 0.3, BF16, BF16)))
    path = result.save(tmp_path / "one.json")
    assert Similarity.load(path).by().equals(result.by())
    document = json.loads(path.read_text())
    del document["sums"]["unrounded"], document["sums"]["unrounded_error_sq"]
    path.write_text(json.dumps(document))
    old = Similarity.load(path)
    assert old.matrix.equals(result.matrix) and old.by()["cosine_unrounded"].isna().all()
    assert "before-rounding" not in {one.rule for one in old.findings()}


def test_a_dequantised_base_is_off_the_grid_of_what_is_stored_after_it() -> None:
    parts, values = four_bits("nf4")(UP, weights())
    assert values.dtype == torch.float32
    tuned = rounded(values, 1e-4, 0.0, BF16, BF16)[1]
    row = ftdiff.similarity(tuned, dict(parts)).by().iloc[0]
    assert row["rounding_cosine"] > 0.9 and row["cosine"] > 0.8 and row["snr"] < 10


def test_above_the_floor_no_rounding_is_spoken_of() -> None:
    for W in (weights(), weights().to(BF16)):
        base, tuned = rounded(W, 8e-3, 0.3, BF16, BF16, BF16)
        result = ftdiff.similarity(tuned, base)
        assert result.matrix.iloc[0, 1] == pytest.approx(0.3, abs=0.03)
        assert not [one for one in result.findings() if "round" in one.message]


def test_the_roundings_of_a_base_to_two_dtypes_have_little_in_common() -> None:
    base, tuned = rounded(weights(), 1e-6, 0.0, BF16, F16, F16)
    pairs = ftdiff.similarity(tuned, base).by().set_index(["a", "b"])
    row, same = pairs.iloc[0], pairs.iloc[2]
    assert row["rounding_cosine"] == 0 and row["cosine"] == pytest.approx(-1 / 16, abs=0.02)
    assert same["rounding_cosine"] > 0.99 and same["cosine"] > 0.95


def test_changes_that_only_share_a_rounding_are_no_duplicates() -> None:
    base, tuned = rounded(weights(), 2e-7, 0.0, BF16, BF16)
    result = ftdiff.similarity(tuned, base)
    assert 0.999 < result.matrix.iloc[0, 1] < 1
    assert result.duplicates.empty
    alike = [one for one in result.findings() if one.rule == "alike-by-rounding"]
    assert len(alike) == 1 and "does not make them one change" in alike[0].message
    assert "duplicate" not in {one.rule for one in result.findings()}
    copies = ftdiff.similarity([tuned[0], tuned[0]], base)
    said = next(one for one in copies.findings() if one.rule == "duplicate")
    assert len(copies.duplicates) == 1 and "the same in both, pulls unrelated ones" in said.message
    grid = ftdiff.similarity([tuned[0]] * 2, {UP: (base[UP] * 1.001).to(BF16)})
    assert len(grid.duplicates) == 1


def test_groups_of_biased_cosines_are_a_caution() -> None:
    base, tuned = rounded(weights(), 1e-4, 0.0, BF16, BF16)
    far = rounded(weights(), 0.05, 0.0, BF16, BF16, BF16)[1][2]
    result = ftdiff.similarity([*tuned, far], base)
    said = next(one for one in result.findings() if one.rule == "groups")
    assert said.severity == "caution"
    assert [{*pair} for pair in said.evidence["biased"]] == [{*result.names[:2]}]
    assert "1 pair in them" in said.message and "towards 1" in said.message
    base, tuned = rounded(weights(), 0.05, 0.8, BF16, BF16)
    clear = ftdiff.similarity([*tuned, far], base)
    said = next(one for one in clear.findings() if one.rule == "groups")
    assert said.severity == "note" and not said.evidence["biased"]
    assert "round" not in said.message


def test_a_file_that_does_not_know_the_base_rounding_is_read_and_says_so(tmp_path: Path) -> None:
    base, tuned = rounded(weights(), 1e-3, 0.0, BF16, BF16)
    path = ftdiff.similarity(tuned, base).save(tmp_path / "one.json")
    whole = Similarity.load(path)
    document = json.loads(path.read_text())
    del document["sums"]["base_rounding_sq"]
    path.write_text(json.dumps(document))
    old = Similarity.load(path)
    assert old.matrix.equals(whole.matrix) and old.by()["rounding_cosine"].isna().all()
    said = next(one for one in old.findings() if one.rule == "under-the-floor")
    assert said.evidence["towards"] is None and "if the base has a wider dtype" in said.message


def test_what_no_one_else_is_like_under_the_floor_may_be_more_alike_than_stored() -> None:
    base, tuned = rounded(weights().to(BF16), 1e-3, 0.0, BF16, BF16)
    said = [one for one in ftdiff.similarity(tuned, base).findings() if one.rule == "unrelated"]
    assert len(said) == 2
    assert all("alike ones are pulled towards 0; before rounding it is" in x.message for x in said)
    mirrored = {UP: (2 * base[UP].double() - tuned[0][UP].double()).to(BF16)}
    result = ftdiff.similarity([tuned[0], mirrored], base)
    against = next(one for one in result.findings() if one.rule == "opposed")
    assert "alike ones are pulled towards 0; before rounding it is −1.000" in against.message
