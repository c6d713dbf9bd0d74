"""What is seen of a page without scrolling, and whether everybody can read it."""

from __future__ import annotations

import csv
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

import ftdiff
from ftdiff.numbers import number
from ftdiff.reports import html
from ftdiff.reports.palette import STOPS
from tests.browser import models
from tests.browser.conftest import Browser
from tests.conftest import FIXTURES

pytestmark = pytest.mark.browser

SIZES = [(1440, 900), (1280, 720)]
#: By model, its stacks in order, and how many numbers its first screen has at least.
MODELS = {
    "llama": ([""], 6),
    "unet": (["down", "mid", "up"], 4),
    "flux": (["double", "single"], 4),
    "vision": (["vision", "language"], 4),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {
        "llama": models.llama_lora(),
        "unet": models.unet_lora(folder / "unet"),
        "flux": models.flux_like(),
        "vision": models.vision_language(),
    }
    pages = {name: html.save(diff, folder / f"{name}.html") for name, diff in made.items()}
    beside = [made["llama"], ftdiff.compare(FIXTURES / "base", FIXTURES / "full")]
    pages["beside"] = html.save(beside, folder / "beside.html")
    wide = [ftdiff.compare(FIXTURES / "base", FIXTURES / name) for name in ("merged_f32", "lora")]
    pages["wide"] = html.save(wide, folder / "wide.html")
    loras = [FIXTURES / name for name in ("lora", "rslora", "attention")]
    alike = ftdiff.similarity(loras, FIXTURES / "base")
    pages["similarity"] = html.save(alike, folder / "similarity.html")
    run = ftdiff.trajectory(FIXTURES / "base", [FIXTURES / "run"])
    pages["trajectory"] = html.save(run, folder / "trajectory.html")
    return pages


@pytest.fixture
def sized(browser: Browser) -> Iterator[Browser]:
    """A browser whose size and colour scheme may be changed; both are put back."""
    yield browser
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def resized(browser: Browser, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def below(page: Chrome, selector: str) -> list[float]:
    """How far down each element ends, in pixels from the top of the screen."""
    found: list[float] = page.execute_script(  # type: ignore[no-untyped-call]
        """return [...document.querySelectorAll(arguments[0])].map(
          (one) => one.getBoundingClientRect().bottom)""",
        selector,
    )
    return found


@pytest.mark.parametrize(("width", "height"), [*SIZES, (1600, 900), (900, 800)])
def test_the_table_of_several_keeps_to_its_column(
    sized: Browser, pages: dict[str, Path], width: int, height: int
) -> None:
    resized(sized, width, height)
    page = sized.open(pages["wide"])
    assert any(len(one.text) > 9 for one in page.find_elements(By.CSS_SELECTOR, ".side-by-side td"))
    ends = [
        float(page.execute_script(f"return {one}.getBoundingClientRect().right"))  # type: ignore[no-untyped-call]
        for one in (
            "document.querySelector('.side-by-side')",
            "document.querySelector('.side-by-side').parentElement",
        )
    ]
    assert ends[0] <= ends[1] + 0.5


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("model", MODELS)
def test_the_first_screen_says_and_shows_it(
    sized: Browser, pages: dict[str, Path], model: str, width: int, height: int
) -> None:
    resized(sized, width, height)
    page = sized.open(pages[model])
    stacks, numbers = MODELS[model]
    verdict = page.find_element(By.ID, "verdict").text
    assert verdict.endswith(".") and ". " not in verdict  # one sentence
    assert len(below(page, ".said .findings li")) == 3
    facts = page.find_elements(By.CSS_SELECTOR, ".facts div")
    assert len(facts) >= numbers
    for one in facts:  # a number, and in words what it is of
        assert any(letter.isdigit() for letter in one.find_element(By.TAG_NAME, "dd").text)
        assert len(one.find_element(By.TAG_NAME, "dt").text) > 8
    titles = [one.text for one in page.find_elements(By.CSS_SELECTOR, "svg.map text.title")]
    assert sorted(titles) == sorted(stacks if len(stacks) > 1 else [])
    legend = page.find_element(By.ID, "scale-words").text
    assert "the middle of the range, not zero" in legend
    for what in ("#verdict", ".said .findings li", ".facts div", ".legend", "svg.map"):
        ends = below(page, what)
        assert ends and max(ends) <= height, what
    panel = page.find_element(By.ID, "readout")
    assert max(below(page, "#readout")) <= height and "weights moved" in panel.text
    contents = page.find_elements(By.CSS_SELECTOR, "nav[aria-label=Contents] a")
    assert len(contents) >= 5
    for link in contents:
        target = str(link.get_attribute("href")).partition("#")[2]
        assert page.find_elements(By.ID, target), target
    wide: list[int] = page.execute_script(  # type: ignore[no-untyped-call]
        "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
    )
    assert wide[0] <= wide[1]


def test_how_far_it_stands_above_rounding_is_said_in_times(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page = browser.open(pages["llama"])
    told = page.find_element(By.CSS_SELECTOR, ".facts").text
    assert "122 ×" in told and "what rounding a merge to BF16 gives" in told


def test_every_section_below_folds(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["llama"])
    folds = page.find_elements(By.CSS_SELECTOR, "main > details")
    assert len(folds) >= 6 and not page.find_elements(By.CSS_SELECTOR, "main > h2")
    fold = page.find_element(By.ID, "tensors").find_element(By.XPATH, "../..")
    page.execute_script("arguments[0].open = false", fold)  # type: ignore[no-untyped-call]
    assert not page.find_element(By.ID, "filter").is_displayed()
    page.find_element(By.CSS_SELECTOR, "nav a[href='#tensors']").click()
    assert page.find_element(By.ID, "filter").is_displayed()  # what is gone to is unfolded


def test_a_link_leads_to_its_cell(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.driver
    page.get(pages["vision"].as_uri() + "#stack=vision&layer=9&component=attn.v")
    panel = page.find_element(By.ID, "readout")
    assert "vision · layer 9 · attn.v" in panel.text
    assert page.find_element(By.ID, "count").text == "6 of 370 tensors, layer 9 of vision"
    page.execute_script(  # type: ignore[no-untyped-call]
        "location.hash = 'stack=&layer=3&component=mlp.up'"
    )
    assert "language · layer 3 · mlp.up" in panel.text
    link = panel.find_element(By.TAG_NAME, "a").get_attribute("href")
    assert str(link).endswith("#stack=&layer=3&component=mlp.up")
    page.get(pages["flux"].as_uri() + "#stack=single&layer=9&component=attn.v")
    assert "single 9 · attn.v" in page.find_element(By.ID, "readout").text
    page.get(pages["vision"].as_uri() + "#stack=nowhere&layer=3&component=mlp.up")
    assert "weights moved" in page.find_element(By.ID, "readout").text  # what is not there is none


def test_the_numbers_and_the_picture_are_saved_as_they_are_shown(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    allowed = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    page = browser.open(pages["flux"])
    page.find_element(By.ID, "keep-csv").click()
    page.find_element(By.ID, "keep-png").click()
    table, picture = (_there(tmp_path / f"relative_norm.{ending}") for ending in ("csv", "png"))
    rows = [*csv.DictReader(table.decode().splitlines())]
    assert [*rows[0]] == ["stack", "layer", "component", "relative_norm"]
    shown = models.flux_like().table("relative_norm")
    assert len(rows) == 19 * 7 + 38 * 6
    last = next(
        row for row in rows if row["stack"] and row["layer"] == "single 5"
        and row["component"] == "attn.k"
    )  # fmt: skip
    expected = shown.loc[(last["stack"], 5), "attn.k"]
    assert float(last["relative_norm"]) == pytest.approx(expected, rel=1e-4)
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    assert browser.console() == []


def _there(path: Path) -> bytes:
    """A file's bytes, once it is there and whole."""
    for _ in range(200):
        if path.exists() and path.stat().st_size:
            return path.read_bytes()
        time.sleep(0.02)
    raise AssertionError(f"{path.name} was not saved")


def test_colours_are_by_the_metric_and_one_hue_is_one_click_away(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page = browser.open(pages["llama"])
    legend = page.find_element(By.ID, "scale-words")
    chooser = Select(page.find_element(By.ID, "metric"))
    chooser.select_by_value("lift")
    assert legend.text == "White is 1, in steps of equal ratio."
    for metric in ("energy_share", "cosine"):
        chooser.select_by_value(metric)
        assert legend.text == "The darker, the larger."
    chooser.select_by_value("relative_norm")
    assert legend.text.startswith("White is 0.193,")
    Select(page.find_element(By.ID, "colours")).select_by_value("hue")
    assert legend.text == "The darker, the larger."
    fills = {c.get_attribute("fill") for c in page.find_elements(By.CSS_SELECTOR, "rect.cell")}
    assert "#ffffff" not in fills and len(fills) > 50


def test_scripts_and_python_write_numbers_and_choose_colours_alike(
    browser: Browser, pages: dict[str, Path]
) -> None:
    source = (Path(html.__file__).parent / "page" / "numbers.js").read_text()
    draw = np.random.default_rng(0)
    values = [0.0, 1.0, -3.0, 1234.5, 999999.5, 1e6, 1e-4, 9.9999e-5, 0.5, 12345.0, 0.00012345]
    values += (draw.normal(size=200) * 10.0 ** draw.integers(-9, 9, 200)).tolist()
    page = browser.open(pages["llama"])
    texts: list[str] = page.execute_script(  # type: ignore[no-untyped-call]
        f"{source}; return arguments[0].map((value) => written(value))", values
    )
    assert texts == [number(value) for value in values]
    for metric in ("lift", "cosine", "relative_norm"):
        drawn = html.render(models.llama_lora(), metric)
        path = pages["llama"].with_name(f"{metric}.html")
        path.write_text(drawn)
        page = browser.open(path)
        fills = [c.get_attribute("fill") for c in page.find_elements(By.CSS_SELECTOR, "rect.cell")]
        without = [_rgb(fill) for fill in _fills(drawn) if fill]
        with_scripts = [_rgb(str(fill)) for fill in fills]  # of numbers with five digits
        np.testing.assert_allclose(without, with_scripts, atol=8, err_msg=metric)
        assert page.find_element(By.ID, "scale-words").text in drawn


def _rgb(fill: str) -> tuple[int, ...]:
    return tuple(int(fill[i : i + 2], 16) for i in (1, 3, 5))


def _fills(text: str) -> list[str]:
    from tests.reports.test_reports import Page

    cells = [a for tag, a in Page(text).elements if tag == "rect" and a.get("class") == "cell"]
    return [str(cell.get("fill") or "") for cell in cells]


def test_diffs_stand_side_by_side_on_one_scale(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["beside"])
    assert page.find_element(By.ID, "verdict").text == (
        "lora moved most, 2.3 × as much as full: 0.207 over the 196 that moved "
        "against 0.0899 over the 197 that moved (‖ΔW‖/‖W‖)."
    )
    titles = [one.text for one in page.find_elements(By.CSS_SELECTOR, "svg.map text.title")]
    assert titles == ["lora", "full"]
    cells = page.find_elements(By.CSS_SELECTOR, "svg.map rect.cell")
    both = [models.llama_lora(), ftdiff.compare(FIXTURES / "base", FIXTURES / "full")]
    largest = [one.table().filter(regex="^(attn|mlp)").to_numpy().max() for one in both]
    assert largest[0] > 2 * largest[1]
    darkest = [
        {cell.get_attribute("fill") for cell in half} & {STOPS[-1]}
        for half in (cells[: len(cells) // 2], cells[len(cells) // 2 :])
    ]
    assert darkest == [{STOPS[-1]}, set()]  # the larger change alone is at the end
    page.get(pages["beside"].as_uri() + "#of=full&stack=&layer=3&component=mlp.up")
    panel = page.find_element(By.ID, "readout").text
    assert "full · layer 3 · mlp.up" in panel
    row = [one.table().loc[3, "mlp.up"] for one in both]
    assert f"{number(row[0], 3)} {number(row[1], 3)}" in panel
    assert page.find_element(By.ID, "count").text.startswith("12 of 676 tensors, layer 3")


# Each kind of page once, and each scheme: axe takes seconds for a page of maps.
@pytest.mark.parametrize(
    ("name", "scheme"),
    [("llama", "light"), ("unet", "dark"), ("similarity", "light"), ("trajectory", "dark")],
)
def test_axe_finds_no_violation(
    sized: Browser, pages: dict[str, Path], name: str, scheme: str
) -> None:
    if importlib.util.find_spec("axe_core_python") is None:
        pytest.skip("axe_core_python, of the dev extra, is not installed")
    import axe_core_python

    source = Path(str(axe_core_python.__file__)).with_name("axe.min.js").read_text("utf-8")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    sized.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    resized(sized, *SIZES[1])
    page = sized.open(pages[name])
    page.execute_script(source)  # type: ignore[no-untyped-call]
    found: dict[str, Any] = page.execute_async_script(  # type: ignore[no-untyped-call]
        "const done = arguments[0]; axe.run().then((found) => done(found))"
    )
    told = {one["id"]: [node["html"][:120] for node in one["nodes"]] for one in found["violations"]}
    assert told == {}, json.dumps(told, indent=1)
    assert len(found["passes"]) > 20
