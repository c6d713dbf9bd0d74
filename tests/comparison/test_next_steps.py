"""From a diff onwards: methods that are the public doors, columns that say what they mean."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import ftdiff
from ftdiff.comparison.column_words import COLUMN_WORDS, described
from ftdiff.comparison.frame import COUNTED, IDENTITY, PARTS
from ftdiff.comparison.next_steps import PUBLIC
from ftdiff.deltas.moments import COLUMNS
from ftdiff.errors import BadCall, UnknownName
from ftdiff.metrics import METRICS
from ftdiff.naming import PLACE
from tests.conftest import FIXTURES, llama, nudge

SAVED = Path(__file__).parent / "saved"
Q = "layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def diff() -> ftdiff.Diff:
    return ftdiff.compare(FIXTURES / "base", FIXTURES / "lora")


def test_the_version_is_the_installed_one() -> None:
    assert ftdiff.__version__ == importlib.metadata.version("ftdiff")


def test_completion_shows_what_is_public_and_no_more(diff: ftdiff.Diff) -> None:
    assert dir(diff) == sorted(PUBLIC)
    assert dir(ftdiff) == ftdiff.__all__
    for name in dir(diff):
        assert getattr(diff, name) is not None, name
        assert name in ("about", "overall") or getattr(ftdiff.Diff, name).__doc__, name


def test_a_method_is_a_call_of_the_public_door(diff: ftdiff.Diff, tmp_path: Path) -> None:
    assert diff.to_pandas() is diff.frame
    assert [one.record() for one in diff.findings()] == [
        one.record() for one in ftdiff.findings(diff)
    ]
    found = diff.audit(fail_on="note")
    assert found.record() == ftdiff.audit(diff, fail_on="note").record() and not found.ok
    assert diff.audit(baseline=found).ok
    drawn = diff.plot("rotation", style="profile")
    assert isinstance(drawn, Axes)
    pyplot.close("all")
    page = diff.report(tmp_path / "page.html", "rotation")
    assert page.read_text().endswith("</html>\n") or "</html>" in page.read_text()
    with pytest.raises(UnknownName, match="did you mean 'rotation'"):
        diff.report(tmp_path / "x.html", "rotatio")


@pytest.mark.parametrize("name", ["rotation", ("rotation",)])
def test_a_lone_metric_is_one_metric(name: str | tuple[str, ...], diff: ftdiff.Diff) -> None:
    base = llama()
    tuned = nudge(base)
    one = ftdiff.compare(base, tuned, name)
    assert [n for n in one.frame if n in METRICS] == ["rotation"]
    assert [n for n in diff.keeping(name).frame if n in METRICS] == ["rotation"]
    grouped = diff.by("layer", metrics=name)
    assert [n for n in grouped if n in METRICS] == ["rotation"]
    spectral = ftdiff.compare(base, tuned, "spectral")  # a group's name
    assert "stable_rank" in spectral.frame
    drawn = [spectral.plot(style="spectrum", tensors=given) for given in (Q, [Q])]
    assert len(drawn[0].lines) == len(drawn[1].lines) > 0
    pyplot.close("all")


def test_a_lone_path_is_one_model() -> None:
    base, lora, full = (FIXTURES / name for name in ("base", "lora", "full"))
    assert ftdiff.lineage(str(full), str(base)).parent == str(base)
    run = ftdiff.trajectory(base, str(FIXTURES / "run"))
    assert len(run.about["sources"]["tuned"]) > 1
    with pytest.raises(BadCall, match="1 given: at least 2"):
        ftdiff.similarity(str(lora))
    alike = ftdiff.similarity([lora, FIXTURES / "rslora"], measures="signs")
    assert [*alike.frame] == [
        *ftdiff.similarity([lora, FIXTURES / "rslora"], measures=["signs"]).frame
    ]


def test_every_column_says_what_it_means(diff: ftdiff.Diff) -> None:
    assert {*IDENTITY, *PARTS, *COLUMNS, *COUNTED, "of"} == {*COLUMN_WORDS}
    assert {*PLACE} <= {*COLUMN_WORDS}
    told = diff.frame.attrs["columns"]
    assert [*told] == [*diff.frame.columns]
    assert told["delta_sq"]["unit"] == "weight²" and told["layer"]["source"]
    assert told["angle"]["unit"] == METRICS["angle"].unit == "degrees"
    for name, words in told.items():
        assert words["meaning"] and "unit" in words and "source" in words, name
        assert ("formula" in words) == (name in METRICS)
    grouped = diff.by("component", metrics="lift")
    assert [*grouped.attrs["columns"]] == [*grouped]
    assert diff.table("rotation").attrs["columns"]["rotation"]["formula"] == "sin θ = √(1 − cos²)"


def test_what_columns_mean_is_copied_once_and_saved_along(
    diff: ftdiff.Diff, tmp_path: Path
) -> None:
    frame = diff.frame
    moved = frame[frame["status"] == "changed"]
    assert moved.attrs["columns"] is frame.attrs["columns"]
    assert copy.deepcopy(frame.attrs)["columns"] is frame.attrs["columns"]
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs
    diff.save(tmp_path / "x.parquet")
    assert pd.read_parquet(tmp_path / "x.parquet").attrs == frame.attrs
    assert described(["nonsense"]) == {"columns": {}}


def test_a_diff_shows_its_map_in_lines(diff: ftdiff.Diff) -> None:
    first, *lines = repr(diff).splitlines()
    assert first.endswith("196 of 338 tensors moved)")
    *rows, key = lines
    assert [row.split()[0] for row in rows] == [*diff.table().filter(regex="attn|mlp").columns]
    assert key.startswith("‖ΔW‖/‖W‖  0.07538 ░░▒▒▓▓██ 0.3103") and "layers 0 to 27" in key
    assert all(len(line) <= 79 for line in lines)
    table = diff.table()
    for row in rows:
        name, drawn = row.split()
        shades = ["░▒▓█".index(letter) for letter in drawn[::2]]
        values = [*table[name]]
        assert len(shades) == len(values)
        pairs = sorted(zip(values, shades, strict=True))
        assert [shade for _, shade in pairs] == sorted(shades), name


def test_a_notebook_shows_the_same_map_in_colours(diff: ftdiff.Diff) -> None:
    text = diff._repr_html_()
    drawn = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    assert len(drawn.findall("rect")) == 7 * 28
    assert drawn.findtext("title", "").startswith("Heatmap of ‖ΔW‖/‖W‖, 28 layers × 7 components")
    assert "layers 0 to 27" in text and "<table>" in text


@pytest.mark.parametrize(
    "shown",
    [
        ftdiff.Diff.of_rows([], {}),
        ftdiff.compare({"w": np.ones((2, 2))}, {"w": np.ones((2, 2))}),
        ftdiff.load(SAVED / "diff.json"),
    ],
    ids=["empty", "no layers", "old"],
)
def test_any_diff_shows_itself(shown: ftdiff.Diff) -> None:
    assert repr(shown).startswith("Diff(")
    assert shown._repr_html_().startswith("<p><b>Diff(")


def test_names_from_files_are_text_in_the_map() -> None:
    name = "model.layers.0.<script>\x1b[2J.weight"
    shown = ftdiff.compare({name: np.ones((2, 2))}, {name: np.full((2, 2), 2.0)})
    assert "<script" not in shown._repr_html_()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", repr(shown))
