"""What is measured only when asked for: in the shell, in the summary, on the page."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.metrics import METRICS, groups, resolve
from ftdiff.reports.per_tensor import apart, methods
from tests.conftest import FIXTURES

BASE, LORA, FULL = (str(FIXTURES / name) for name in ("base", "lora", "full"))


def _run(*args: object) -> Result:
    return CliRunner().invoke(door, [str(arg) for arg in args])


def test_a_group_is_named_printed_and_written(tmp_path: Path) -> None:
    done = _run("compare", BASE, LORA, "-m", "spectral", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    for metric in groups()["spectral"]:
        assert f"\n{metric.name} " in done.output
    assert "factors 196, bound of the relative error" in done.output
    with (tmp_path / "diff.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["status"] == "changed")
    assert float(row["spectral_norm"]) > 0
    assert "relative_norm" not in row
    page = (tmp_path / "report.html").read_text()
    assert "Tensor by tensor" in page and "effective_rank" in page


def test_without_asking_nothing_is_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftdiff.comparison.per_tensor.run", pytest.fail)
    done = _run("compare", BASE, LORA)
    assert done.exit_code == 0
    assert "tensor by tensor" not in done.output
    assert apart(ftdiff.compare(BASE, LORA)) == ()


def test_each_metric_stands_beside_what_noise_gives() -> None:
    draw = np.random.default_rng(0)
    base = {f"layers.{i}.mlp.up_proj.weight": draw.normal(size=(60, 40)) for i in range(3)}
    tuned = {name: W + draw.normal(size=W.shape) for name, W in base.items()}
    diff = ftdiff.compare(base, tuned, ["stable_rank", "participation_ratio", "relative_norm"])
    rows = {row["metric"]: row for row in apart(diff)}
    assert list(rows) == ["stable_rank", "participation_ratio"]
    for name, row in rows.items():
        values = diff.frame[name].astype(float)
        assert (row["least"], row["most"]) == (values.min(), values.max())
        assert row["median"] == values.median() == pytest.approx(row["noise gives"], rel=0.1)
        assert row["most in"] == diff.frame["tensor"][values.idxmax()]
    assert methods(diff).startswith("svd 3, bound of the relative error")


def test_the_registry_is_printed_with_the_group_that_names_each_metric() -> None:
    told = _run("metrics").output
    for metric in METRICS.values():
        asked = f"when asked for: -m {metric.name}, or -m {metric.group} for the group"
        assert (asked in told) is (metric.needs not in ("sums", "text"))


def test_a_metric_measured_apart_is_drawn(tmp_path: Path) -> None:
    saved = ftdiff.compare(BASE, FULL, ["stable_rank"]).save(tmp_path / "d.json")
    drawn = _run("plot", saved, "-m", "stable_rank", "-o", tmp_path / "x.svg")
    assert drawn.exit_code == 0 and (tmp_path / "x.svg").exists()
    refused = _run("plot", saved, "-m", "nuclear_norm", "-o", tmp_path / "y.svg")
    assert "nuclear_norm was not measured: compare with -m nuclear_norm" in str(refused.exception)


def test_a_metric_with_a_null_in_numbers_says_it_in_words() -> None:
    for metric in resolve(["magnitude", "spectral", "geometry"]):
        assert metric.null
