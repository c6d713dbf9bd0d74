"""What was found before fails no more; what is new does, whatever the numbers of the old are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ftdiff
from ftdiff.analyses.audit import CI, Audit, Expectation, Policy
from ftdiff.cli import ftdiff as door
from ftdiff.cli.audit import ENDINGS
from ftdiff.errors import BadCall, BadFile, UnknownName
from tests.analyses.test_audit import Q, edited, model, nan, trained
from tests.conftest import FIXTURES


def broken(*layers: int) -> ftdiff.Diff:
    """Return a fine-tune in which q of these layers holds a NaN."""
    state = trained(model())
    for layer in layers:
        state[Q.format(layer)] = nan(state[Q.format(layer)])
    return ftdiff.compare(model(), state)


def alarms(found: Audit) -> list[str]:
    said = zip(found.findings, found.failing, strict=True)
    return [one.rule for one, fails in said if fails]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two layers were broken: the audit in JSON and SARIF, and the diff."""
    folder, diff = tmp_path_factory.mktemp("old"), broken(0, 1)
    paths = {"diff": diff.save(folder / "diff.json")}
    for name in ("json", "sarif"):
        paths[name] = folder / f"audit.{name}"
        paths[name].write_text(CI[name](ftdiff.audit(diff)))
    return paths


@pytest.mark.parametrize("kind", ["json", "sarif", "diff"])
def test_only_what_is_new_fails(kind: str, old: dict[str, Path]) -> None:
    same = ftdiff.audit(broken(0, 1), baseline=old[kind])
    assert same.ok and len(same.known) == len(same.findings) and not alarms(same)
    assert "known before" in same.held_against
    assert ftdiff.audit(broken(0), baseline=old[kind]).ok  # one was mended: nothing is new
    worse = ftdiff.audit(broken(0, 1, 2), baseline=old[kind])
    assert not worse.ok and alarms(worse) == ["nonfinite"]
    other = edited(q0=lambda W: -W)
    assert alarms(ftdiff.audit(other, baseline=old[kind])) == ["sign-flipped"]
    assert not ftdiff.audit(broken(0, 1)).ok


def test_a_graver_finding_is_new_and_other_numbers_are_not() -> None:
    size = {"q": Expectation("q", {"component": ("attn.q",)}, most={"relative_norm": 0.001})}
    then = ftdiff.audit(ftdiff.compare(model(), trained(model())), Policy(expect=(size["q"],)))
    more = ftdiff.compare(model(), trained(model(), by=0.05))
    again = ftdiff.audit(more, Policy(expect=(size["q"],)), baseline=then)
    (one,) = (one for one in again.findings if one.rule == "expectation")
    assert again.ok and one.evidence["reached"] > 0.02
    softer = Policy({"nonfinite": "caution"})
    mild = ftdiff.audit(broken(0), softer)
    assert mild.ok and not ftdiff.audit(broken(0), baseline=mild).ok
    assert ftdiff.audit(broken(0), softer, fail_on="caution", baseline=ftdiff.audit(broken(0))).ok


def test_a_baseline_without_what_the_policy_limits_is_told(old: dict[str, Path]) -> None:
    held = Policy(expect=(Expectation("x", most={"stable_rank": 3}),))
    diff = ftdiff.compare(model(), trained(model()), "spectral")
    with pytest.raises(BadCall, match="stable_rank, which was not measured"):
        ftdiff.audit(diff, held, baseline=old["diff"])


def test_what_fails_may_be_a_caution_or_a_note() -> None:
    found, held = broken(0), {"nonfinite": "caution", "frozen": None}
    assert {one.severity for one in ftdiff.audit(found, Policy(held)).findings} == {"caution"}
    for least, ok in (("alarm", True), ("caution", False), ("note", False)):
        assert ftdiff.audit(found, Policy(held), fail_on=least).ok is ok
    milder = Policy({**held, "nonfinite": "note"})
    assert [ftdiff.audit(found, milder, fail_on=s).ok for s in ("caution", "note")] == [True, False]
    with pytest.raises(UnknownName, match="did you mean 'caution'"):
        ftdiff.audit(found, fail_on="cautions")


