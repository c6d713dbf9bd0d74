"""The good files, written once for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import specimens


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the specimens lie."""
    root = tmp_path_factory.mktemp("good")
    specimens.build(root)
    return root
