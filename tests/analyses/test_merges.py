from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.errors import BadCall
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import State, linear, tuned
from tests.conftest import FIXTURES, write_model

W = planted.base()
WITH_AND_WITHOUT = pytest.mark.parametrize("base", [W, None], ids=["base", "no base"])


def coefficients(found: ftdiff.MergeOf) -> list[float]:
    return [*found.about["coefficients"].values()]


@WITH_AND_WITHOUT
@pytest.mark.parametrize("rel", [3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
def test_a_share_of_four_sevenths_is_found_at_any_size_of_change(
    rel: float, base: State | None
) -> None:
    parents = tuned(W, 2, rel)
    found = ftdiff.merge_of(linear(parents, [4 / 7, 3 / 7]), parents, base)
    assert (found.verdict, found.exit_code) == ("exactly", 0)
    weights = np.array([[*one] for one in found.frame["weights"]])
    assert np.abs(weights - [4 / 7, 3 / 7]).max() < 3e-4
    low, high = (np.array([[*one] for one in found.frame[name]]) for name in ("low", "high"))
    assert (low < [4 / 7, 3 / 7]).all() and (high > [4 / 7, 3 / 7]).all()


def test_plain_least_squares_would_be_biased() -> None:
    A, B = tuned(W, 2, 1e-3)
    M = linear([A, B], [4 / 7, 3 / 7])
    d, e, y = (
        torch.cat([(one[name].double() - W[name].double()).ravel() for name in W])
        for one in (A, B, M)
    )
    plain = torch.linalg.lstsq(torch.stack([d, e], 1), y[:, None]).solution[0].item()
    assert plain > 0.7
    assert coefficients(ftdiff.merge_of(M, [A, B], W))[0] == pytest.approx(4 / 7, abs=3e-4)


@WITH_AND_WITHOUT
def test_coefficients_that_nobody_writes_are_proved_too(base: State | None) -> None:
    parents = tuned(W, 3, 5e-3)
    true = [0.4711, 0.3127, 0.2162]
    found = ftdiff.merge_of(linear(parents, true), parents, base)
    assert found.verdict == "exactly"
    assert np.allclose(coefficients(found), true, atol=1e-4)


@pytest.mark.parametrize("rel", [1e-3, 5e-3, 2e-2])
def test_the_arithmetic_of_few_bits_is_replayed(rel: float) -> None:
    A, B = tuned(W, 2, rel)
    found = ftdiff.merge_of(planted.linear_low([A, B], [0.6, 0.4]), [A, B], W)
    assert found.verdict == "exactly" and {*found.frame["way"]} == {"low products"}
    assert np.allclose(coefficients(found), [0.6, 0.4], atol=0.005)
    found = ftdiff.merge_of(planted.task(W, [A, B], [0.7, 0.5]), [A, B], W)
    assert found.verdict == "exactly" and {*found.frame["way"]} == {"low task"}
    assert np.allclose(coefficients(found), [0.7, 0.5], atol=0.005)
    assert "0.70000" in found.sentences[0] and "0.50000" in found.sentences[0]


@WITH_AND_WITHOUT
def test_slerp_is_told_from_a_sum_by_the_angle(base: State | None) -> None:
    A, B = tuned(W, 2, 0.1)
    found = ftdiff.merge_of(planted.slerp(A, B, 0.4), [A, B], base)
    assert found.verdict == "exactly" and "SLERP" in found.sentences[0]
    assert np.allclose(found.frame["t"].astype(float), 0.4, atol=1e-3)
    assert ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B], base).frame["t"].isna().all()


@pytest.mark.parametrize("rel", [5e-3, 2e-2, 0.1])
def test_sparse_merges_are_told_apart_with_their_density(rel: float) -> None:
    A, B = tuned(W, 2, rel)
    density = np.mean([planted.kept(W[name], A[name], 0.4) for name in W])
    found = ftdiff.merge_of(planted.ties(W, [A, B], 0.4), [A, B], W)
    assert (found.verdict, found.exit_code) == ("sparse", 5)
    assert {*found.frame["like"]} == {"TIES"} and (found.frame["auroc"] > 0.9).all()
    assert np.median([*found.frame["density"]]) == pytest.approx(density, abs=0.02)
    found = ftdiff.merge_of(planted.dare(W, [A, B], 0.5, 0.5), [A, B], W)
    assert found.verdict == "sparse" and {*found.frame["like"]} == {"DARE"}
    assert np.median([*found.frame["density"]]) == pytest.approx(0.5, abs=0.02)
    assert np.allclose([[*one] for one in found.frame["strengths"]], 1.0, atol=1e-3)