def test_an_audit_shows_its_verdict_and_findings(old: dict[str, Path]) -> None:
    found = ftdiff.audit(broken(0), baseline=old["json"], fail_on="note")
    first, *lines = repr(found).splitlines()
    assert first.startswith("Audit(passed: dict in memory (built-in rules, fails on a note, ")
    assert len(lines) == len(found.findings) and lines[0].split()[:2] == ["alarm", "nonfinite"]
    assert "passed: dict in memory" in found._repr_html_()


def test_what_is_known_is_said_in_every_format(old: dict[str, Path]) -> None:
    found = ftdiff.audit(broken(0, 1, 2), baseline=old["json"])
    known = len(found.known)
    assert 0 < known < len(found.findings)
    record = json.loads(CI["json"](found))
    assert sum(one.get("known", False) for one in record["findings"]) == known
    results = json.loads(CI["sarif"](found))["runs"][0]["results"]
    assert [one.get("baselineState") for one in results].count("unchanged") == known
    assert Audit.of_document(record).known == found.known
    again = ftdiff.audit(broken(0, 1), baseline=old["json"])
    assert "::error" not in CI["github"](again) and 'failures="0"' in CI["junit"](again)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "no audit of ftdiff; --baseline takes an audit as JSON or SARIF, or a saved diff"),
        ("[3]", "no audit of ftdiff"),
        ('{"runs": [{"tool": {"driver": {"name": "x"}}, "results": []}]}', "no audit of ftdiff"),
        ('{"format": "ftdiff.audit/1"}', "not an audit saved by ftdiff"),
        ('{"format": "ftdiff.audit/9"}', "written in format 'ftdiff.audit/9'"),
        ('{"format": "ftdiff.similarity/1"}', "a saved similarity; --baseline takes"),
    ],
)
def test_a_baseline_of_something_else_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadFile, match=said):
        ftdiff.audit(broken(0), baseline=tmp_path / "x.json")
    with pytest.raises(BadFile, match="No such file"):
        ftdiff.audit(broken(0), baseline=tmp_path / "y.json")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(door, ["audit", *map(str, arguments)])


def test_one_run_writes_several_formats_and_prints_another(
    old: dict[str, Path], tmp_path: Path
) -> None:
    files = [tmp_path / f"audit{ending}" for ending in ENDINGS]
    done = run(old["diff"], *(x for path in files for x in ("-o", path)), "--format", "github")
    assert done.exit_code == 1 and done.stdout.startswith("::error")
    assert done.stderr.startswith(f"wrote {files[0]}, ")
    found = ftdiff.audit(ftdiff.load(old["diff"]))
    for path, format_ in zip(files, ENDINGS.values(), strict=True):
        held = CI[format_](found) if format_ in CI else path.read_text()[:-1]
        assert path.read_text() == held + "\n", path
    assert files[-1].read_text().startswith("failed: ")
    done = run(old["diff"], "--format", "sarif", "-o", tmp_path / "one.log")  # an ending of its own
    assert json.loads((tmp_path / "one.log").read_text())["version"] == "2.1.0"
    assert done.stdout.startswith("failed: ")  # what is in a file is not printed, too


def test_the_command_fails_on_what_it_is_told_to(old: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[rules]\nnonfinite = "caution"\n')
    call = (old["diff"], "--policy", tmp_path / "p.toml")
    assert run(*call).exit_code == 0
    assert run(*call, "--fail-on", "caution", "-o", tmp_path / "a.json").exit_code == 1
    done = run(*call, "--fail-on", "caution", "--baseline", tmp_path / "a.json")
    assert done.exit_code == 0 and "(known)" in done.stdout and "known before" in done.stdout
    assert run(old["diff"], "--baseline", old["sarif"]).exit_code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-o", "x.log"], "x.log: written are .sarif, .sarif.json, .json, .xml, .md, .txt, or"),
        (["--write-policy", "p.toml", "-o", "x.json"], "writes a policy and stops"),
        (["--write-policy", "p.toml", "--baseline", "x.json"], "writes a policy and stops"),
    ],
)
def test_a_call_that_contradicts_itself_is_one_line(more: list[Any], said: str) -> None:
    error = run(FIXTURES / "base", FIXTURES / "lora", *more).exception
    assert isinstance(error, BadCall) and said in str(error)


def test_a_file_that_cannot_be_written_is_one_line(old: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = run(old["diff"], "-o", tmp_path / "file" / "x.json").exception
    assert isinstance(error, BadFile) and "cannot be written" in str(error)
