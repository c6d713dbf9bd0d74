"""A run's path is that of dense arithmetic; later checkpoints are added unread; orders are told."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.analyses import pairwise as cohort
from ftdiff.analyses.pairwise.samples.sketch import SIZE
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.analyses.trajectory.checkpoint_order import ordered
from ftdiff.analyses.trajectory.path import growth
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadCall, BadFile, Mismatch, UnknownName
from tests.conftest import llama, nudge, write_model

State = dict[str, torch.Tensor]


def flat(base: State, tuned: State) -> Any:
    return np.concatenate([(tuned[k].double() - base[k].double()).numpy().ravel() for k in base])


def walked(base: State, count: int, *, seed: int = 0, keep: float = 0.5) -> list[State]:
    """A run whose every step keeps some of the one before."""
    draw = torch.Generator().manual_seed(seed)
    at, step = dict(base), {k: torch.zeros_like(W) for k, W in base.items()}
    states = []
    for _ in range(count):
        step = {k: keep * s + 0.01 * torch.randn(s.shape, generator=draw) for k, s in step.items()}
        at = {k: W + step[k] for k, W in at.items()}
        states.append(at)
    return states


@pytest.fixture(scope="module")
def base() -> State:
    return llama(dtype=torch.float32)


@pytest.fixture(scope="module")
def run(base: State) -> list[State]:
    return walked(base, 6)


@pytest.fixture(scope="module")
def found(base: State, run: list[State]) -> Trajectory:
    return ftdiff.trajectory(base, run)


def cos(a: Any, b: Any) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_path_is_that_of_all_entries_in_float64(
    base: State, run: list[State], found: Trajectory
) -> None:
    D = np.stack([flat(base, state) for state in run])
    steps = np.diff(np.vstack([np.zeros(D.shape[1]), D]), axis=0)
    W = np.concatenate([base[k].double().numpy().ravel() for k in base])
    length, step = np.linalg.norm(D, axis=1), np.linalg.norm(steps, axis=1)
    path = found.by()
    assert path["relative_norm"].to_numpy() == pytest.approx(length / np.linalg.norm(W), rel=1e-7)
    assert path["step_length"].to_numpy() == pytest.approx(step, rel=1e-8)
    assert path["efficiency"].to_numpy() == pytest.approx(length / np.cumsum(step), rel=1e-8)
    null = np.sqrt(np.cumsum(step**2)) / np.cumsum(step)
    assert path["efficiency_null"].to_numpy() == pytest.approx(null, rel=1e-8)
    turns = [cos(steps[t], steps[t - 1]) for t in range(1, 6)]
    assert path["step_cosine"].to_numpy()[1:] == pytest.approx(turns, abs=1e-8)
    final = [cos(D[t], D[-1]) for t in range(6)]
    assert path["cosine_final"].to_numpy() == pytest.approx(final, abs=1e-8)
    S = steps @ steps.T
    whole = found.growth().iloc[0]
    assert whole["dimension"] == pytest.approx(np.trace(S) ** 2 / np.square(S).sum(), rel=1e-8)


def test_groups_are_regrouped_exactly(base: State, run: list[State], found: Trajectory) -> None:
    names = [name for name in base if name.endswith("q_proj.weight")]
    few = {name: base[name] for name in names}
    part = found.by("component")
    part = part[part["component"] == "attn.q"]
    want = [np.linalg.norm(flat(few, {n: state[n] for n in names})) for state in run]
    assert part["displacement"].to_numpy() == pytest.approx(want, rel=1e-8)
    table = found.table(component="attn.q")
    assert [*table.index] == [0, 1, 2] and [*table.columns] == [1, 2, 3, 4, 5, 6]


def test_a_run_of_adapters_is_that_of_its_dense_changes(fixtures: Path) -> None:
    run = fixtures / "run"
    found = ftdiff.trajectory(fixtures / "base", [run])
    assert found.steps == tuple(range(20, 161, 20))
    assert found.about["order"] == "global_step in trainer_state.json"
    opened = ftdiff.open_checkpoint(fixtures / "base")
    D = []
    for step in (20, 100, 160):
        tuned = ftdiff.open_tuned(run / f"checkpoint-{step}", opened)
        flats = [tuned.recipes[n].delta(None).dense().ravel() for n in sorted(tuned.recipes)]
        D.append(np.concatenate(flats))
    path = found.by().set_index("step")
    assert path.loc[100, "displacement"] == pytest.approx(np.linalg.norm(D[1]), rel=1e-6)
    assert path.loc[20, "cosine_final"] == pytest.approx(cos(D[0], D[2]), abs=1e-6)
    diff = ftdiff.compare(fixtures / "base", run / "checkpoint-160", ["effective_rank"])
    ranks = diff.frame["effective_rank"].dropna()
    assert path.loc[160, "effective_rank"] == pytest.approx(ranks.mean(), rel=1e-9)
    assert (path["effective_rank"] <= 2).all()
    assert (path["relative_norm"].diff().dropna() > 0).all()


def test_a_later_checkpoint_is_added_without_reading_the_earlier_ones(
    base: State, run: list[State], found: Trajectory, tmp_path: Path
) -> None:
    root = write_model(tmp_path / "base", base)
    paths = [write_model(tmp_path / f"step-{i}", state) for i, state in enumerate(run, 1)]
    saved = ftdiff.trajectory(root, paths[:5]).save(tmp_path / "early.json")
    for path in paths[:5]:
        shutil.rmtree(path)
    whole = ftdiff.trajectory(root, paths[5:], earlier=saved)
    exact, guessed = found.by(), whole.by()
    assert whole.steps == (1, 2, 3, 4, 5, 6)
    assert guessed["estimated"].tolist() == [0, 0, 0, 0, 0, 1]
    assert guessed["displacement"].to_numpy() == pytest.approx(exact["displacement"], rel=1e-9)
    assert guessed["step_length"].iloc[5] == pytest.approx(exact["step_length"].iloc[5], rel=0.05)
    assert guessed["step_cosine"].iloc[5] == pytest.approx(exact["step_cosine"].iloc[5], abs=0.08)
    assert guessed["cosine_final"].to_numpy() == pytest.approx(exact["cosine_final"], abs=0.08)
    assert np.isnan(whole.growth()["dimension"].iloc[0])
    again = Trajectory.load(whole.save(tmp_path / "late.json"))
    assert again.by().equals(guessed)


def test_what_is_added_has_to_fit(base: State, run: list[State], tmp_path: Path) -> None:
    root = write_model(tmp_path / "base", base)
    paths = [write_model(tmp_path / f"step-{i}", state) for i, state in enumerate(run, 1)]
    early = ftdiff.trajectory(root, paths[2:4])
    with pytest.raises(Mismatch, match="step 2 is not after step 4"):
        ftdiff.trajectory(root, paths[1:2], earlier=early)
    other = write_model(tmp_path / "other", {k: W * 1.5 for k, W in base.items()})
    with pytest.raises(Mismatch, match="another base"):
        ftdiff.trajectory(other, paths[4:5], earlier=early)


def test_a_run_without_a_tensor_in_common_is_not_added(fixtures: Path) -> None:
    early = ftdiff.trajectory(None, [fixtures / "run" / "checkpoint-20"])
    tuned = ftdiff.open_tuned(fixtures / "run" / "checkpoint-40")
    other = Tuned({f"far.{n}": r for n, r in tuned.recipes.items()}, "other", "lora")
    with pytest.raises(Mismatch, match="no tensor in common"):
        ftdiff.trajectory(None, [other], earlier=early)


def test_checkpoints_added_in_the_order_given_come_after_the_last(
    base: State, run: list[State]
) -> None:
    early = ftdiff.trajectory(base, run[:3])
    assert ftdiff.trajectory(base, run[3:5], earlier=early, order="given").steps == (1, 2, 3, 4, 5)


def test_steps_that_are_known_are_taken_as_they_are(base: State, run: list[State]) -> None:
    early = ftdiff.trajectory(base, run[:2], steps=[10, 30])
    late = ftdiff.trajectory(base, run[2:3], steps=[31], earlier=early)
    assert (early.steps, late.steps) == ((10, 30), (10, 30, 31))
    for wrong in ([10], [30, 10], [5, 5], [-1, 2]):
        with pytest.raises(BadCall, match=r"one for each of 2 checkpoints, rising"):
            ftdiff.trajectory(base, run[:2], steps=wrong)
    with pytest.raises(Mismatch, match="step 30 is not after step 30"):
        ftdiff.trajectory(base, run[2:3], steps=[30], earlier=early)


def test_a_run_that_is_cut_is_the_run_that_was_measured_so_far(
    base: State, run: list[State], found: Trajectory, tmp_path: Path
) -> None:
    early = found.until(4)
    assert early is not None and early.steps == (1, 2, 3, 4)
    assert early.frame.equals(ftdiff.trajectory(base, run[:4]).frame)
    assert len(early.about["sources"]["tuned"]) == 4
    assert Trajectory.load(early.save(tmp_path / "early.json")).frame.equals(early.frame)
    assert ftdiff.trajectory(base, run[4:5], steps=[5], earlier=early).steps == (1, 2, 3, 4, 5)
    whole = found.until(99)
    assert whole is not None and whole.frame.equals(found.frame)
    assert found.until(0) is None


def test_a_checkpoint_given_twice_is_no_order(fixtures: Path) -> None:
    run = fixtures / "run"
    with pytest.raises(BadCall, match="two have the same step"):
        ftdiff.trajectory(fixtures / "base", [run, run / "checkpoint-20"])


def test_an_adapter_that_targets_more_later_left_it_as_it_was_before(fixtures: Path) -> None:
    early = ftdiff.trajectory(fixtures / "base", [fixtures / "run" / "checkpoint-20"])
    late = ftdiff.trajectory(fixtures / "base", [fixtures / "lora"], order="given", earlier=None)
    late = Trajectory(late.names, (999,), late.tensors, late.sums, late.about)
    both = early.followed_by(late).by("component").set_index(["component", "step"])
    assert both.loc[("mlp.up", 20), "displacement"] == 0
    assert both.loc[("mlp.up", 999), "displacement"] > 0
    assert both.loc[("attn.q", 20), "displacement"] > 0


@given(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_sketch_of_factors_is_that_of_their_product(m: int, n: int, r: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    B, A = draw.normal(size=(m, r)).astype(np.float32), draw.normal(size=(r, n)).astype(np.float32)
    name = "layers.0.mlp.up_proj.weight"
    dense = {name: (B.astype(np.float64) @ A)}
    zero = {name: np.zeros((m, n))}
    ours = ftdiff.open_tuned(dense, ftdiff.open_checkpoint(zero))
    from ftdiff.deltas.recipes import Added, Product, Tuned
    from ftdiff.tensors import ArrayTensor

    recipe = Added((m, n), Product(ArrayTensor(A), ArrayTensor(B), 1.0))
    thin = Tuned({name: recipe}, "thin", "lora")
    asked = cohort.Asked(probes=("sketch",))
    for fine in (ours, thin):
        line = cohort.line_up(zero, [fine], least=1).lines[0]
        got = cohort.measure(line, asked).probes["sketch"]["sums"][0]
        if fine is ours:
            want = got
    assert got == pytest.approx(want, abs=1e-5 * np.linalg.norm(dense[name]))


def test_sketches_estimate_within_the_error_that_they_state() -> None:
    name = "layers.0.mlp.up_proj.weight"
    draw = np.random.default_rng(0)
    zero = {name: np.zeros((64, 80))}
    asked = cohort.Asked(probes=("sketch",))
    errors = []
    for _ in range(60):
        pair = [{name: draw.normal(size=(64, 80))} for _ in range(2)]
        one = cohort.measure(cohort.line_up(zero, pair).lines[0], asked)
        S = one.probes["sketch"]["sums"]
        scale = np.sqrt(np.outer(one.inner.diagonal(), one.inner.diagonal()))
        errors.append((S @ S.T - one.inner) / scale)
    spread = np.sqrt(np.square(errors).mean(axis=0))
    assert (spread < 1.3 * np.sqrt(2 / SIZE)).all()
    assert np.abs(np.mean(errors, axis=0)).max() < 4 * np.sqrt(2 / SIZE / 60)


def test_growth_tells_a_line_from_a_walk() -> None:
    zero = {"layers.0.mlp.up_proj.weight": np.zeros((64, 64))}
    draw = np.random.default_rng(1)
    way = draw.normal(size=(64, 64))
    line = [dict.fromkeys(zero, t * way) for t in range(1, 9)]
    steps = np.cumsum(draw.normal(size=(8, 64, 64)), axis=0)
    walk = [dict.fromkeys(zero, W) for W in steps]
    straight, random = (ftdiff.trajectory(zero, run) for run in (line, walk))
    assert straight.growth()["exponent"].iloc[0] == pytest.approx(1)
    assert straight.growth()["dimension"].iloc[0] == pytest.approx(1)
    assert straight.by()["efficiency"].iloc[-1] == pytest.approx(1)
    assert random.growth()["exponent"].iloc[0] == pytest.approx(0.5, abs=0.05)
    assert random.growth()["dimension"].iloc[0] == pytest.approx(8, rel=0.1)
    last = random.by().iloc[-1]
    assert last["efficiency"] == pytest.approx(last["efficiency_null"], rel=0.05)
    assert abs(random.by()["step_cosine"].iloc[2]) < 5 * random.by()["cosine_null"].iloc[2]
    assert "drift" in {one.rule for one in straight.findings()}
    assert "drift" not in {one.rule for one in random.findings()}
    assert np.isnan(growth(np.array([1.0, 2.0]), np.array([1.0, 2.0]))[0])


def planted(lengths: list[float]) -> Trajectory:
    """A run along one direction, at these lengths."""
    name = "layers.0.mlp.up_proj.weight"
    way = np.random.default_rng(2).normal(size=(16, 16))
    base = {name: np.random.default_rng(3).normal(size=(16, 16))}
    return ftdiff.trajectory(base, [{name: base[name] + length * way} for length in lengths])


@pytest.mark.parametrize(
    ("lengths", "rule"),
    [
        ([0.9, 0.97, 0.98, 0.99, 1.0, 1.0001], "early-saturation"),
        ([1.0, 2.0, 2.0, 3.0], "standstill"),
        ([1.0, 2.0, 1.5, 1.7], "turned-back"),
        ([0.1, 0.2, 0.3, 1.0, 1.1], "jump"),
        ([1.0, 2.0, 3.0, 4.0], "growth"),
        ([1.0, -1.0, 1.0, -0.5, 0.1], "wander"),
    ],
)
def test_planted_shapes_are_said(lengths: list[float], rule: str) -> None:
    assert rule in {one.rule for one in planted(lengths).findings()}


def test_a_steady_run_is_no_jump_standstill_or_turn() -> None:
    rules = {one.rule for one in planted([1.0, 2.0, 3.0, 4.0, 5.0]).findings()}
    assert rules == {"growth", "drift"}


def test_a_change_under_the_floor_is_said() -> None:
    base = llama(dtype=torch.bfloat16)
    near = [nudge(base, by=0.002, seed=seed) for seed in (1, 2)]
    assert "under-the-floor" in {one.rule for one in ftdiff.trajectory(base, near).findings()}


def test_checkpoints_stand_in_the_order_of_training(fixtures: Path, tmp_path: Path) -> None:
    run = fixtures / "run"
    mixed = [run / f"checkpoint-{n}" for n in (100, 20, 60)]
    assert ordered(mixed)[1:] == ([20, 60, 100], "global_step in trainer_state.json")
    assert ordered(mixed, "given")[1] == [1, 2, 3]
    for path in mixed:
        shutil.copytree(path, tmp_path / path.name)
        (tmp_path / path.name / "trainer_state.json").unlink()
    bare = [tmp_path / path.name for path in mixed]
    assert ordered(bare)[1:] == ([20, 60, 100], "the last number in each name")
    with pytest.raises(BadCall, match="--order given"):
        ordered(bare, "trainer")
    with pytest.raises(BadCall, match="order="):
        ordered(bare, "backwards")  # type: ignore[arg-type]
    assert ordered([fixtures / "lora", fixtures / "full"])[1:] == ([1, 2], "the order given")
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text('{"global_step": "20"}')
    with pytest.raises(BadFile, match="global_step"):
        ordered(bare)


def test_no_bit_depends_on_the_workers(fixtures: Path) -> None:
    one = ftdiff.trajectory(fixtures / "base", [fixtures / "run"])
    with ThreadPoolExecutor(3) as threads:
        other = ftdiff.trajectory(fixtures / "base", [fixtures / "run"], executor=threads)
    for name, array in one.sums.items():
        assert array.tobytes() == other.sums[name].tobytes(), name


def test_one_truncated_checkpoint_costs_its_tensors(
    base: State, run: list[State], tmp_path: Path
) -> None:
    root = write_model(tmp_path / "base", base)
    paths = [write_model(tmp_path / f"step-{i}", s, shards=3) for i, s in enumerate(run[:3], 1)]
    opened = [ftdiff.open_tuned(path) for path in paths]
    shard = sorted((tmp_path / "step-2").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-64])
    found = ftdiff.trajectory(root, opened, order="given")
    assert found.findings()[0].rule == "unreadable"
    assert 0 < found.by()["tensors"].iloc[0] < len(base)
    assert np.isfinite(found.by()["displacement"]).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(format="ftdiff.trajectory/9"),
        lambda d: d.update(steps=[1]),
        lambda d: d["sketch"].update(float32="!!!"),
        lambda d: d["sketch"].update(shape=[1, 1, 1]),
        lambda d: d["sums"]["inner"].update(shape=[2, 2, 2]),
        lambda d: d.pop("about"),
        lambda d: d["about"].pop("sources"),
        lambda d: d["about"].update(order=3),
        lambda d: d["about"].update(unreadable=[1]),
        lambda d: d["about"].pop("base"),
        lambda d: d.update(steps=[6, 5, 4, 3, 2, 1]),
        lambda d: d["sums"].update(more=d["sums"]["base_sq"]),
        lambda d: d["sketch"].update(shape=[30, 6, 0], float32=""),
    ],
)
def test_a_damaged_file_is_one_line(found: Trajectory, tmp_path: Path, damage: Any) -> None:
    path = found.save(tmp_path / "one.json")
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BadFile, match=r"one\.json"):
        Trajectory.load(path)


def test_wrong_calls_say_what_to_do(found: Trajectory, fixtures: Path) -> None:
    with pytest.raises(BadCall, match="at least 1"):
        ftdiff.trajectory(fixtures / "base", [])
    with pytest.raises(BadCall, match="always there"):
        ftdiff.trajectory(fixtures / "base", [fixtures / "run"], ["relative_norm"])
    with pytest.raises(UnknownName, match="no column"):
        found.by("depth")
    with pytest.raises(UnknownName, match="no number"):
        found.table("length")
    with pytest.raises(BadCall, match="no layer has"):
        found.table(component="attn.z")
    with pytest.raises(BadCall, match=r"\.json, \.csv or \.parquet"):
        found.save("x.txt")


def test_without_a_base_there_are_lengths_and_no_ratios(fixtures: Path) -> None:
    found = ftdiff.trajectory(None, [fixtures / "run"]).by()
    assert found["relative_norm"].isna().all() and (found["displacement"] > 0).all()


BF16 = torch.bfloat16
UP = "model.layers.0.mlp.up_proj.weight"


def stored(start: float, step: float, count: int) -> tuple[State, list[State], Any]:
    """A run in bfloat16: a first change, then steps at right angles; relative sizes, true steps."""
    draw = torch.Generator().manual_seed(1)

    def change(size: float) -> torch.Tensor:
        D = torch.randn((300, 400), generator=draw).double()
        return size * norm * D / D.norm()

    W = (0.02 * torch.randn((300, 400), generator=draw)).to(BF16)
    norm = W.double().norm()
    at, states, steps = W.double(), [], []
    for i in range(count):
        steps.append(change(start if i == 0 else step))
        at = at + steps[-1]
        states.append({UP: at.to(BF16)})
    return {UP: W}, states, steps


def test_rounding_turns_steps_back_which_is_not_said() -> None:
    base, states, steps = stored(0.05, 1.5e-3, 6)
    assert abs(cos(steps[2].numpy().ravel(), steps[3].numpy().ravel())) < 0.01
    there = [flat({UP: states[i][UP]}, states[i + 1]) for i in (1, 2)]
    assert -0.5 < cos(*there) < -0.2  # what the stored steps give
    found = ftdiff.trajectory(base, states)
    path = found.by()
    assert (path["snr"] > 10).all() and (path["step_snr"].iloc[1:] < 10).all()
    assert path["step_cosine"].isna().all()
    rules = {one.rule: one for one in found.findings()}
    assert "turned-back" not in rules
    floor = rules["under-the-floor"]
    assert "cosine_final" not in floor.message
    assert "5 of 6 steps" in floor.message and "checkpoints (" not in floor.message
    assert floor.evidence["checkpoints"] == [] and len(floor.evidence["steps"]) == 5


def test_a_path_is_told_where_steps_under_the_floor_are_little_of_it() -> None:
    base, states, _ = stored(0.05, 1.5e-3, 6)
    efficiency = ftdiff.trajectory(base, states).by()["efficiency"].to_numpy()
    assert efficiency[:2] == pytest.approx(1, abs=0.06) and np.isfinite(efficiency).all()
    base, states, _ = stored(0.01, 1.5e-3, 6)
    growing = ftdiff.trajectory(base, states)
    assert np.isfinite(growing.by()["efficiency"].iloc[0])
    assert np.isnan(growing.by()["efficiency"].iloc[-1])
    assert growing.growth()[["efficiency", "dimension"]].isna().all(axis=None)


def test_under_the_floor_no_efficiency_turn_or_growth_is_told() -> None:
    base, states, _ = stored(3e-4, 3e-4, 6)
    found = ftdiff.trajectory(base, states)
    path, growth_ = found.by(), found.growth()
    assert path[["efficiency", "step_cosine"]].isna().all(axis=None)
    assert growth_[["exponent", "r_squared", "efficiency"]].isna().all(axis=None)
    assert (path["displacement"] > 0).all()
    said = found.findings()
    assert [one.rule for one in said] == ["under-the-floor"]
    assert "6 of 6 checkpoints" in said[0].message and "1 of 1 component at" in said[0].message
    assert "no efficiency, turn or growth" in said[0].message


def test_growth_is_fitted_to_what_stands_out_of_rounding() -> None:
    base = stored(0, 0, 1)[0]
    way = torch.randn((300, 400), generator=torch.Generator().manual_seed(9)).double()
    way *= base[UP].double().norm() / way.norm()
    sizes = [1e-4 * 2**i for i in range(10)]
    run = [{UP: (base[UP].double() + size * way).to(BF16)} for size in sizes]
    found = ftdiff.trajectory(base, run)
    clear = found.by()["snr"].to_numpy() > 10
    assert 3 <= clear.sum() <= 6
    lengths = found.by()["displacement"].to_numpy()
    want = growth(np.arange(1.0, 11.0)[clear], lengths[clear])
    assert found.growth()[["exponent", "r_squared"]].iloc[0].tolist() == [*want]
    floor = next(one for one in found.findings() if one.rule == "under-the-floor")
    assert f"{(~clear).sum()} of 10 checkpoints" in floor.message
    assert "their cosine_final is biased: rounding pulls it towards 0" in floor.message


def test_the_rounding_of_a_base_is_no_early_saturation() -> None:
    base = stored(0, 0, 1)[0]
    W = 1.0003 * base[UP].double()
    draw = torch.Generator().manual_seed(2)
    drift = [W + 4e-5 * i * W.std() * torch.randn(W.shape, generator=draw) for i in range(1, 7)]
    found = ftdiff.trajectory({UP: W.float()}, [{UP: D.to(BF16)} for D in drift])
    length = found.by()["displacement"].to_numpy()
    assert length[0] > 0.9 * length[-1]  # by the base's own rounding
    assert "early-saturation" not in {one.rule for one in found.findings()}


def test_a_jump_out_of_steps_under_the_floor_says_that_those_are_blurred() -> None:
    base, states, steps = stored(0.02, 1e-3, 5)
    far = sum(steps) + base[UP].double() + 2 * steps[0]
    run = [*states, {UP: far.to(BF16)}]
    jump = next(one for one in ftdiff.trajectory(base, run).findings() if one.rule == "jump")
    assert "the usual one is blurred by rounding)" in jump.message
    plain = next(one for one in planted([0.1, 0.2, 0.3, 1.0, 1.1]).findings() if one.rule == "jump")
    assert "rounding" not in plain.message
