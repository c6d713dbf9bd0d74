from __future__ import annotations

from pathlib import Path

import pytest

import ftdiff
from ftdiff.comparison import journal
from ftdiff.comparison.batch import compare_each
from ftdiff.comparison.selected import SELECTION, of_diff, of_matrix
from ftdiff.comparison.selection import Placed, Selection, fits, selection_of
from ftdiff.errors import BadCall, BadFile
from tests.cases.situations import CONFIG, LAYERS, merged, write_base, write_lora
from tests.conftest import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("selection")
    write_base(home / "base")
    write_lora(home / "lora")
    write_model(home / "merged", merged(), config=CONFIG)
    return home


@pytest.fixture(scope="module")
def whole(folder: Path) -> ftdiff.Diff:
    return ftdiff.compare(folder / "base", folder / "merged")


def names(diff: ftdiff.Diff) -> list[str]:
    return [str(name) for name in diff.columns["tensor"]]


@pytest.mark.parametrize(
    ("glob", "name", "fit"),
    [
        ("q_proj", "model.layers.3.self_attn.q_proj.weight", True),
        ("layers.3", "model.layers.3.self_attn.q_proj.weight", True),
        ("layers.3", "model.layers.30.self_attn.q_proj.weight", False),
        ("proj", "model.layers.3.self_attn.q_proj.weight", False),
        ("*_proj", "model.layers.3.self_attn.q_proj.weight", True),
        ("*.weight", "lm_head.weight", True),
        ("attn.q", "a.b", True),
        ("attn.*", "a.b", True),
        ("vision*", "a.b", True),
    ],
)
def test_a_glob_fits_names_parts_of_them_components_and_stacks(
    glob: str, name: str, fit: bool
) -> None:
    placed = Placed(name, "attn.q", "vision_tower") if name == "a.b" else Placed(name)
    assert fits(glob, placed) is fit


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"layers": "0-1"}, 2 * 9),
        ({"layers": "0,2-"}, 3 * 9),
        ({"include": ["attn.*"]}, 4 * LAYERS),
        ({"include": "q_proj", "exclude": ["layers.0.*"]}, LAYERS - 1),
        ({"include": ["q_proj", "down_proj"], "layers": "3"}, 2),
        ({"exclude": ["layers.*"]}, 3),
    ],
)
def test_only_what_is_selected_is_measured_and_its_numbers_are_those_of_the_whole(
    folder: Path, whole: ftdiff.Diff, asked: dict[str, object], count: int
) -> None:
    diff = ftdiff.compare(folder / "base", folder / "merged", selection=asked)
    assert len(names(diff)) == count
    of = dict(zip(names(whole), whole.columns["delta_sq"], strict=True))
    assert [of[name] for name in names(diff)] == [*diff.columns["delta_sq"]]
    about = diff.about
    told = {name: asked[name] for name in asked}
    told |= {n: [told[n]] for n in ("include", "exclude") if isinstance(told.get(n), str)}
    assert about["selection"] == {"asked": [told], "tensors": count, "of": 39}
    assert about["coverage"] < 1.0  # what was not asked for was not compared
    parts = about["parts"]
    assert parts["read"]["tensors"] == count
    assert parts["left out"]["tensors"] == 39 - count
    assert [one for one in about["reasons"] if one["code"] == "selection"]
    assert about["notes"][0].startswith("a selection, ")


def test_what_is_not_selected_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftdiff.comparison import engine

    asked: list[str] = []
    run = engine.run
    monkeypatch.setattr(
        engine,
        "run",
        lambda plan, *more, **named: (
            asked.extend(one.address.name for one in plan.changes) or run(plan, *more, **named)
        ),
    )
    ftdiff.compare(folder / "base", folder / "merged", selection={"layers": "1"})
    assert asked and all(".layers.1." in name for name in asked)


def test_an_adapter_is_selected_by_the_names_of_its_base(folder: Path) -> None:
    diff = ftdiff.compare(folder / "base", folder / "lora", selection={"include": "q_proj"})
    assert len(names(diff)) == LAYERS and {*diff.columns["status"]} == {"changed"}
    assert diff.about["parts"]["left out"]["tensors"] == 4 * LAYERS
    alone = ftdiff.compare(None, folder / "lora", selection={"layers": "0"})
    assert len(names(alone)) == 3


def test_top_keeps_the_largest_and_measures_more_of_these_alone(
    folder: Path, whole: ftdiff.Diff
) -> None:
    metrics = ("relative_norm", "stable_rank")
    diff = ftdiff.compare(folder / "base", folder / "merged", metrics, selection={"top": 3})
    ranked = sorted(zip(whole.columns["relative_norm"], names(whole), strict=True), reverse=True)
    largest = [name for value, name in ranked if value == value][:3]
    assert sorted(names(diff)) == sorted(largest)
    assert diff.frame["stable_rank"].notna().all()
    assert diff.about["selection"]["of"] == 39


