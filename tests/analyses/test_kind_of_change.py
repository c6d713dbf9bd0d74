"""What kind of change is said of planted ones, of small real ones, and of which nothing is said."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

import ftdiff
from ftdiff.analyses.findings import regime
from ftdiff.analyses.kind_of_change import BESIDE, DECIDING, Said, kind_of_change
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadFile
from ftdiff.reports.summary import summary
from tests.analyses.planted_structures import KINDS, Planted, abliterated, lora, on_rounded

FIXTURES = Path(__file__).parents[2] / "fixtures"


@cache
def _diff(kind: str) -> Diff:
    planted = Planted(0)
    return ftdiff.compare(planted.base, KINDS[kind][0](planted))


@cache
def _of_fixture(name: str) -> Diff:
    return ftdiff.compare(FIXTURES / "base", FIXTURES / name)


def _said(diff: Diff, rule: str) -> Said:
    (found,) = (one for one in kind_of_change(diff) if one.rule == rule)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_kind_is_said_and_nothing_else(kind: str) -> None:
    diff = _diff(kind)
    said = {one.rule for one in kind_of_change(diff)}
    said |= {"layers"} if [*reasons(diff.about, "layers")] else set()
    assert said == {*KINDS[kind][1].split()}


def test_a_merged_adapter_is_said_with_its_rank_in_nearly_all_matrices() -> None:
    for name in ("merged", "merged_f32"):
        found = _said(_of_fixture(name), "low-rank").evidence
        assert (found["rank"], found["of"], found["kind"]) == (4, 196, "lora")
        assert found["low"] >= 0.95 * 196 and found["exact"] >= 0.95 * 196


@pytest.mark.parametrize("name", ["full", "frozen"])
def test_of_a_full_fine_tune_no_structure_is_said(name: str) -> None:
    assert kind_of_change(_of_fixture(name)) == ()
    assert _of_fixture(name).about["structure"]["looked"] == 20


@pytest.mark.parametrize("name", ["1", "4"])
def test_of_moves_at_random_no_structure_is_said(name: str) -> None:
    folder = FIXTURES / "planted" / name
    assert kind_of_change(ftdiff.compare(folder / "base", folder / "tuned")) == ()


def test_an_adapter_that_is_not_merged_is_not_looked_at() -> None:
    assert "structure" not in _of_fixture("lora").about


def test_a_direction_is_said_with_its_strength_and_what_holds_beside() -> None:
    whole = _said(_diff("one direction, λ 1"), "edited-direction")
    assert whole.message.startswith("8 matrices (attn.o, mlp.down) were edited along one direction")
    assert whole.evidence["strength"][1] == pytest.approx(1.0, abs=0.01)
    part = _said(_diff("one direction, λ .3"), "edited-direction")
    assert part.evidence["strength"][1] == pytest.approx(0.3, abs=0.01)
    later = _said(_diff("one direction, then training"), "edited-direction")
    assert later.message.endswith("; 20 other matrices moved otherwise.")
    planted = Planted(0)
    much = ftdiff.compare(planted.base, planted.onto(abliterated(planted, 0.3), 2e-2))
    assert "of the squared change beside is something else" in _said(much, whole.rule).message
    own = _said(_diff("directions of their own"), "edited-direction")
    assert "directions of their own" in own.message and own.evidence["along"] < 6


def test_ranks_that_differ_are_said_by_component() -> None:
    found = _said(_diff("LoRA, ranks 2 and 8"), "low-rank")
    assert found.evidence["by_component"]["attn.q"] == 2
    assert found.evidence["by_component"]["mlp.up"] == 8
    assert "mlp.up 8" in found.message or "attn.q 2" in found.message


def test_tokens_and_neurons_are_named() -> None:
    planted = Planted(3)
    tuned = dict(planted.base)
    name = "model.embed_tokens.weight"
    tuned[name] = tuned[name].copy()
    tuned[name][[5, 17]] *= -1
    found = _said(ftdiff.compare(planted.base, tuned), "edited-lines")
    assert "rows 5, 17 of 320 in embed.tokens" in found.message
    lines = _said(_diff("two neurons"), "edited-lines").evidence["lines"]
    assert {(one["component"], one["axis"]) for one in lines} == {
        ("mlp.up", "rows"), ("mlp.gate", "rows"), ("mlp.down", "columns"),
    }  # fmt: skip
    assert len({tuple(one["places"]) for one in lines}) == 1


def test_a_single_edit_names_its_layer() -> None:
    found = _said(_diff("one fact"), "edited-matrices")
    assert found.message.startswith("Only mlp.down of layer ") and "rank 1" in found.message


@pytest.mark.parametrize(
    ("scheme", "scale"), [("NF4", "64"), ("FP4", "64"), ("INT8", "row"), ("F8_E4M3", "row")]
)
def test_the_slope_is_1_on_the_rounding_that_was_tuned_on(scheme: str, scale: str) -> None:
    planted = Planted(1)
    diff = ftdiff.compare(planted.base, on_rounded(planted, scheme, scale))
    found = _said(diff, "tuned-on-rounded").evidence
    assert (found["scheme"], found["scale"]) == (scheme, scale)
    assert abs(found["slope"] - 1) < 0.01 + 3 * found["error"]
    low = _said(diff, "low-rank")
    assert low.evidence["rank"] == 4 and "the change from the base, rounded to" in low.message


def test_zeros_that_are_all_of_a_change_are_said_once() -> None:
    said = {one.rule: one.message for one in ftdiff.findings(_diff("zeros 2:4"))}
    assert "2:4" in said["new-zeros"] and "pruned" in said
    assert "%" not in said["new-zeros"].partition("two in every four")[0]
    later = _said(_diff("pruned, then training"), "new-zeros").message
    assert later.startswith("49.9% of the entries") and "pruned, then tuned" in later


def test_size_is_said_only_where_structure_tells_nothing() -> None:
    for kind, (_, right) in KINDS.items():
        deciding = {*right.split()} & {*DECIDING, "tuned-on-rounded"}
        assert not (deciding and [*regime.regime(_diff(kind))]), kind
    assert [*regime.regime(_of_fixture("full"))] and not [*regime.regime(_of_fixture("merged"))]


def test_the_summary_and_the_card_carry_what_is_said() -> None:
    from ftdiff.reports.section import section

    diff = _of_fixture("merged")
    message = _said(diff, "low-rank").message
    assert any(line.startswith(message) for line in summary(diff))
    assert message in section(diff).sentences
    assert [one.message for one in diff.findings() if one.rule == "low-rank"] == [message]


def test_it_is_saved_and_loaded_and_an_older_file_is_silent(tmp_path: Path) -> None:
    diff = _diff("one direction, λ 1")
    path = diff.save(tmp_path / "diff.json")
    assert kind_of_change(Diff.load(path)) == kind_of_change(diff) != ()
    document = json.loads(path.read_text())
    broken = json.loads(path.read_text())
    del document["about"]["structure"]
    path.write_text(json.dumps(document))
    assert kind_of_change(Diff.load(path)) == ()
    broken["about"]["structure"]["edits"]["strength"] = ["much"]
    path.write_text(json.dumps(broken))
    with pytest.raises(BadFile, match=r"about\.structure"):
        Diff.load(path)


def test_nothing_is_said_of_another_model() -> None:
    one, other = Planted(4), Planted(5)
    assert kind_of_change(ftdiff.compare(one.base, other.base)) == ()


def test_every_rule_that_is_said_is_a_finding() -> None:
    from ftdiff.analyses.findings import RULES

    assert {*DECIDING, *BESIDE} <= {*RULES}


def test_factors_hidden_by_rounding_have_no_rank() -> None:
    planted = Planted(2)
    diff = ftdiff.compare(planted.base, lora(planted, 1.5e-3))
    assert "low-rank" not in {one.rule for one in kind_of_change(diff)}


def test_factors_of_rank_one_are_no_edit() -> None:
    planted = Planted(7)
    (said,) = kind_of_change(ftdiff.compare(planted.base, lora(planted, 2e-2, 1)))
    assert said.rule == "low-rank" and said.evidence["rank"] == 1


def test_an_edit_of_a_model_in_float32_is_said_too() -> None:
    planted = Planted(6)
    base = {name: W.astype("float32") for name, W in planted.base.items()}
    tuned = {name: W.astype("float32") for name, W in abliterated(planted, 0.5).items()}
    found = _said(ftdiff.compare(base, tuned), "edited-direction").evidence
    assert found["matrices"] == 8 and found["strength"][1] == pytest.approx(0.5, abs=0.01)
