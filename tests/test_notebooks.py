"""What a notebook shows: results that print themselves, and notebooks committed as they ran."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ftdiff
from tests.conftest import FIXTURES

NOTEBOOKS = sorted((FIXTURES.parent / "notebooks").glob("*.ipynb"))
_MACHINE = re.compile(r"/(?:home|root|work|tmp|Users|usr)/|[A-Z]:\\\\Users")


def test_every_verdict_shows_itself_with_its_rows() -> None:
    base, lora, merged = (FIXTURES / name for name in ("base", "lora", "merged"))
    verified = ftdiff.verify(base, lora, merged)._repr_html_()
    assert verified.startswith("<p><b>merged") and "targets are base + adapter" in verified
    unmerged = ftdiff.verify(base, lora, base)
    assert unmerged.verdict == "not_merged"
    assert unmerged._repr_html_().count("<tr>") == 1 + 40  # a heading, and what fits
    assert "… and 156 more" in unmerged._repr_html_()
    parent = ftdiff.lineage(merged, [base])._repr_html_()
    assert parent.startswith("<p><b>nearest</b></p>") and "fixtures/base" in parent
    audited = ftdiff.audit(ftdiff.compare(base, lora))._repr_html_()
    assert audited.startswith("<p><b>passed: ") and ">scale<" in audited


def test_names_stay_text_in_every_verdict() -> None:
    name = "model.layers.0.<script>x</script>.weight"
    base, tuned = {name: np.ones((2, 2))}, {name: np.full((2, 2), np.nan)}
    shown = ftdiff.audit(ftdiff.compare(base, tuned))._repr_html_()
    assert shown.startswith("<p><b>failed: ")
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_each_of_the_five_questions_is_one_command() -> None:
    (path,) = (one for one in NOTEBOOKS if one.stem == "questions")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    asked = ["".join(cell["source"]).partition("\n")[0] for cell in cells[1:]]
    for question in ("Did it train?", "Is this merge right?", "Which layers moved?",
                     "Is it the right base?", "How alike are these five?"):  # fmt: skip
        at = 1 + asked.index(f"## {question}")
        magic, command = "".join(cells[at + 1]["source"]).splitlines()
        assert magic == "%%sh" and command.startswith("ftdiff ")
        assert cells[at + 1]["outputs"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_it_ran_and_names_no_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    printed = ["".join(one["text"]) for one in outputs if one["output_type"] == "stream"]
    if any("".join(cell["source"]).startswith("%%sh") for cell in cells):  # commands print
        assert "image/png" in kinds and not [one for one in printed if "\x1b" in one]
    else:
        assert {"image/png", "text/html"} <= kinds and not printed
    shown = [one for one in outputs if one["output_type"] != "stream"]
    assert {one["output_type"] for one in shown} <= {"display_data", "execute_result"}
    said = [str(o["data"][k]) for o in shown for k in o["data"] if k.startswith("text/")]
    assert not [found for one in said + printed for found in _MACHINE.findall(one)]
    assert len(text) < 300_000
