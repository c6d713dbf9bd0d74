"""What a reader does with the page, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

import ftdiff
from ftdiff.reports import html
from ftdiff.reports.palette import STOPS
from tests.browser.conftest import Browser
from tests.conftest import FIXTURES

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def full() -> ftdiff.Diff:
    return ftdiff.compare(FIXTURES / "base", FIXTURES / "full")


@pytest.fixture(scope="module")
def report(full: ftdiff.Diff, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return html.save(full, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def page(browser: Browser, report: Path) -> Chrome:
    return browser.open(report)


def cell(page: Chrome, full: ftdiff.Diff, layer: int, component: str) -> WebElement:
    """The cell of the heatmap that stands for one group of tensors."""
    columns = [name for name in full.table() if not name.startswith("norm.")]
    at = layer * len(columns) + columns.index(component)
    return page.find_element(By.CSS_SELECTOR, f'rect.cell[data-i="{at}"]')


def rows(page: Chrome) -> list[list[str]]:
    """The texts of the table's rows that are there now."""
    found: list[list[str]] = page.execute_script(  # type: ignore[no-untyped-call]
        "return [...document.querySelectorAll('#tensors-frame tbody tr:not(.space)')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )
    return found


def heads(page: Chrome) -> list[str]:
    return [b.text for b in page.find_elements(By.CSS_SELECTOR, "#tensors-frame th button")]


def count(page: Chrome) -> str:
    return page.find_element(By.ID, "count").text


def fills(page: Chrome) -> list[str]:
    found: list[str] = page.execute_script(  # type: ignore[no-untyped-call]
        "return [...document.querySelectorAll('rect.cell')].map(c => c.getAttribute('fill'))"
    )
    return found


def test_hovering_a_cell_gives_its_numbers(page: Chrome, full: ftdiff.Diff) -> None:
    ActionChains(page).move_to_element(cell(page, full, 3, "mlp.up")).perform()
    said = page.find_element(By.ID, "readout").text
    assert "layer 3 · mlp.up" in said
    drawn, panel = (page.find_element(By.CSS_SELECTOR, c).rect for c in ("svg.map", "#readout"))
    assert panel["x"] > drawn["x"] + drawn["width"] and panel["y"] < drawn["y"] + drawn["height"]
    row = full.frame[(full.frame["layer"] == 3) & (full.frame["component"] == "mlp.up")].iloc[0]
    assert row["tensor"] in said
    for metric in ("relative_norm", "rotation", "cosine"):
        assert f"{row[metric]:.4g}" in said


def test_clicking_a_cell_keeps_its_layer_and_a_button_brings_all_back(
    page: Chrome, full: ftdiff.Diff
) -> None:
    cell(page, full, 5, "attn.v").click()
    layer = heads(page).index("layer")
    assert {row[layer] for row in rows(page)} == {"5"}
    here = int((full.frame["layer"] == 5).sum())
    assert count(page) == f"{here} of 338 tensors, layer 5"
    page.find_element(By.ID, "all-layers").click()
    assert count(page) == "338 of 338 tensors"


def test_switching_metric_and_normalisation_recolours_from_the_same_numbers(
    page: Chrome, full: ftdiff.Diff
) -> None:
    columns = [name for name in full.table() if not name.startswith("norm.")]
    drawn = fills(page)
    Select(page.find_element(By.ID, "metric")).select_by_value("rotation")
    values = full.table("rotation")[columns].to_numpy().ravel()
    assert fills(page)[values.argmax()] == STOPS[-1]
    assert fills(page)[values.argmin()] == STOPS[0]
    assert "sin" in page.find_element(By.ID, "metric-label").text
    Select(page.find_element(By.ID, "normalise")).select_by_value("component")
    table = full.table("rotation")[columns]
    shares = (table / table.abs().mean()).to_numpy().ravel()
    shown = [
        td.get_attribute("textContent") for td in page.find_elements(By.CSS_SELECTOR, ".cells td")
    ]
    np.testing.assert_allclose([float(str(text)) for text in shown], shares, rtol=1e-3)
    furthest = int(abs(shares - 1).argmax())
    assert fills(page)[furthest] == (STOPS[-1] if shares[furthest] > 1 else STOPS[0])
    label = page.find_element(By.CSS_SELECTOR, "svg.map").get_attribute("aria-label")
    assert "normalised by component" in str(label)
    Select(page.find_element(By.ID, "normalise")).select_by_value("none")
    Select(page.find_element(By.ID, "metric")).select_by_value("relative_norm")
    assert fills(page) == drawn  # the script's colours are those that were there without it


def test_a_finding_outlines_its_cells_and_lets_them_go(page: Chrome, full: ftdiff.Diff) -> None:
    page.find_element(By.CSS_SELECTOR, "details summary").click()
    button = page.find_element(By.CSS_SELECTOR, "button.outlines")
    said = button.find_element(By.XPATH, "..").text
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)  # type: ignore[no-untyped-call]
    button.click()
    assert "layers 3–11: mlp.gate" in said
    frames = page.find_elements(By.CSS_SELECTOR, "rect.outlined")
    there = {(f.get_attribute("x"), f.get_attribute("y")) for f in frames}
    spoken = [cell(page, full, layer, "mlp.gate") for layer in (3, 11)]
    assert {(c.get_attribute("x"), c.get_attribute("y")) for c in spoken} <= there
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.find_elements(By.CSS_SELECTOR, "rect.outlined") == []


