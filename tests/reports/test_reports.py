from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.findings import findings
from ftdiff.reports import html, runs_page
from ftdiff.reports.document import document
from ftdiff.reports.maps import described, maps
from ftdiff.reports.page_marks import marked
from ftdiff.reports.palette import STOPS, rgb
from ftdiff.reports.scale import scale_of
from ftdiff.reports.svg import panes
from tests.conftest import FIXTURES

_NO_LOADER = jinja2.Environment()


class Page(HTMLParser):
    """What a browser would make of a page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def full() -> ftdiff.Diff:
    fixtures = FIXTURES
    return ftdiff.compare(fixtures / "base", fixtures / "full")


def test_a_page_asks_the_network_for_nothing(full: ftdiff.Diff) -> None:
    page = Page(html.render(full))
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "img", "object", "embed"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    policy = [a["content"] or "" for _, a in page.elements if "http-equiv" in a]
    assert policy[0].startswith("default-src 'none'; style-src 'sha256-")


def test_a_page_without_scripts_has_its_picture_and_the_largest_tensors(full: ftdiff.Diff) -> None:
    page = Page(html.render(full))
    svgs = [attributes for tag, attributes in page.elements if tag == "svg"]
    pictures = [attributes for attributes in svgs if attributes["class"] == "map"]
    table = full.table()
    projections = [name for name in table if not name.startswith("norm.")]
    largest = table[projections].stack().idxmax()
    assert f"in layer {largest[0]}, {largest[1]}" in str(pictures[0]["aria-label"])
    cells = [a for tag, a in page.elements if tag == "rect" and a.get("class") == "cell"]
    assert len(cells) == table[projections].size
    assert cells[table[projections].to_numpy().argmax()]["fill"] == STOPS[-1]
    assert cells[table[projections].to_numpy().argmin()]["fill"] == STOPS[0]
    moved_most = full.frame.sort_values("relative_norm", ascending=False)["tensor"].iloc[:50]
    words = set(page.words)
    assert set(moved_most) <= words


def test_a_page_names_every_tensor_and_how_it_was_made(full: ftdiff.Diff) -> None:
    text = " ".join(Page(html.render(full)).words)
    for name in full.frame["tensor"]:
        assert name in text
    for file in (*full.about["files"]["base"], *full.about["files"]["tuned"]):
        assert file["header_sha256"] in text
    assert f"{full.overall['relative_norm']:.4g}" in text


def test_a_finding_marks_the_cells_it_speaks_of(full: ftdiff.Diff) -> None:
    drawn = maps(full, ["relative_norm"])
    wide = len(drawn[0].components)
    spoken = 0
    for one, cells in marked(findings(full), drawn):
        named = [(layer, name) for layer, name in one.cells if not name.startswith("norm.")]
        places = [int(cell.removeprefix("0:")) for cell in cells.split()]
        assert [(i // wide, drawn[0].components[i % wide]) for i in places] == named
        spoken += len(named)
    assert spoken >= 28


def test_a_tensor_called_script_stays_text() -> None:
    name = "model.layers.0.<script>alert(1)</script>.weight"
    ending = "model.layers.0.</script><img src=x onerror=y>.weight"
    hostile = {name: np.ones((2, 2)), ending: np.ones((2, 2)), "</title>\u202e": np.ones(2)}
    diff = ftdiff.compare(hostile, {key: 2 * value for key, value in hostile.items()})
    text = html.render(diff)
    page = Page(text)
    assert [a.get("type") for tag, a in page.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert name in page.words and ending in page.words
    assert "onerror" in text and not any("onerror" in attributes for _, attributes in page.elements)
    assert "\u202e" not in text


def test_the_numbers_of_a_page_are_those_of_the_diff(full: ftdiff.Diff) -> None:
    text = html.render(full)
    data = json.loads(re.findall(r'id="ftdiff-data">(.*?)</script>', text, re.DOTALL)[0])
    drawn = data["maps"][0]
    assert data["metric"] == "relative_norm"
    for metric in ("relative_norm", "rotation", "scale_share"):
        there = full.table(metric)[drawn["components"]]
        np.testing.assert_allclose(drawn["values"][metric], there.to_numpy().ravel(), rtol=5e-5)
    columns = {one["name"]: one for one in data["table"]["columns"]}
    assert columns["tensor"]["texts"] == full.frame["tensor"].tolist()
    status = columns["status"]
    assert [status["levels"][code] for code in status["codes"]] == full.frame["status"].tolist()


def test_a_page_of_a_7b_model_stays_small() -> None:
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj")
    model = {
        f"model.layers.{i}.self_attn.{name}.weight": np.full((2, 2), 1.0 + i)
        for i in range(32)
        for name in (*names, "q_norm", "k_norm")
    }
    diff = ftdiff.compare(model, {name: 1.1 * value for name, value in model.items()})
    assert len(html.render(diff).encode()) < 500_000


def test_what_a_page_reads_is_in_the_package() -> None:
    names = {*runs_page.STYLES, *html._SCRIPTS, "page.html.jinja", "runs.html.jinja"}
    for name in names | {"tables.html.jinja", "figures.html.jinja"}:
        assert jinja2.PackageLoader("ftdiff", "reports/page").get_source(_NO_LOADER, name)


def test_a_page_without_anything_to_draw_is_still_a_page() -> None:
    diff = ftdiff.compare({"w": np.ones(3)}, {"w": np.zeros(3)})
    page = Page(html.render(diff))
    assert not [tag for tag, _ in page.elements if tag in ("svg", "img")]
    assert "changed" in " ".join(page.words)


def test_a_page_and_a_drawn_heatmap_have_one_palette() -> None:
    from matplotlib.colors import to_hex

    from ftdiff.plots.elements.colours import BLUE_WHITE_ORANGE

    for share in (0.0, 0.25, 0.5, 0.9, 1.0):
        drawn = BLUE_WHITE_ORANGE(share)
        ours = np.array(rgb(share)) / 255
        np.testing.assert_allclose(ours, drawn[:3], atol=0.02)
    assert to_hex(BLUE_WHITE_ORANGE(0.0)) == STOPS[0]


def test_a_figure_is_described_in_words_and_blank_cells_are_no_numbers(fixtures: Path) -> None:
    drawn = maps(ftdiff.compare(fixtures / "base", fixtures / "lora"), ["relative_norm"])[0]
    assert described(drawn, "relative_norm").startswith(
        "Heatmap of ‖ΔW‖/‖W‖, 28 layers × 7 components: largest "
    )
    blank = replace(drawn, values={"relative_norm": np.full((28, 7), np.nan)})
    assert described(blank, "relative_norm").endswith("no cell has a value.")
    scale = scale_of([blank.values["relative_norm"]], "relative_norm")
    ((drawing,),) = panes([blank], "relative_norm", scale)
    assert {cell.fill for cell in drawing.cells} == {""}
    assert scale.bar == () and scale.words == "No cell has a value."


def test_the_coverage_comes_first(full: ftdiff.Diff) -> None:
    report = document(full)
    assert report.coverage == 1.0
    assert report.statuses == {"changed": 338}
    assert [row["component"] for row in report.components][:4] == [
        "attn.q",
        "attn.k",
        "attn.v",
        "attn.o",
    ]
    assert len(report.layers) == 28


def test_a_change_under_the_floor_is_said_and_one_above_it_is_not() -> None:
    import ml_dtypes

    rng = np.random.default_rng(0)
    W = rng.normal(size=(64, 64)).astype(np.float32)

    def said(size: float) -> list[str]:
        moved = W * (1 + size * rng.normal(size=W.shape))
        tuned = moved.astype(ml_dtypes.bfloat16)
        cautions = document(ftdiff.compare({"h.0.w": W}, {"h.0.w": tuned})).cautions
        return [line for line in cautions if "cannot be told from rounding to BF16" in line]

    assert said(0.003)
    assert not said(0.05)


def test_without_a_base_the_report_says_what_one_would_add(fixtures: Path) -> None:
    report = document(ftdiff.compare(None, fixtures / "lora"))
    assert any(line.startswith("Without a base") for line in report.cautions)
    assert "rms_change" in report.components[0]
    assert "relative_norm" not in report.components[0]