def test_siblings_are_selected_alike(folder: Path) -> None:
    pair = [folder / "lora", folder / "merged"]
    one, two = compare_each(folder / "base", pair, selection={"include": "q_proj", "top": 2})
    assert isinstance(one, ftdiff.Diff) and isinstance(two, ftdiff.Diff)
    assert sorted(names(one)) == sorted(names(two)) and len(names(one)) == 2


def test_a_saved_diff_is_selected_from_and_says_so(
    folder: Path, whole: ftdiff.Diff, tmp_path: Path
) -> None:
    loaded = ftdiff.load(whole.save(tmp_path / "diff.json"))
    some = of_diff(of_diff(loaded, Selection(layers="0-1")), Selection(top=4))
    assert len(names(some)) == 4
    assert some.about["selection"]["asked"] == [{"layers": "0-1"}, {"top": 4}]
    assert some.about["selection"]["of"] == 39
    assert sum(note.startswith("a selection, ") for note in some.about["notes"]) == 1
    assert [one["code"] for one in some.about["reasons"]].count(SELECTION) == 1
    again = ftdiff.load(some.save(tmp_path / "some.json"))
    assert again.about["selection"] == some.about["selection"]
    assert of_diff(loaded, Selection()) is loaded


def test_a_selection_never_passes_barely(folder: Path) -> None:
    diff = ftdiff.compare(folder / "base", folder / "lora", selection={"layers": "0-1"})
    found = ftdiff.audit(diff)
    assert found.verdict == "passed in part" and found.exit_code == 0
    assert [one.severity for one in found.findings if one.rule == "selection"] == ["caution"]
    assert ftdiff.audit(ftdiff.compare(folder / "base", folder / "lora")).verdict == "passed"


def test_a_selection_is_not_attested(folder: Path, tmp_path: Path) -> None:
    from ftdiff.analyses import claims
    from ftdiff.analyses.claims import keys

    key, _ = keys.new_key(tmp_path / "my.key")
    diff = ftdiff.compare(folder / "base", folder / "lora", selection={"layers": "0-1"})
    with pytest.raises(BadCall, match="a selection of tensors"):
        claims.attest(diff, key)


def test_a_journal_of_a_selection_serves_the_whole_and_changes_nothing(
    folder: Path, whole: ftdiff.Diff, tmp_path: Path
) -> None:
    said: list[str] = []
    pair, path = (folder / "base", folder / "merged"), tmp_path / "journal.sqlite"
    with journal.kept(path, said.append):
        ftdiff.compare(*pair, selection={"layers": "0-1"})
    assert not said
    with journal.kept(path, said.append):
        after = ftdiff.compare(*pair)
    assert any("18 of 39 tensors are kept from an earlier run" in one for one in said)
    assert after.overall == whole.overall and "selection" not in after.about
    with journal.kept(path, said.append):
        some = ftdiff.compare(*pair, selection={"layers": "2"})
    assert len(names(some)) == 9


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"include": ["Q_prj"]}, r"--include 'Q_prj' fits none of 39 tensors; did you mean 'q_p"),
        ({"exclude": ["attn.qq"]}, r"--exclude 'attn.qq' fits none .*did you mean 'attn.q'"),
        ({"layers": "7-9"}, r"--layers 7-9 fits none of 39 tensors; layers are 0-3"),
        ({"layers": "3-1"}, "--layers 3-1: 3-1 ends before it begins"),
        ({"layers": "a-b"}, "--layers a-b: layers are numbers and ranges"),
        ({"layers": "0-" + "9" * 5000}, "layers are numbers and ranges"),
        ({"top": 0}, "--top 0: at least one tensor"),
        ({"rows": 3}, "a selection is of include, exclude, layers and top"),
    ],
)
def test_what_fits_nothing_is_said(folder: Path, asked: dict[str, object], said: str) -> None:
    with pytest.raises(BadCall, match=said):
        ftdiff.compare(folder / "base", folder / "merged", selection=asked)


def test_a_matrix_is_selected_by_its_layers_and_columns() -> None:
    import pandas as pd

    matrix = pd.DataFrame(1.0, index=range(6), columns=["attn.q", "attn.k", "mlp.up"])
    some = of_matrix(matrix, Selection(include=("attn.*",), layers="2-3"))
    assert [*some] == ["attn.q", "attn.k"] and [*some.index] == [2, 3]
    with pytest.raises(BadCall, match="a matrix has none"):
        of_matrix(matrix, Selection(top=2))


@pytest.mark.parametrize("asked", ["x", [{"layers": 3}], [{"wrong": 1}], [1]])
def test_a_saved_selection_that_is_none_is_refused(
    whole: ftdiff.Diff, tmp_path: Path, asked: object
) -> None:
    about = {**whole.about, "selection": {"asked": asked, "tensors": 1, "of": 2}}
    path = ftdiff.Diff(whole.data, about).save(tmp_path / "diff.json")
    with pytest.raises(BadFile, match="selection"):
        ftdiff.load(path)


def test_a_selection_is_what_is_asked() -> None:
    assert not Selection() and selection_of(None) == Selection()
    asked = Selection(include=("attn.*",), layers="0-7", top=2)
    assert selection_of(asked.record()) == asked
    assert asked.words == "--include 'attn.*' --layers 0-7 --top 2"
