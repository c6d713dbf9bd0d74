"""A real browser, and what it complained of and asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService


class Browser:
    """Headless Chromium with the log of its console and of its requests."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path) -> Chrome:
        """Show a file; what was logged before is forgotten."""
        self.console()
        self.requests()
        self.driver.get(page.as_uri())
        return self.driver

    def console(self) -> list[str]:
        """What was written to the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the last call."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    """A function that starts Chromium with further arguments."""
    started: list[Chrome] = []

    def launch(*arguments: str) -> Browser:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        profile = tmp_path_factory.mktemp("profile")
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--window-size=1280,1000",
            f"--user-data-dir={profile}",
            *arguments,
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options, ChromeService(shutil.which("chromedriver") or "chromedriver"))
        started.append(driver)
        return Browser(driver)

    yield launch
    for driver in started:
        driver.quit()


@pytest.fixture(scope="session")
def browser(start: Callable[..., Browser]) -> Browser:
    return start()
