"""What a model gave on the texts is kept, pass by pass: another run makes what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from ftdiff.analyses.importance import Importance, importance
from ftdiff.analyses.live_model import losses
from ftdiff.cli import ftdiff as door
from ftdiff.comparison import journal
from ftdiff.errors import BadCall
from tests.analyses.live_models import moved, saved, token_rows, written
from tests.oracle import models

MEASURES = ("skip", "zero", "revert", "graft", "gate")
#: Of two layers: the base, the fine-tune, two nodes, each layer without it (two ways), layer 1
#: without its change and with it alone, and 20 steps of gates.
EVERY = 1 + 1 + 2 + 2 * 2 + 2 + 20


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("llama")
    base = models.llama()
    tuned = moved(base, ["layers.1."], by=0.05)
    text = written(token_rows(3, 6), folder / "ids.jsonl")
    return saved(base, folder / "base"), saved(tuned, folder / "tuned"), text


class Made:
    """The passes over the texts that were made; after so many as `limit` it is interrupted."""

    def __init__(self) -> None:
        self.count, self.limit = 0, 1000

    def noted(self, pass_: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.count == self.limit:
            raise KeyboardInterrupt
        self.count += 1
        return pass_(*args, **kwargs)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    found = Made()
    for name in ("losses", "gradients"):
        monkeypatch.setattr(losses, name, partial(found.noted, getattr(losses, name)))
    return found


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Any]:
    return partial(journal.kept, tmp_path / "out" / "journal.sqlite", lambda _: None)


def measured(sides: tuple[Path, Path, Path], **more: Any) -> Importance:
    base, tuned, text = sides
    return importance(base, tuned, text=text, **{"measures": MEASURES, "nodes": 2, **more})


def document(found: Importance, path: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(found.save(path).read_text())
    del held["about"]["created"]
    return held


def test_an_interrupted_run_goes_on_to_equal_bytes(
    sides: tuple[Path, Path, Path], made: Made, keep: Callable[..., Any], tmp_path: Path
) -> None:
    whole = document(measured(sides), tmp_path / "whole.json")
    assert made.count == EVERY
    for limit in (1, 3, 9, EVERY - 2):
        made.count, made.limit = 0, limit
        with pytest.raises(KeyboardInterrupt), keep(fresh=True):
            measured(sides)
        made.count, made.limit = 0, EVERY - limit
        with keep():
            assert document(measured(sides), tmp_path / "again.json") == whole
        assert made.count == EVERY - limit
    with keep():
        assert document(measured(sides), tmp_path / "again.json") == whole
    assert made.count == EVERY - limit  # nothing was left


def test_what_is_asked_later_is_measured_and_no_more(
    sides: tuple[Path, Path, Path], made: Made, keep: Callable[..., Any], tmp_path: Path
) -> None:
    some = {"measures": ("skip", "revert")}
    with keep():
        measured(sides, **some)
    for more, passes in (
        (some, 0),
        ({**some, "nodes": 3}, 3),
        ({"measures": ("skip", "graft", "revert")}, 1),
        ({**some, "batch": 2}, 7),  # sums of other batches have other last bits
        ({**some, "max_texts": 2}, 7),
        ({**some, "dtype": "float64"}, 7),
    ):
        made.count = 0
        with keep():
            found = measured(sides, **more)
        assert made.count == passes, more
        assert found.diff.columns.keys() >= {"saliency", "path"}


def test_other_bytes_are_measured_and_a_copy_elsewhere_is_not(
    sides: tuple[Path, Path, Path], made: Made, keep: Callable[..., Any], tmp_path: Path
) -> None:
    base, tuned, text = sides
    only = {"measures": ("skip",), "nodes": 1}
    with keep():
        measured(sides, **only)
    made.count = 0
    with keep():
        measured((shutil.copytree(base, tmp_path / "copy"), tuned, text), **only)
    assert made.count == 0
    held = load_file(tuned / "model.safetensors")
    other = saved(models.llama(), tmp_path / "other")
    held["model.norm.weight"] += 0.5
    save_file(held, other / "model.safetensors", metadata={"format": "pt"})
    made.count = 0
    with keep():
        measured((base, other, text), **only)
    assert made.count == 3  # the base without its layers is what it was
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    made.count = 0
    with keep():
        measured(sides, **only)
    (base / "config.json").write_text(json.dumps(config))
    assert made.count == 5


def test_the_pace_is_kept_with_what_was_run_at_it(
    sides: tuple[Path, Path, Path],
    made: Made,
    keep: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_text = losses._by_text

    def full(live: Any, batch: Any) -> Any:
        if len(batch.targets) > 2:
            raise MemoryError
        return by_text(live, batch)

    monkeypatch.setattr(losses, "_by_text", full)
    with keep():
        whole = measured(sides, batch=3)
    assert whole.about["batch"] == 2 and whole.about["halved"] == [2]
    monkeypatch.setattr(losses, "_by_text", None)
    made.count = 0
    with keep():
        again = measured(sides, batch=3)
    assert document(again, tmp_path / "a.json") == document(whole, tmp_path / "w.json")
    assert made.count == 0


def test_the_command_says_what_is_kept_and_goes_on_from_it(
    sides: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftdiff.cli.importance._write", lambda *_: None)  # nothing is drawn
    base, tuned, text = map(str, sides)
    call = ["importance", base, tuned, "--text", text, "-m", "revert", "--nodes", "2"]
    kept = [*call, "-o", str(tmp_path / "out")]
    first, again, fresh = (
        CliRunner().invoke(door, [*kept, *more], catch_exceptions=False)
        for more in ([], [], ["--fresh"])
    )
    assert "kept from" not in first.output + fresh.output
    assert first.stdout == again.stdout == fresh.stdout
    more = CliRunner().invoke(door, [*kept, "-m", "graft"], catch_exceptions=False)
    assert "5 of 6 passes are kept from an earlier run (importance)" in more.output
    assert isinstance(CliRunner().invoke(door, [*call, "--fresh"]).exception, BadCall)