def test_sorting_is_by_number_both_ways_and_what_has_none_comes_last(
    page: Chrome, full: ftdiff.Diff
) -> None:
    at = heads(page).index("rotation")
    button = page.find_elements(By.CSS_SELECTOR, "#tensors-frame th button")[at]
    page.execute_script("arguments[0].scrollIntoView({inline: 'center'})", button)  # type: ignore[no-untyped-call]
    button.click()
    ranked = full.frame.sort_values("rotation", ascending=False)
    assert [row[0] for row in rows(page)][:10] == ranked["tensor"].tolist()[:10]
    button.click()
    assert [row[0] for row in rows(page)][:10] == ranked["tensor"].tolist()[::-1][:10]
    sorts = [
        th.get_attribute("aria-sort")
        for th in page.find_elements(By.CSS_SELECTOR, "#tensors-frame th")
    ]
    assert sorts[at] == "ascending" and sorts.count("none") == len(sorts) - 1


def test_filtering_by_words_and_status(page: Chrome, full: ftdiff.Diff) -> None:
    page.find_element(By.ID, "filter").send_keys("MLP down_proj")
    assert count(page) == "28 of 338 tensors"
    assert all("mlp.down_proj" in row[0] for row in rows(page))
    page.find_element(By.ID, "filter").send_keys(" nonsense")
    assert count(page) == "0 of 338 tensors" and rows(page) == []
    page.find_element(By.ID, "clear").click()
    assert count(page) == "338 of 338 tensors"
    Select(page.find_element(By.ID, "status")).select_by_value("changed")
    assert count(page) == f"{(full.frame['status'] == 'changed').sum()} of 338 tensors"