@pytest.mark.parametrize("cosine", [0.3, 0.9])
@pytest.mark.parametrize("rel", [1e-4, 1e-3, 5e-3, 2e-2])
def test_siblings_are_no_merge(rel: float, cosine: float) -> None:
    for seed in (50, 51):
        A, B, C = tuned(W, 3, rel, cosine, seed=seed)
        found = ftdiff.merge_of(C, [A, B], W)
        assert (found.verdict, found.exit_code) == ("none", 1)


@pytest.mark.parametrize("rel", [1e-4, 1e-3, 5e-3, 2e-2])
def test_what_was_trained_on_is_never_exact(rel: float) -> None:
    A, B = tuned(W, 2, rel)
    M = linear([A, B], [0.6, 0.4], dtype=torch.float32)
    found = ftdiff.merge_of(planted.trained(M, 0.02 * rel), [A, B], W)
    assert (found.verdict, found.exit_code) == ("changed", 3)
    assert np.sqrt((found.frame["left"] ** 2).mean()) == pytest.approx(0.025, abs=0.015)
    assert "exact" not in {*found.frame["status"]}


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("rel", [1e-4, 1e-3, 5e-3, 2e-2])
def test_a_missing_parent_is_never_exact(rel: float, cosine: float) -> None:
    A, B, C = tuned(W, 3, rel, cosine)
    found = ftdiff.merge_of(linear([A, B, C], [0.5, 0.3, 0.2]), [A, B], W)
    assert found.verdict != "exactly"
    if rel > 1e-4:  # below, a tensor of this size does not tell
        assert found.verdict == "partly"


def test_three_of_six_candidates_are_named() -> None:
    parents = tuned(W, 6, 5e-3)
    M = linear([parents[1], parents[4], parents[5]], [0.5, 0.3, 0.2])
    for base in (W, None):
        found = ftdiff.merge_of(M, parents, base)
        assert found.verdict == "exactly"
        assert np.allclose(coefficients(found), [0, 0.5, 0, 0, 0.3, 0.2], atol=1e-3)
        names = [*found.about["parents"]]
        said = next(one for one in found.sentences if one.startswith("not in it"))
        assert said == f"not in it: {names[0]}, {names[2]}, {names[3]}"


def test_a_parent_or_the_base_itself_is_no_merge() -> None:
    A, B = tuned(W, 2, 5e-3)
    found = ftdiff.merge_of(dict(W), [A, B], W)
    assert found.verdict == "none" and "it is the base itself" in found.sentences[0]
    for M in (A, planted.trained(A, 1e-4)):
        found = ftdiff.merge_of(M, [A, B], W)
        assert found.verdict == "none" and "no merge: it is" in found.sentences[0]


def test_a_parent_that_leaves_a_tensor_as_it_is_lets_the_others_be_judged() -> None:
    A, B = tuned(W, 2, 5e-3)
    name = next(iter(W))
    B[name] = W[name]
    found = ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B], W)
    assert found.verdict == "exactly"
    first = found.frame.iloc[0]
    assert first["coefficients"][1] is None
    assert first["coefficients"][0] == pytest.approx(0.6, abs=1e-3)
    moved = planted.trained(linear([A, B], [0.6, 0.4], dtype=torch.float32), 1e-4)
    found = ftdiff.merge_of({**linear([A, B], [0.6, 0.4]), name: moved[name]}, [A, B], W)
    assert found.verdict == "changed" and found.frame["status"].iloc[0] == "changed"
    same = ftdiff.merge_of(linear([A, A], [0.6, 0.4]), [A, dict(A), B], W)
    assert same.verdict in ("exactly", "none") and (same.frame["status"] == "exact").all()


def test_a_small_tensor_is_held_against_the_weights_of_the_others() -> None:
    draw = torch.Generator().manual_seed(3)
    norm = {
        f"model.layers.{i}.input_layernorm.weight": torch.ones(1, 64).bfloat16() for i in range(2)
    }
    whole = {**W, **norm}
    parents = []
    for one in tuned(W, 2, 5e-3):
        steps = {
            name: torch.randint(-1, 2, ones.shape, generator=draw) / 128
            for name, ones in norm.items()
        }
        parents.append({**one, **{name: norm[name] + steps[name].bfloat16() for name in norm}})
    found = ftdiff.merge_of(planted.task(whole, parents, [0.7, 0.5]), parents, whole)
    assert found.verdict == "exactly"
    assert {*map(tuple, found.frame["weights"])} == {(0.7, 0.5)}


