"""The summary, the findings command and their formats say what the numbers say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.reports import html, markdown
from ftdiff.reports import text as spoken
from ftdiff.reports.document import document
from ftdiff.reports.published import renaming
from ftdiff.reports.summary import summary
from tests.analyses.test_findings import diff_of, noise, rising
from tests.conftest import FIXTURES

BASE = FIXTURES / "base"


@pytest.fixture(scope="module")
def lora() -> ftdiff.Diff:
    return ftdiff.compare(BASE, FIXTURES / "lora")


def test_the_summary_is_ten_lines_at_most_and_says_what_was_compared(lora: ftdiff.Diff) -> None:
    lines = summary(lora)
    assert 6 <= len(lines) <= 10
    assert "196 of 338 tensors moved" in lines[0] and "100.0%" in lines[0]
    assert f"{lora.overall['relative_norm']:.4g}" in lines[1] and "consistent with" in lines[1]
    sizes = lora.by("component", param="weight").set_index("component")["relative_norm"].dropna()
    sizes = sizes[sizes > 0]
    size = f"{sizes.idxmax()} moved most (relative norm {sizes.max():.3g})"
    most = f"Of the components in the map, {size}"
    assert any(line.startswith(most) and f"{sizes.idxmin()} least" in line for line in lines)
    assert "142 tensors did not move" in lines[-2] and "attn.k bias (28)" in lines[-2]
    assert all(line.endswith(".") for line in lines)


def test_the_summary_tells_what_explains_a_change_and_what_could_not_be_read() -> None:
    X = noise(spread=0.02).mul(1 / rising(), axis=0)
    base = X * 0 + np.outer(rising(), np.ones(X.shape[1]))
    lines = summary(diff_of(X, base=base, scale=0.9, floor=0.003))
    assert len(lines) <= 10
    told = " ".join(lines)
    for words in ("one rescale of the base", "the base's norm", "cannot be told from rounding"):
        assert words in told
    lost = ftdiff.compare({"w": np.ones(3), "x": np.ones(2)}, {"w": np.zeros(3), "y": np.ones(2)})
    last = summary(lost)[-1]
    assert "1 in the fine-tune only" in last and "1 in the base only" in last


def test_without_a_base_and_without_a_diff_the_summary_says_what_is_missing(
    lora: ftdiff.Diff,
) -> None:
    alone = " ".join(summary(ftdiff.compare(None, FIXTURES / "lora")))
    assert "Without a base" in alone and "root-mean-square change" in alone
    assert "A plain matrix has no base norms" in summary(lora.table())[-1]


def test_every_format_has_the_summary_and_the_findings(lora: ftdiff.Diff) -> None:
    found = ftdiff.findings(lora)
    lines = summary(lora, found)
    record = json.loads(spoken.findings(lora, found, "x", "json"))
    assert record["summary"] == list(lines)
    assert [one["message"] for one in record["findings"]] == [one.message for one in found]
    assert record["findings"][1]["cells"][0] == [0, found[1].evidence["more"]]
    text = spoken.findings(lora, found, "x")
    mark = spoken.findings(lora, found, "x", "markdown")
    public = renaming(lora.about)
    page = html.render(lora)
    for line in (*lines, *(one.message for one in found)):
        assert line in text
        assert markdown.safe(public(line)) in mark
    assert "In words" in page
    assert not any(line.startswith(("No ", "Nothing ")) for line in lines)
    report = document(lora, words=True)
    assert report.summary == lines and report.findings == tuple(found)
    assert document(lora).summary == ()


def test_names_from_files_are_no_markup() -> None:
    name = "model.layers.0.<b>|x\n`y`.weight"
    diff = ftdiff.compare({name: np.ones((2, 2))}, {name: np.full((2, 2), np.nan)})
    told = markdown.audit(ftdiff.audit(diff))
    assert "&lt;b&gt;\\|x\\\\n\\`y\\`" in told
    assert all(line.count(" | ") == 2 for line in told.splitlines() if line.startswith("| alarm"))


def test_the_command_reads_a_diff_or_a_matrix(lora: ftdiff.Diff, tmp_path: Path) -> None:
    run = CliRunner().invoke
    saved, matrix = tmp_path / "d.json", tmp_path / "m.csv"
    lora.save(saved)
    lora.table().to_csv(matrix)
    whole = run(door, ["findings", str(saved)])
    assert whole.exit_code == 0 and "regime" in whole.output and "summary" in whole.output
    part = run(door, ["findings", str(matrix), "--format", "json"])
    assert part.exit_code == 0
    rules = {one["rule"] for one in json.loads(part.output)["findings"]}
    assert "contrast" in rules and "left-out" in rules and "regime" not in rules
    absolute = run(door, ["findings", str(saved), "-m", "rms_change"])
    assert absolute.exit_code == 0 and "(rms change 0." in absolute.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["findings", "nowhere.json"], "nowhere.json"),
        (["findings", "nowhere.csv"], "nowhere.csv"),
        (["audit", "nowhere.json"], "nowhere.json"),
        (["audit", "a", "b", "--policy", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "ftdiff", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_weight_and_no_plot_is_loaded_for_words(lora: ftdiff.Diff, tmp_path: Path) -> None:
    saved = lora.save(tmp_path / "d.json")
    code = (
        "import sys; from ftdiff.cli import ftdiff as f\n"
        f"f(['findings', {str(saved)!r}], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "matplotlib", "seaborn", "peft"}
