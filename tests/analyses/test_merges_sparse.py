from __future__ import annotations

import numpy as np
import pytest

import ftdiff
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import State

W = planted.base()


def densities(found: ftdiff.MergeOf) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([[*one] for one in found.frame["density"].dropna()], dtype=float).mean(axis=0)


@pytest.fixture(scope="module")
def small() -> list[State]:
    """Return fine-tunes whose change is 1e-3 of the weights: few entries move, by a spacing."""
    return planted.tuned(W, 2, 1e-3)


def test_of_small_changes_the_largest_tenth_is_found(small: list[State]) -> None:
    found = ftdiff.merge_of(planted.ties(W, small, 0.1), small, W)
    assert found.verdict == "sparse" and "(TIES-like)" in found.sentences[0]
    true = [np.mean([planted.kept(W[name], one[name], 0.1) for name in W]) for one in small]
    assert densities(found) == pytest.approx(true, abs=0.01)


def test_where_all_changes_that_show_are_in_no_density_is_made_up(small: list[State]) -> None:
    found = ftdiff.merge_of(planted.ties(W, small, 0.4), small, W)
    assert found.verdict == "sparse" and {*found.frame["like"]} == {"TIES"}
    assert {*found.frame["density"]} == {(None, None)}
    assert "every change of" in found.sentences[0] and "density" not in found.sentences[0]
    again = ftdiff.MergeOf.of_document(found.document())
    assert {*again.frame["density"]} == {(None, None)}


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("rescaled", [True, False], ids=["rescaled", "bare"])
def test_of_small_changes_what_chance_kept_is_found(
    density: float, rescaled: bool, small: list[State]
) -> None:
    weight = 0.5 if rescaled else 0.8 * density
    found = ftdiff.merge_of(planted.dare(W, small, density, weight), small, W)
    assert found.verdict == "sparse"
    assert densities(found) == pytest.approx(density, abs=0.04)  # of some 400 entries
    strengths = np.array([[*one] for one in found.frame["strengths"].dropna()], dtype=float)
    assert np.median(strengths, axis=0) == pytest.approx(weight / density, abs=0.02)


@pytest.mark.parametrize("rel", [1e-3, 1e-2, 0.1])
def test_signs_that_are_elected_hide_nothing_of_the_density(rel: float) -> None:
    parents = planted.tuned(W, 2, rel)
    found = ftdiff.merge_of(planted.dare_ties(W, parents, 0.5, 0.5), parents, W)
    assert found.verdict == "sparse" and "(DARE-TIES-like)" in found.sentences[0]
    assert densities(found) == pytest.approx(0.5, abs=0.03 if rel < 1e-2 else 0.02)


@pytest.mark.parametrize("rel", [3e-3, 1e-2, 0.1])
def test_changes_that_were_pruned_and_then_summed_are_not_called_ties(rel: float) -> None:
    parents = planted.tuned(W, 2, rel)
    found = ftdiff.merge_of(planted.pruned(W, parents, 0.3, [0.6, 0.4]), parents, W)
    assert found.verdict == "sparse"
    assert "TIES" not in found.sentences[0] and "no sign elected" in found.sentences[0]
    assert {*found.frame["like"]} == {"pruned"}


def test_a_merge_whose_smallest_weights_are_zero_is_no_sparse_merge() -> None:
    parents = planted.tuned(W, 2, 5e-3)
    mean = planted.linear(parents, [0.6, 0.4])
    pruned = {name: M * (M.abs() > M.abs().float().quantile(0.3)) for name, M in mean.items()}
    found = ftdiff.merge_of(pruned, parents, W)
    assert found.verdict not in ("sparse", "exactly")


def test_of_one_parent_that_is_in_alone_the_largest_changes_are_told() -> None:
    A, B = planted.tuned(W, 2, 1e-2)
    found = ftdiff.merge_of(planted.pruned(W, [A, B], 0.3, [1.0, 0.0]), [A, B], W)
    assert found.verdict == "sparse" and "TIES" not in found.sentences[0]
    assert densities(found)[0] == pytest.approx(0.24, abs=0.02) and densities(found)[1] == 0.0


def test_entries_are_of_no_class_beside_a_base_that_is_another() -> None:
    A, B = planted.tuned(W, 2, 1e-2)
    M = planted.dare(W, [A, B], 0.5, 0.5)
    assert ftdiff.merge_of(M, [A, B], W).verdict == "sparse"
    assert ftdiff.merge_of(M, [W, B], A).verdict != "sparse"
    M = planted.ties(W, [A, B], 0.4)
    assert ftdiff.merge_of(M, [W, B], A).verdict != "sparse"
