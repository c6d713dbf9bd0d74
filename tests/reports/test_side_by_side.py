"""Diffs side by side: what is held against each other is over what moved, and of the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import ftdiff
from ftdiff.comparison.result import Diff
from ftdiff.comparison.selected import of_diff
from ftdiff.comparison.selection import Selection
from ftdiff.reports.side_by_side import ranked, side_by_side
from ftdiff.reports.terminal.compare_facets import show_siblings
from tests.cases import situations
from tests.conftest import write_model


@pytest.fixture(scope="module")
def diffs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Diff]:
    """An adapter, its merge, another adapter three times as large, and the base itself."""
    folder = tmp_path_factory.mktemp("beside")
    base = situations.write_base(folder / "base")
    large = situations.factors(seed=4)
    large = {name: t * 3 if "lora_B" in name else t for name, t in large.items()}
    tuned = {
        "lora": situations.write_lora(folder / "lora"),
        "merged": write_model(folder / "merged", situations.merged()),
        "large": situations.write_lora(folder / "large", large),
        "base": base,
    }
    return {name: ftdiff.compare(base, path) for name, path in tuned.items()}


def said(diffs: dict[str, Diff], *names: str) -> str:
    return ranked({f"{i} {name}": diffs[name] for i, name in enumerate(names)})


def test_an_adapter_and_its_merge_moved_alike(diffs: dict[str, Diff]) -> None:
    over_all = [diffs[name].overall["relative_norm"] for name in ("lora", "merged")]
    assert over_all[0] > 1.05 * over_all[1]  # the merge is of the untouched matrices, too
    assert said(diffs, "lora", "merged").startswith("0 lora and 1 merged moved alike: ")
    assert said(diffs, "lora", "merged").endswith("(‖ΔW‖/‖W‖ over the 12 that moved).")
    assert said(diffs, "lora", "lora", "merged").startswith("0 lora, 1 lora and 2 merged moved")


def test_who_moved_most_is_said_with_what_the_numbers_are_over(diffs: dict[str, Diff]) -> None:
    found = said(diffs, "lora", "large", "merged")
    assert found.startswith("1 large moved most, 2.9 × as much as ")
    assert found.count("over the 12 that moved") == 2 and "against" in found
    both = said(diffs, "large", "large", "lora")
    assert both.startswith("0 large and 1 large moved most, 2.9 × as much as 2 lora: ")


def test_what_did_not_move_is_ranked_with_nothing(diffs: dict[str, Diff]) -> None:
    assert said(diffs, "base", "base") == "Nothing moved in any of them: 0 base and 1 base."
    found = said(diffs, "base", "lora")
    assert found.startswith("1 lora moved most, and nothing moved in 0 base: ")
    assert " 0 " not in found.partition("base: ")[2]


def test_a_selection_is_ranked_with_the_same_tensors_alone(diffs: dict[str, Diff]) -> None:
    part = {name: of_diff(one, Selection(layers="0-1")) for name, one in diffs.items()}
    other = of_diff(diffs["lora"], Selection(layers="2"))
    assert "moved alike" in said(part, "lora", "merged")
    for rest in (diffs["merged"], other):
        found = ranked({"a": part["lora"], "b": rest})
        assert "of other tensors and so not ranked: a is of 18 tensors selected of 39" in found
        assert "moved" not in found
    assert found.endswith("b is of 9 tensors selected of 39.")
    top = [of_diff(diffs[name], Selection(top=k)) for name, k in (("lora", 3), ("large", 4))]
    assert "not ranked" in ranked(dict(zip("ab", top, strict=True)))


def test_a_number_that_is_withheld_is_not_ranked(diffs: dict[str, Diff]) -> None:
    lost = {"shares": {"tuned": 0.1}, "unmatched": {"x": "no place"}}
    doubtful = Diff(diffs["lora"].columns, {**diffs["lora"].about, **lost})
    assert "no one number is of all" in ranked({"a": doubtful, "b": diffs["merged"]})
    assert [values[:2] for _, values in side_by_side({"a": doubtful}).rows] == [("–", "–")]


def test_tables_have_the_same_number_for_an_adapter_and_its_merge(
    diffs: dict[str, Diff], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = dict(side_by_side(diffs).rows)
    assert rows["lora"][:2] == rows["merged"][:2] and rows["lora"][1] == "12 matrices"
    assert rows["base"][:2] == ("0", "none moved")
    show_siblings(diffs)
    head, *lines = capsys.readouterr().out.splitlines()[1:]
    at = head.index("relative_norm")
    numbers = [line[at : at + len("relative_norm")] for line in lines[:2]]
    assert numbers[0] == numbers[1] and "12 matrices" in lines[0]
    assert "numbers are over what moved of each" in lines


def test_the_page_says_it(diffs: dict[str, Diff], tmp_path: Path) -> None:
    from ftdiff.reports import html

    text = html.save([diffs["lora"], diffs["merged"]], tmp_path / "page.html").read_text()
    assert "lora and merged moved alike: " in text