def test_the_keyboard_reaches_the_map_moves_chooses_and_leaves(page: Chrome) -> None:
    page.find_element(By.ID, "keep-png").send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.get_attribute("class") == "map"
    readout = page.find_element(By.ID, "readout")
    assert "layer 1 · attn.v" in readout.text  # the largest is pointed at first
    focused.send_keys(Keys.PAGE_UP, Keys.HOME)
    assert "layer 27 · attn.q" in readout.text  # the top left
    focused.send_keys(Keys.ARROW_UP, Keys.ARROW_LEFT)
    assert "layer 27 · attn.q" in readout.text
    focused.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "layer 26 · attn.v" in readout.text
    focused.send_keys(Keys.END, Keys.PAGE_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert "layer 0 · mlp.gate" in readout.text  # the edge holds
    focused.send_keys(Keys.ENTER)
    assert count(page).endswith("layer 0")
    focused.send_keys(Keys.ESCAPE)
    assert count(page) == "338 of 338 tensors"
    outline = page.execute_script(  # type: ignore[no-untyped-call]
        "return getComputedStyle(document.activeElement).outlineStyle"
    )
    assert outline == "solid"


def test_each_control_has_a_name(page: Chrome) -> None:
    for control in page.find_elements(By.CSS_SELECTOR, "input, select, button, svg, [tabindex]"):
        assert control.accessible_name or not control.is_displayed(), control.get_attribute(
            "outerHTML"
        )


def test_nothing_is_asked_for_and_the_console_is_silent(browser: Browser, report: Path) -> None:
    page = browser.open(report)
    for one in page.find_elements(By.CSS_SELECTOR, "rect.cell")[:20:5]:
        ActionChains(page).move_to_element(one).click().perform()
    for name in ("metric", "normalise", "status"):
        chooser = Select(page.find_element(By.ID, name))
        chooser.select_by_index(len(chooser.options) - 1)
    for button in page.find_elements(By.CSS_SELECTOR, "#tensors-frame th button"):
        page.execute_script("arguments[0].click()", button)  # type: ignore[no-untyped-call]
    assert browser.requests() == [report.as_uri()]
    assert browser.console() == []


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    steal = "document.title='stolen'"
    names = [
        f"model.layers.0.<img src=x onerror={steal}>.weight",
        f"model.layers.0.</script><script>{steal}</script>.weight",
        f'model.layers.0."><svg onload={steal}>.weight',
        "model.layers.0.{{ constructor }}${1}.weight",
    ]
    W = np.ones((2, 2))
    base = dict.fromkeys(names, W)
    tuned = {name: (2 + i) * W for i, name in enumerate(names)} | {f"<b>{steal}": W}
    page = browser.open(html.save(ftdiff.compare(base, tuned), tmp_path / "report.html"))
    for one in page.find_elements(By.CSS_SELECTOR, "rect.cell"):
        ActionChains(page).move_to_element(one).click().perform()
    page.find_element(By.ID, "all-layers").click()
    assert {row[0] for row in rows(page)} == {*names, f"<b>{steal}"}
    assert page.title.startswith("ftdiff: ")
    assert (
        page.find_elements(By.CSS_SELECTOR, "img, b, svg svg, body script:not([id]) ~ script") == []
    )
    assert browser.console() == []
    assert len(browser.requests()) == 1


def test_a_hundred_thousand_rows_scroll_sort_and_filter(browser: Browser, tmp_path: Path) -> None:
    small = ftdiff.compare({"h.0.w.weight": np.ones(2)}, {"h.0.w.weight": np.ones(2) * 2})
    row = small.frame.iloc[0].to_dict()
    many = [
        {
            **row,
            "tensor": f"h.{i % 50}.mlp.experts.{i}.weight",
            "layer": i % 50,
            "delta_sq": float(i),
        }
        for i in range(100_000)
    ]
    diff = ftdiff.Diff.of_rows([{k: r[k] for k in (*small.frame,)[:28]} for r in many], small.about)
    page = browser.open(html.save(diff, tmp_path / "report.html"))
    assert count(page) == "100,000 of 100,000 tensors"
    assert len(rows(page)) < 80
    assert rows(page)[0][0] == "h.49.mlp.experts.99999.weight"  # the largest change first
    frame = page.find_element(By.ID, "tensors-frame")
    for share in (0.5, 1.0):
        page.execute_script(  # type: ignore[no-untyped-call]
            "arguments[0].scrollTop = arguments[1] * arguments[0].scrollHeight", frame, share
        )
        there = re.compile(rf"experts\.({round(100_000 * (1 - share)):d})\.")
        WebDriverWait(page, 10).until(
            lambda p, there=there: any(there.search(row[0]) for row in rows(p))
        )
        assert len(rows(page)) < 80
    slowest: float = page.execute_script(  # type: ignore[no-untyped-call]
        """const frame = arguments[0]; let slowest = 0;
        for (let i = 0; i < 40; i += 1) {
          const start = performance.now();
          frame.scrollTop = (i / 40) * frame.scrollHeight;
          frame.dispatchEvent(new Event("scroll"));
          frame.getBoundingClientRect();
          slowest = Math.max(slowest, performance.now() - start);
        }
        return slowest;""",
        frame,
    )
    assert slowest < 1000  # frozen is seconds; this is some milliseconds
    page.find_element(By.ID, "filter").send_keys("experts.4242")
    assert count(page) == "11 of 100,000 tensors"


def test_without_scripts_the_summary_the_picture_and_the_tables_are_there(
    start: Callable[..., Browser], report: Path, full: ftdiff.Diff
) -> None:
    page = start("--blink-settings=scriptEnabled=false").open(report)
    text = page.find_element(By.TAG_NAME, "body").text
    assert f"{full.overall['relative_norm']:.4g}" in text
    assert "attn.q" in text and "model.safetensors" in text
    assert page.find_element(By.CSS_SELECTOR, "svg.map").size["height"] > 200
    assert not page.find_element(By.ID, "metric").is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "#tensors-frame tbody tr")) == 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(browser: Browser, report: Path, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page = browser.open(report)
    colours: dict[str, str] = page.execute_script(  # type: ignore[no-untyped-call]
        """const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(["paper", "wash", "ink", "faint", "link", "warn"].map(
          (name) => [name, style.getPropertyValue("--" + name).trim()]));"""
    )
    for ground in ("paper", "wash"):
        for text in ("ink", "faint", "link"):
            assert contrast(colours[ground], colours[text]) >= 4.5, (ground, text)
        assert contrast(colours[ground], colours["warn"]) >= 3
    assert (luminance(colours["paper"]) < 0.1) == (scheme == "dark")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_print_shows_tables_and_no_controls(page: Chrome) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})  # type: ignore[no-untyped-call]
    assert not page.find_element(By.ID, "filter").is_displayed()
    assert page.find_element(By.CSS_SELECTOR, "svg.map").is_displayed()
    frame = page.find_element(By.ID, "tensors-frame")
    assert frame.value_of_css_property("max-height") == "none"
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")  # type: ignore[no-untyped-call]
    assert len(rows(page)) == 338
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})  # type: ignore[no-untyped-call]


