"""What the rules of findings can see is what the committed table says, and noise says nothing."""

from __future__ import annotations

import csv

import pytest
from click.testing import CliRunner

from ftdiff.cli import ftdiff as door
from tests.bench import findings_power as bench


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with bench.OUT.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_noise_of_every_kind_says_a_pattern_in_one_model_of_twenty_at_most(
    rows: list[dict[str, str]],
) -> None:
    of_noise = {row["rule"].partition(": ")[2]: row for row in rows if row["percent"] == "0"}
    assert set(of_noise) == set(bench.NULLS)
    for kind, row in of_noise.items():
        assert int(row["seeds"]) >= 200
        assert float(row["told"]) <= (0.08 if "shared" in kind else 0.05), kind


def test_structures_are_seen_as_often_as_they_have_to_be(rows: list[dict[str, str]]) -> None:
    told = {
        (row["rule"], row["layers"]): float(row["told"])
        for row in rows
        if row["components"] == "2-16"
    }
    least = {
        ("trend", "24-48"): 0.9, ("trend", "12-16"): 0.42, ("hump", "24-48"): 0.73,
        ("step", "24-48"): 0.85,
    }  # fmt: skip
    assert {name: told[name] for name in least if told[name] < least[name]} == {}


@pytest.mark.parametrize("shape", bench.TELLS)
def test_a_cell_of_the_table_is_measured_as_it_was(shape: str, rows: list[dict[str, str]]) -> None:
    percent = bench.LARGE.get(shape, bench.PERCENTS)[2]
    (row,) = (
        row
        for row in rows
        if (row["rule"], row["layers"], row["percent"]) == (shape, "24", str(percent))
        and (row["components"], row["noise"], row["phi"]) == ("7", "10", "0.4")
    )
    share = bench.power(shape, 24, 7, percent / 100, 0.1, 0.4, int(row["seeds"]))
    assert share == pytest.approx(float(row["told"]), abs=0.07)  # a seed or two, by the BLAS


def test_a_cell_of_noise_is_measured_as_it_was() -> None:
    assert bench.false("AR(0.5)", 40) <= 0.05


def test_the_help_ends_with_the_table_in_short() -> None:
    assert bench.SHORT.read_text("utf-8") == bench.short()
    shown = CliRunner().invoke(door, ["findings", "--help"]).output
    for line in bench.short().splitlines():
        assert line.rstrip() in shown