def test_coefficients_that_change_with_depth_are_a_profile() -> None:
    A, B = tuned(W, 2, 5e-3)
    parts = [linear([A, B], [share, 1 - share]) for share in (0.2, 0.8)]
    M = {name: parts[int(".1." in name)][name] for name in W}
    found = ftdiff.merge_of(M, [A, B], W)
    assert found.verdict == "exactly" and "0.200 to 0.800" in found.sentences[0]
    assert np.allclose(found.profile.to_numpy(), [[0.2, 0.8], [0.8, 0.2]], atol=1e-3)


@WITH_AND_WITHOUT
def test_a_sample_says_the_same_and_says_that_it_is_one(base: State | None) -> None:
    A, B = tuned(W, 2, 5e-3)
    found = ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B], base, sample=1000)
    assert found.verdict == "exactly" and "in a sample of 1,000 entries" in found.sentences[0]
    assert (found.frame["entries"] <= 1000).all()
    assert np.allclose(coefficients(found), [0.6, 0.4], atol=1e-3)


def test_one_tensor_that_is_no_mix_forbids_exactly() -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    name = next(iter(M))
    M[name] = M[name].clone()
    M[name][0, 0] += 1.0
    found = ftdiff.merge_of(M, [A, B], W)
    assert found.verdict != "exactly" and found.exit_code != 0
    extra = {**linear([A, B], [0.6, 0.4]), "model.layers.0.new.weight": torch.ones(4, 4)}
    found = ftdiff.merge_of(extra, [A, B], W)
    assert found.verdict == "changed" and "unmatched" in {*found.frame["status"]}


def test_a_buffer_of_whole_numbers_must_be_the_same() -> None:
    name, own = "model.layers.0.mlp.counts", torch.arange(8)
    A, B = ({**one, name: own} for one in tuned(W, 2, 5e-3))
    M = {**linear(tuned(W, 2, 5e-3), [0.6, 0.4]), name: own}
    assert ftdiff.merge_of(M, [A, B], {**W, name: own}).verdict == "exactly"
    found = ftdiff.merge_of({**M, name: own + 1}, [A, B], {**W, name: own})
    assert found.verdict == "changed" and "unreadable" in {*found.frame["status"]}


def test_what_is_not_finite_is_left_out_and_said() -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    name = next(iter(M))
    M[name] = M[name].clone()
    M[name][3, 3] = float("nan")
    found = ftdiff.merge_of(M, [A, B], W)
    assert found.verdict == "changed" and found.frame["nonfinite"].sum() == 1
    assert any("not finite" in one for one in found.sentences)


def test_bad_calls_are_one_line(tmp_path: Path) -> None:
    A, B = tuned(W, 2, 5e-3)
    with pytest.raises(BadCall, match="without a base, two parents are needed"):
        ftdiff.merge_of(A, [B])
    with pytest.raises(BadCall, match="a sample of 0"):
        ftdiff.merge_of(A, [A, B], sample=0)
    with pytest.raises(BadCall, match="lora adapter"):
        ftdiff.merge_of(FIXTURES / "full", [FIXTURES / "lora"], FIXTURES / "base")


def test_a_saved_merge_is_itself(tmp_path: Path) -> None:
    A, B = tuned(W, 2, 5e-3)
    found = ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B], W)
    again = ftdiff.MergeOf.load(found.save(tmp_path / "m.json"))
    assert again.json() == found.json()
    assert np.allclose(again.profile, found.profile)
    assert [one.message for one in again.findings()] == [*found.sentences]
    assert found.findings()[0].severity == "note"


def test_no_thread_count_changes_a_bit(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    parents = [write_model(tmp_path / str(i), one) for i, one in enumerate(tuned(W, 2, 5e-3))]
    M = write_model(tmp_path / "m", linear(tuned(W, 2, 5e-3), [0.6, 0.4]), shards=2)
    with ThreadPoolExecutor(3) as executor:
        frames = [ftdiff.merge_of(M, parents, W, executor=one).frame for one in (None, executor)]
    assert frames[0].to_json() == frames[1].to_json()


def test_an_entry_that_no_coefficient_moves_must_be_right_by_itself() -> None:
    from ftdiff.analyses.merges.intervals import along

    d, zero = np.array([2.0, 0.0]), np.zeros(2)
    ends = np.array([0.5, -1.0]), np.array([0.75, 1.0])
    assert (along(zero, d, *ends, zero).low, along(zero, d, *ends, zero).high) == (0.25, 0.375)
    assert along(np.array([0.0, 2.0]), d, *ends, zero).empty
    assert not along(np.array([0.0, 1.0]), d, *ends, zero).empty
