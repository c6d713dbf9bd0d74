"""What is pasted into cards, papers and pull requests, held to the byte.

`pytest tests/test_golden.py --overwrite` writes these files anew; what changed is then read in the
diff. The option is nbmake's, which writes the outputs of notebooks anew with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ftdiff
from ftdiff.reports import card
from ftdiff.reports import text as spoken
from ftdiff.reports.document import document
from ftdiff.reports.markup import WRITERS
from ftdiff.reports.section import section
from tests.conftest import FIXTURES

GOLDEN = Path(__file__).parent / "golden"
ENDINGS = {"markdown": "md", "html": "html", "json": "json", "latex": "tex"}
# What the day, the machine and the release decide is fixed.
FIXED = {
    "base": "fixtures/base",
    "versions": {"ftdiff": "1.2.3"},
    "created": "2026-01-02T03:04:05+00:00",
}


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """A function that holds a text against a file of `tests/golden`, or writes it there."""

    def hold(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--overwrite"):
            path.write_text(text, encoding="utf-8", newline="")
        assert text == path.read_bytes().decode(), f"{name} differs; --overwrite accepts it"

    return hold


@pytest.fixture(scope="module", params=["full", "lora"])
def diff(request: pytest.FixtureRequest) -> ftdiff.Diff:
    found = ftdiff.compare(FIXTURES / "base", FIXTURES / request.param)
    return ftdiff.Diff(found.frame, {**found.about, **FIXED, "tuned": f"fixtures/{request.param}"})


@pytest.mark.parametrize("format_", WRITERS)
def test_a_section_is_written_the_same_every_time(
    diff: ftdiff.Diff, golden: Callable[[str, str], None], format_: str
) -> None:
    text = WRITERS[format_](section(diff), "ftdiff/heatmap.png")
    golden(f"section-{diff.about['kind']}.{ENDINGS[format_]}", text + "\n")


def test_a_card_is_begun_the_same_every_time(
    diff: ftdiff.Diff, golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    card.save(diff, tmp_path / "README.md", base_model="org/base")
    golden(f"card-{diff.about['kind']}.md", (tmp_path / "README.md").read_bytes().decode())


@pytest.mark.parametrize("format_", ["markdown", "table"])
def test_findings_are_said_the_same_every_time(
    diff: ftdiff.Diff, golden: Callable[[str, str], None], format_: str
) -> None:
    title = f"{diff.about['base']} → {diff.about['tuned']}"
    text = spoken.findings(diff, ftdiff.findings(diff), title, format_)
    ending = {"markdown": "md", "table": "txt"}[format_]
    golden(f"findings-{diff.about['kind']}.{ending}", text.rstrip("\n") + "\n")


def test_an_audit_is_written_the_same_every_time(
    diff: ftdiff.Diff, golden: Callable[[str, str], None]
) -> None:
    golden(f"audit-{diff.about['kind']}.md", spoken.audit(ftdiff.audit(diff), "markdown"))


def test_a_report_says_its_summary_and_cautions_the_same_every_time(
    diff: ftdiff.Diff, golden: Callable[[str, str], None]
) -> None:
    report = document(diff, words=True)
    lines = [report.title, *report.summary, *report.cautions]
    golden(f"summary-{diff.about['kind']}.txt", "\n".join(lines) + "\n")


def test_every_golden_file_is_held() -> None:
    kinds = ("full", "lora")
    names = {f"section-{kind}.{ending}" for kind in kinds for ending in ENDINGS.values()}
    names |= {f"{what}-{kind}.md" for kind in kinds for what in ("audit", "card", "findings")}
    names |= {f"{what}-{kind}.txt" for kind in kinds for what in ("findings", "summary")}
    assert {path.name for path in GOLDEN.iterdir()} == names
