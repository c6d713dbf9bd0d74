"""A diff of parts says what it was cut by, and is never taken for one of the whole model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import ftdiff
from ftdiff.analyses.audit import policy_of
from ftdiff.analyses.parts import columns, heads, rows, tokens
from ftdiff.cli import ftdiff as door
from ftdiff.comparison import cut
from ftdiff.comparison.selected import of_diff
from ftdiff.comparison.selection import Selection
from ftdiff.errors import BadCall
from ftdiff.reports import html
from ftdiff.reports.document import document
from ftdiff.reports.first_screen import first_screen
from ftdiff.reports.section import section
from ftdiff.reports.summary import summary
from tests.conftest import llama, nudge, write_model

UP = "model.layers.1.mlp.up_proj.weight"
CONFIG = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 4}
MEASURES: dict[str, Callable[..., ftdiff.Diff]] = {
    "head": heads,
    "token": tokens,
    "row": lambda base, tuned: rows(base, tuned, UP),
    "column": lambda base, tuned: columns(base, tuned, UP),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base, and a fine-tune with NaN and a zeroed matrix where no head, token or row of UP is."""
    folder, state = tmp_path_factory.mktemp("cut"), nudge(llama())
    state["model.layers.0.mlp.down_proj.weight"][:] = torch.nan
    state["model.layers.0.mlp.up_proj.weight"].zero_()
    base = write_model(folder / "base", llama(), config=CONFIG)
    return base, write_model(folder / "tuned", state, config=CONFIG)


@pytest.fixture(params=MEASURES)
def measured(request: pytest.FixtureRequest, models: tuple[Path, Path]) -> tuple[str, ftdiff.Diff]:
    return request.param, MEASURES[request.param](*models)


def older(diff: ftdiff.Diff, models: tuple[Path, Path]) -> ftdiff.Diff:
    """Return it as it was once saved: with the whole model's coverage and no word of the cut."""
    whole = ftdiff.compare(*models).about
    about = {name: said for name, said in diff.about.items() if name != "cut"}
    return ftdiff.Diff(diff.columns, {**about, **{k: whole[k] for k in ("coverage", "shares")}})


def test_it_says_how_much_was_read(measured: tuple[str, ftdiff.Diff], tmp_path: Path) -> None:
    by, diff = measured
    for found in (diff, ftdiff.load(diff.save(tmp_path / "parts.json"))):
        about, of = found.about, found.frame["tensor"].nunique()
        assert about["cut"] == by == cut.cut_of(found)
        assert about["counts"]["measured"] == about["parts"]["read"]["tensors"] == of
        assert about["coverage"] == pytest.approx(
            found.frame["numel"].sum() / sum(W.numel() for W in llama().values())
        )
        assert f"{about['coverage']:.1%} of the parameters compared" in summary(found)[0]


def test_nothing_that_speaks_of_a_model_takes_it(
    measured: tuple[str, ftdiff.Diff], models: tuple[Path, Path], tmp_path: Path
) -> None:
    by, diff = measured
    for found in (diff, older(diff, models)):
        named = rf"a diff of {len(found.frame)} {by}s of \d+ tensors?; .*ftdiff compare BASE"
        for take in (ftdiff.audit, policy_of, section):
            with pytest.raises(BadCall, match=named):
                take(found)
        with pytest.raises(BadCall, match=named):
            ftdiff.audit(ftdiff.compare(*models), baseline=found)
        path = str(found.save(tmp_path / "parts.json"))
        for call in (
            *(("audit", path), ("card", path, "--to", "markdown")),
            ("attest", path, "--new-key", str(tmp_path / f"key{len(found.about)}")),
        ):
            done = CliRunner().invoke(door, call)
            assert isinstance(done.exception, BadCall) and "passed" not in done.output
            assert re.search(f"{re.escape(path)}: {named}", str(done.exception)), call


def test_what_is_said_of_it_is_of_parts(
    measured: tuple[str, ftdiff.Diff], models: tuple[Path, Path]
) -> None:
    by, diff = measured
    for found in (diff, older(diff, models)):
        screen = first_screen(found, document(found, words=True))
        said = " ".join([*summary(found), *(one.message for one in found.findings())])
        said += " ".join([str(screen), repr(found)])
        count, of = len(found.frame), found.frame["tensor"].nunique()
        assert f"This is of {cut.parts(found)}; of all else nothing is said." in said
        assert cut.parts(found).startswith(f"{count} {by}s of {of} tensor")
        assert f"of {count} {by}s moved" in said
        assert not re.search(rf"{count} tensors|tensors moved|counterpart|100.0% of the p", said)
    if by == "head":
        page = html.render(diff)
        assert f"{count} {by}s with the largest" in page and f">{by.capitalize()}s</h2>" in page


def test_what_could_not_be_cut_is_a_part(models: tuple[Path, Path]) -> None:
    diff = heads(*models)
    columns = {**diff.columns, "head": diff.columns["head"].copy()}
    columns["head"][0] = None
    columns["kv_head"] = columns["kv_head"].copy()
    columns["kv_head"][0] = None
    assert cut.noun(ftdiff.Diff(columns, diff.about)) == "part"
    assert cut.noun(ftdiff.Diff.of_rows([], diff.about)) == "head"
    assert cut.noun(ftdiff.compare(*models)) == "tensor"
    assert cut.parts(ftdiff.compare(*models)) == ""


def test_a_selection_of_parts_is_counted_in_parts(models: tuple[Path, Path]) -> None:
    found = of_diff(heads(*models), Selection(layers="0"))
    assert re.search(r"\b16 of 48 heads\b", " ".join(found.about["notes"]))
    assert "the 16 heads selected (16 of 16 selected heads" in " ".join(summary(found))


def test_parts_that_stood_still_make_no_model_its_base(models: tuple[Path, Path]) -> None:
    found = heads(models[0], models[0])
    verdict = first_screen(found, document(found, words=True)).verdict.sentence
    assert verdict == "None of the 48 heads of 12 tensors that were measured of base moved."
