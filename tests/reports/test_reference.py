"""The pages of the reference name everything, each rule with its example."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import ftdiff
from ftdiff.analyses.audit import AUDIT
from ftdiff.analyses.findings import RULES
from ftdiff.cli import COMMANDS
from ftdiff.metrics import METRICS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # that each is said of its example is tested where it is planted; the pages themselves say it
    vars(module).update(dict.fromkeys(("said_of_a_plant", "said_of_a_fault"), "said of {}".format))
    names = ("commands", "metrics", "findings", "audit", "python")
    return {name: "\n".join(getattr(module, name)()) for name in names}


def test_every_name_has_its_heading(pages: dict[str, str]) -> None:
    for page, names in (
        ("commands", COMMANDS), ("metrics", METRICS), ("findings", RULES), ("audit", AUDIT),
    ):  # fmt: skip
        headings = [line.split()[1] for line in pages[page].splitlines() if line[:2] == "##"]
        assert {*names} <= {*headings}
    classes = {name for name in ftdiff.__all__ if not isinstance(getattr(ftdiff, name), ModuleType)}
    assert all(f".{name}\n" in pages["python"] for name in classes - {"__version__"})


def test_every_rule_has_an_example_that_was_said(pages: dict[str, str]) -> None:
    for page, names in (("findings", RULES), ("audit", AUDIT)):
        assert pages[page].count("* **example** “") == len(names)
