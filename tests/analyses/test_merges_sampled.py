"""A sample of files on another machine costs a few hundredths of their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ftdiff
from ftdiff.formats.remote import hub, ranges, urls
from tests.analyses import planted_merges as planted
from tests.conftest import write_model
from tests.formats.web_server import Web, serving

NAMES = [
    f"model.layers.{i}.{name}.weight" for i in range(2) for name in ("mlp.up_proj", "mlp.down_proj")
]


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    from huggingface_hub import constants

    draw = torch.Generator().manual_seed(0)
    W = {name: (torch.randn(1024, 1024, generator=draw) * 0.05).bfloat16() for name in NAMES}
    A, B = planted.tuned(W, 2, 5e-3)
    models = {"a": A, "b": B, "m": planted.linear([A, B], [0.6, 0.4])}
    names = {f"org/{name}": write_model(tmp_path / name, one) for name, one in models.items()}
    with serving(Web(names)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.hub)
        template = served.hub + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for cached in (hub.open_, ranges._head, ranges._opened, urls._head):
            cached.cache_clear()
        yield served


def test_a_sample_asks_for_nothing_else(web: Web) -> None:
    whole = 3 * len(NAMES) * 2 * 1024**2
    found = ftdiff.merge_of("org/m", ["org/a", "org/b"], sample=10_000)
    assert found.verdict == "exactly" and (found.frame["entries"] == 10_000).all()
    assert web.sent < 0.05 * whole
    assert 0 < len(web.ranges()) <= 3 * (4 * len(NAMES) + 4 * 4 + 2)


def test_all_of_it_is_fetched_once(web: Web) -> None:
    whole = 3 * len(NAMES) * 2 * 1024**2
    found = ftdiff.merge_of("org/m", ["org/a", "org/b"])
    assert found.verdict == "exactly" and (found.frame["replay"] == 1).all()
    assert web.sent < 1.1 * whole
