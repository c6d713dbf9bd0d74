"""One door opens every file that is written; a command that does not take it says who does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import ftdiff
from ftdiff.analyses.saved import KINDS, load_for
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall, BadFile
from ftdiff.formats.written import TAKEN
from tests.analyses.claimed import checked
from tests.analyses.planted_merges import merged_of_two
from tests.analyses.probed_models import labelled, written_model, written_rows
from tests.cases.situations import merged as plus_lora
from tests.cases.situations import state
from tests.conftest import FIXTURES

#: Files that an early release wrote, of pairs in memory.
SAVED = Path(__file__).parent.parent / "comparison" / "saved"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    base, lora, merged = (FIXTURES / name for name in ("base", "lora", "merged"))
    rows, tiny = written_rows(labelled(), folder / "answers.jsonl"), written_model(folder / "tiny")
    probed = ftdiff.probe(tiny, data=rows, positions=("-1",), permutations=100)
    drifted = ftdiff.drift(tiny, written_model(folder / "other", attends=0), text=rows)
    return {
        "diff": ftdiff.compare(base, lora).save(folder / "diff.json"),
        "similarity": ftdiff.similarity([lora, merged], base).save(folder / "s.json"),
        "trajectory": ftdiff.Trajectory.load(SAVED / "trajectory.json").save(folder / "t.json"),
        "verification": ftdiff.verify(base, lora, merged).save(folder / "v.json"),
        "recovery": ftdiff.recover(state(), plus_lora()).save(folder / "r.json"),
        "lineage": ftdiff.lineage(merged, [base]).save(folder / "l.json"),
        "claim": checked(folder).save(folder / "c.json"),
        "merge": ftdiff.merge_of(*merged_of_two()).save(folder / "m.json"),
        "probe": probed.save(folder / "p.json"),
        "drift": drifted.save(folder / "dr.json"),
    }


def _run(*args: object) -> Result:
    return CliRunner().invoke(door, [*map(str, args)])


def test_files_of_an_early_release_are_read() -> None:
    names = ("diff", "similarity", "trajectory")
    diff, alike, run = (ftdiff.load(SAVED / f"{name}.json") for name in names)
    assert isinstance(diff, ftdiff.Diff) and isinstance(alike, ftdiff.Similarity)
    assert isinstance(run, ftdiff.Trajectory)
    assert diff.overall["relative_norm"] == 0.039781399371539204
    assert [*diff.frame["status"]].count("changed") == 4 and "spectral_norm" in diff.frame
    assert alike.matrix.iloc[0, 1] == 0.06820879748022945
    assert [*run.by()["displacement"]][-1] == 0.8615378342270303
    assert [one["source"] for one in run.about["sources"]["tuned"]] == ["dict in memory"] * 4


@pytest.mark.parametrize("kind", [*KINDS])
def test_what_is_saved_is_opened_as_what_it_was(
    kind: str, files: dict[str, Path], tmp_path: Path
) -> None:
    found = ftdiff.load(files[kind])
    assert type(found).__name__ == KINDS[kind].name
    again = found.save(tmp_path / "again.json")
    assert again.read_bytes() == files[kind].read_bytes()
    pd.testing.assert_frame_equal(ftdiff.load(again).frame, found.frame)
    shuffled = tmp_path / "sorted.json"
    shuffled.write_text(json.dumps(json.loads(again.read_text()), sort_keys=True))
    assert type(ftdiff.load(shuffled)) is type(found)


@pytest.mark.parametrize("kind", [*KINDS])
def test_every_result_says_what_it_was_made_from_in_one_shape(
    kind: str, files: dict[str, Path]
) -> None:
    about = ftdiff.load(files[kind]).about
    for opened in about["sources"].values():
        for one in opened:
            assert {*one} == {"source", "files"}
            for file in one["files"]:
                assert {*file} == {"path", "bytes", "header_sha256", "pages_sha256"}
    if kind != "trajectory":  # that one was saved before versions of Python were
        assert {*about["versions"]} == {"ftdiff", "python"} and about["created"]


@pytest.mark.parametrize("kind", [*KINDS])
def test_every_result_speaks_in_sentences(kind: str, files: dict[str, Path]) -> None:
    found = ftdiff.load(files[kind])
    spoken = ftdiff.findings(found)
    assert spoken and [one.message for one in found.findings()] == [one.message for one in spoken]
    assert all("_" not in one.rule and one.rule == one.rule.lower() for one in spoken)
    done = _run("findings", files[kind], "--format", "json")
    assert [one["rule"] for one in json.loads(done.output)["findings"]] == [s.rule for s in spoken]


def test_what_a_diff_takes_others_refuse() -> None:
    run = ftdiff.load(SAVED / "trajectory.json")
    with pytest.raises(BadCall, match="findings of a Trajectory have no metric"):
        ftdiff.findings(run, "rotation")


@pytest.mark.parametrize("kind", ["similarity", "trajectory", "probe", "drift"])
def test_what_many_fine_tunes_gave_is_drawn_and_reported(
    kind: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftdiff.tensors.FileTensor.window", pytest.fail)  # no weight is read
    done = _run("plot", files[kind], "-o", tmp_path / "x.svg")
    assert done.exit_code == 0 and (tmp_path / "x.svg").read_text().startswith("<?xml")
    other = [*ftdiff.plots.figures_of(ftdiff.load(files[kind]))][-1]
    assert _run("plot", files[kind], "--style", other, "-o", tmp_path / "y.png").exit_code == 0
    done = _run("report", files[kind], "-o", tmp_path / "x.html")
    assert done.exit_code == 0, done.exception
    page = (tmp_path / "x.html").read_text()
    assert page.count("<svg") >= 1 + (kind != "probe")
    assert "<table>" in page and "default-src 'none'" in page
    assert "<script" not in page and "http-equiv" in page
    first = ftdiff.load(files[kind]).findings()[0]
    assert first.rule in page


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (command, kind)
        for command in ("plot", "report", "audit", "card", "findings", "attest")
        for kind in KINDS
        if command not in TAKEN[kind]
    ],
)
def test_a_wrong_kind_is_one_line_that_names_who_takes_it(
    command: str, kind: str, files: dict[str, Path]
) -> None:
    more = {"card": ["--to", "json"], "attest": ["--key", "none"]}.get(command, [])
    error = _run(command, files[kind], *more).exception
    assert isinstance(error, BadCall) and "\n" not in str(error)
    assert f"a saved {kind}; {command} takes a diff" in str(error)
    assert str(error).endswith(", ".join(TAKEN[kind]))


@pytest.mark.parametrize("text", ["", "[]", '{"format": 3}'])
def test_a_file_of_no_result_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    for opened in (ftdiff.load, lambda path: load_for("card", path)):
        with pytest.raises(BadFile, match=r"x\.json: .*what is opened is a saved diff, similarity"):
            opened(path)
    with pytest.raises(BadFile, match="No such file"):
        ftdiff.load(tmp_path / "y.json")


@pytest.mark.parametrize("kind", ["verification", "recovery", "lineage", "merge", "claim"])
@pytest.mark.parametrize("key", ["verdict", "sentences", "tensors", "candidates", "parent"])
def test_a_damaged_verdict_is_one_line(
    kind: str, key: str, files: dict[str, Path], tmp_path: Path
) -> None:
    document = json.loads(files[kind].read_text())
    if key not in document:
        return
    for damaged in (3, [3], [{"tensor": 3, "candidate": 4}]):
        path = tmp_path / "x.json"
        path.write_text(json.dumps({**document, key: damaged}))
        with pytest.raises(BadFile, match=rf"x\.json: not a {kind} saved by ftdiff"):
            ftdiff.load(path)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        *(("merge", ("tensors", 0, name), value) for name in ("weights", "low", "errors")
          for value in (1.5, True, [], [1.0], ["x", 1.0], [10**400, 1.0], [[], []], [{}, None])),
        *(("diff", ("about", "config"), value) for value in ("x", {"base": 1.5})),
        *(("diff", ("about", "config", "tuned"), {name: value})
          for name in ("num_hidden_layers", "vocab_size") for value in ("x", -1, True, 10**400)),
        *(("diff", ("tensors", 0, "shape"), value) for value in ([10**400], [2**40] * 9, [1.5])),
        *(("diff", ("tensors", 0, "tensor"), value) for value in (None, 3)),
        *(("diff", ("about", "spectra"), {"x": {"bound": value}}) for value in (10**400, "x")),
        *(("diff", ("about", "sources", "base", 0, "files", 0, name), value)
          for name in ("path", "bytes") for value in ([None], 1.5)),
        *(("diff", ("about", "coverage"), value) for value in (math.nan, math.inf)),
        *(("probe", ("about", "positions", "-1"), value)
          for value in (True, {"present": 1}, {"present": 1, "absent": "x"})),
        ("probe", ("about", "arrangements"), "x"),
    ],
)  # fmt: skip
def test_what_sentences_and_pictures_are_made_of_is_checked_when_it_is_read(
    kind: str, place: tuple[Any, ...], value: Any, files: dict[str, Path], tmp_path: Path
) -> None:
    document = json.loads(files[kind].read_text())
    held = document
    for step in place[:-1]:
        held = held[step]
    held[place[-1]] = value
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadFile, match=rf"x\.json: not a {kind} saved by ftdiff"):
        ftdiff.load(path)


@pytest.mark.parametrize("command", ["findings", "report", "plot"])
def test_a_model_is_no_result_and_the_way_to_one_is_said(command: str, tmp_path: Path) -> None:
    folder = FIXTURES / "base"
    models = {folder: "a folder", folder / "model.safetensors": "a file of weights",
              "org/name": "a repository of the hub"}  # fmt: skip
    for model, what in models.items():
        error = _run(command, model).exception
        assert isinstance(error, BadFile)
        assert str(error).startswith(f"{model}: {what}") and "\n" not in str(error)
        assert f"ftdiff compare BASE {model} -o out/, then ftdiff {command} out/" in str(error)
    (tmp_path / "diff.json").write_text("{}")
    error = _run(command, tmp_path).exception
    assert f"the saved result in it is {tmp_path}/diff.json" in str(error)
    assert "No such file" in str(_run(command, tmp_path / "none.json").exception)
