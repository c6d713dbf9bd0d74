from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import ftdiff
from ftdiff.reports import html
from ftdiff.reports.document import document


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
    fixtures = Path(__file__).parent.parent / "fixtures"
    return ftdiff.compare(fixtures / "base", fixtures / "full")


def test_a_page_asks_the_network_for_nothing(full: ftdiff.Diff) -> None:
    page = Page(html.render(full))
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe"}
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/png;base64,")
    assert any(tag == "img" and attributes.get("alt") for tag, attributes in page.elements)


def test_a_page_names_every_tensor_and_how_it_was_made(full: ftdiff.Diff) -> None:
    text = " ".join(Page(html.render(full)).words)
    for name in full.frame["tensor"]:
        assert name in text
    for file in (*full.about["files"]["base"], *full.about["files"]["tuned"]):
        assert file["header_sha256"] in text
    assert f"{full.overall['relative_norm']:.4g}" in text


def test_a_tensor_called_script_stays_text() -> None:
    name = "model.layers.0.<script>alert(1)</script>.weight"
    hostile = {name: np.ones((2, 2)), '"><img src=x onerror=y>.weight': np.ones(2)}
    diff = ftdiff.compare(hostile, {key: 2 * value for key, value in hostile.items()})
    text = html.render(diff)
    page = Page(text)
    assert not [tag for tag, _ in page.elements if tag == "script"]
    assert [tag for tag, _ in page.elements if tag == "img"] == ["img"]
    assert name in " ".join(page.words)
    assert re.search(r"onerror", text) and "onerror" not in str(page.elements)


def test_a_page_without_anything_to_draw_is_still_a_page() -> None:
    diff = ftdiff.compare({"w": np.ones(3)}, {"w": np.zeros(3)})
    page = Page(html.render(diff))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "changed" in " ".join(page.words)


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
    W = rng.normal(size=(64, 64)).astype(ml_dtypes.bfloat16)

    def said(size: float) -> list[str]:
        moved = W.astype(np.float32) * (1 + size * rng.normal(size=W.shape))
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