def test_a_printed_table_fits_its_sheet_in_two_lines_a_row(
    browser: Browser, report: Path, full: ftdiff.Diff
) -> None:
    page = browser.open(report)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})  # type: ignore[no-untyped-call]
    sheet = {"width": 720, "height": 1000, "deviceScaleFactor": 1, "mobile": False}  # A4, in pixels
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sheet)  # type: ignore[no-untyped-call]
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")  # type: ignore[no-untyped-call]
    width, heights = page.execute_script(  # type: ignore[no-untyped-call]
        """return [document.querySelector("#tensors-frame table").offsetWidth,
          [...document.querySelectorAll("#tensors-frame tbody tr:not(.space)")]
            .map((row) => row.offsetHeight)]"""
    )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[no-untyped-call]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})  # type: ignore[no-untyped-call]
    assert width <= 720
    assert len(heights) == len(full.frame) and max(heights) < 30  # two lines at most


def test_a_narrow_page_does_not_scroll_sideways(browser: Browser, report: Path) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page = browser.open(report)
    widths = json.loads(
        page.execute_script(  # type: ignore[no-untyped-call]
            "const d = document.documentElement;"
            "return JSON.stringify([d.scrollWidth, d.clientWidth])"
        )
    )
    letters = page.find_element(By.CSS_SELECTOR, "svg.map text").rect["height"]
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert widths[0] <= widths[1]
    assert letters >= 11  # a map that does not fit is moved, not shrunk


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2, of `#rrggbb`."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def spectral(tmp_path_factory: pytest.TempPathFactory) -> tuple[ftdiff.Diff, Path]:
    diff = ftdiff.compare(FIXTURES / "base", FIXTURES / "merged", ["relative_norm", "spectral"])
    return diff, html.save(diff, tmp_path_factory.mktemp("spectral") / "report.html")


def test_a_cell_shows_its_tensors_spectrum_and_how_it_was_measured(
    browser: Browser, spectral: tuple[ftdiff.Diff, Path]
) -> None:
    diff, path = spectral
    page = browser.open(path)
    ActionChains(page).move_to_element(cell(page, diff, 3, "mlp.up")).perform()
    name = "model.layers.3.mlp.up_proj.weight"
    note = diff.about["spectra"][name]
    drawn = page.find_element(By.CSS_SELECTOR, "#readout svg.spectrum")
    points = drawn.find_elements(By.CSS_SELECTOR, "circle")
    assert len(points) == len(note["curve"]["sigma"])
    heights = [float(str(point.get_attribute("cy"))) for point in points]
    assert heights == sorted(heights)  # the largest is on top
    edge = drawn.find_element(By.CSS_SELECTOR, ".edge")
    line = float(re.findall(r"M\S+ ([\d.]+)H", str(edge.get_attribute("d")))[0])
    assert sum(height < line for height in heights) == note["curve"]["above"]
    said = page.find_element(By.ID, "readout").text
    assert f"{note['curve']['above']} above" in said and f"by {note['method']}" in said
    assert str(drawn.get_attribute("aria-label")).startswith("36 singular values")
    Select(page.find_element(By.ID, "metric")).select_by_value("effective_rank")
    values = [float(str(t)) for t in (
        td.get_attribute("textContent") for td in page.find_elements(By.CSS_SELECTOR, ".cells td")
    ) if t != "–"]  # fmt: skip
    assert values and max(values) <= 36
