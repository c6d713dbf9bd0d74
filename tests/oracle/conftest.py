"""Models in memory, in a folder, and opened: made once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from ftdiff.formats import Checkpoint, open_checkpoint
from tests.oracle import models
from tests.oracle.closed_forms import CASES, Saved, Shelf, saved
from tests.oracle.peft_cases import MODELS


@dataclass(frozen=True)
class Bench:
    """A model in memory, in a folder, and opened."""

    model: nn.Module
    folder: Path
    opened: Checkpoint

    def changes(self, adapter: Path) -> dict[str, np.ndarray]:
        """What PEFT's own merge of the whole model changes of what the base's file holds."""
        before, after = models.state(self.model), models.merged(self.model, adapter)
        return {name: after[name].astype(np.float64) - before[name] for name in self.opened.tensors}


@pytest.fixture(scope="session")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """By name, as the cases ask for them."""
    made = {}
    for name, build in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        model = build()
        models.save_model(model, folder)
        made[name] = Bench(model, folder, open_checkpoint(folder))
    return made


@pytest.fixture(scope="session")
def saved_forms(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Adapters of the closed forms, each made once."""
    return cache(lambda name: saved(CASES[name], tmp_path_factory.mktemp("case")))


@pytest.fixture
def shelf(saved_forms: Shelf, tmp_path: Path) -> Shelf:
    """Adapters of the closed forms, to be damaged."""

    def copied(name: str) -> Saved:
        model, base, adapter = saved_forms(name)
        return model, base, shutil.copytree(adapter, tmp_path / "adapter")

    return copied
