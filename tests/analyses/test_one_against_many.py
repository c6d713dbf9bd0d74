"""One fine-tune against many: the numbers of `similarity`, and none of the other pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.pairwise import Line, line_up
from ftdiff.analyses.similarity import cost, held_against, one_against_many
from ftdiff.analyses.similarity.cost import foretold, foretold_against, multiplications
from ftdiff.errors import BadCall
from tests.conftest import llama, nudge, write_model


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A base and twelve fine-tunes of it, of which each shares half of its change with the next."""
    folder = tmp_path_factory.mktemp("many")
    base = llama()
    tuned = [nudge(nudge(base, by=0.2, seed=i // 2), by=0.2, seed=100 + i) for i in range(12)]
    paths = [write_model(folder / f"run-{i}", state) for i, state in enumerate(tuned)]
    return write_model(folder / "base", base), paths


def test_checkpoints_have_the_cosines_of_all_pairs(family: tuple[Path, list[Path]]) -> None:
    base, tuned = family
    found = held_against(tuned[3], [*tuned[:3], *tuned[4:]], base)
    whole = ftdiff.similarity(tuned, base)
    rows = found.nearest().set_index("name")
    assert rows.index[0] == "run-2" and len(rows) == 11
    for number in ("cosine", "cosine_null", "norm_ratio", "snr", "rounding_cosine"):
        want = whole.table(number).loc["run-3"].drop("run-3")
        assert rows[number].loc[want.index].to_numpy() == pytest.approx(want.to_numpy(), rel=1e-12)
    assert rows["over_null"].iloc[0] == rows["cosine"].iloc[0] / rows["cosine_null"].iloc[0]
    assert list(found.nearest(2)["name"]) == [*rows.index[:2]]


def test_adapters_and_checkpoints_have_them_too(fixtures: Path) -> None:
    others = [fixtures / name for name in ("rslora", "full", "lora")]
    found = held_against(fixtures / "merged", others, fixtures / "base")
    whole = ftdiff.similarity([fixtures / "merged", *others], fixtures / "base")
    rows = found.nearest().set_index("name")["cosine"]
    want = whole.matrix.loc["merged"].drop("merged")
    assert rows.loc[want.index].to_numpy() == pytest.approx(want.to_numpy(), abs=1e-9)
    assert rows.index[0] == "lora"


@pytest.mark.parametrize(
    "names", [("merged", "full", "merged"), ("lora", "rslora", "lora", "rslora", "lora")]
)
def test_no_batch_changes_a_bit(
    fixtures: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *others = (fixtures / name for name in names)
    found = held_against(one, others, fixtures / "base")
    monkeypatch.setattr(one_against_many, "_STORED", 1)
    monkeypatch.setattr(one_against_many, "_ROWS", 1)
    again = held_against(one, others, fixtures / "base")
    for name, sums in found.sums.items():
        assert np.array_equal(sums, again.sums[name], equal_nan=True), name


def test_the_many_are_not_held_against_each_other(
    family: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = family
    sizes: list[int] = []
    whole = one_against_many.measure

    def watched(line: Line, asked: Any) -> Any:
        sizes.append(len(line.recipes))
        return whole(line, asked)

    monkeypatch.setattr(one_against_many, "measure", watched)
    held_against(tuned[0], tuned[1:], base)
    assert {*sizes} == {9, 4}  # eight of the many, and the three that are left


def test_what_is_not_finite_is_said_of_whose_it_is(tmp_path: Path) -> None:
    base = llama()
    broken = nudge(base, by=0.2, seed=2)
    name = next(iter(broken))
    broken[name].view(-1)[0] = np.nan
    states = [nudge(base, by=0.2, seed=1), broken, nudge(base, by=0.2, seed=3)]
    paths = [write_model(tmp_path / f"run-{i}", state) for i, state in enumerate(states)]
    found = held_against(paths[0], paths[1:], write_model(tmp_path / "base", base))
    assert found.about["nonfinite"] == {"run-1": {name: 1}}
    assert np.isfinite(found.nearest()["cosine"]).all()


def test_one_alone_is_refused(fixtures: Path) -> None:
    with pytest.raises(BadCall, match="at least 2"):
        held_against(fixtures / "lora", [])


def test_what_takes_long_is_said_first(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    tuned = [fixtures / "lora", fixtures / "rslora"]
    ftdiff.similarity(tuned, say=said.append)
    assert not said
    monkeypatch.setattr(cost, "_RATE", 1e3)
    ftdiff.similarity(tuned, say=said.append)
    assert len(said) == 1 and said[0].startswith("all pairs of 2 fine-tunes: about ")
    assert "--against" in said[0]


def test_multiplications_are_those_of_all_rows_with_each_other(fixtures: Path) -> None:
    lineup = line_up(None, [fixtures / "lora"] * 3)
    work = 0.0
    for line in lineup.lines:
        recipe = line.recipes[0]
        assert recipe is not None
        delta: Any = recipe.delta(None)
        work += (3 * delta.rank) ** 2 / 2 * sum(delta.shape)
    assert multiplications(lineup.lines) == work
    assert foretold(lineup.lines, lineup.names, 2) == ""
    stored = line_up(fixtures / "base", [fixtures / "full", fixtures / "merged"])
    entries = sum(line.base.shape and np.prod(line.shape) for line in stored.lines if line.base)
    assert 0 < multiplications(stored.lines) <= 2 * entries


def test_what_will_take_long_is_said_first_and_why(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = line_up(fixtures / "base", [fixtures / "full", fixtures / "merged"])
    one, two = stored.lines, stored.names
    assert foretold(one, two, 2) == foretold_against(one, 2) == ""
    monkeypatch.setitem(cost._EACH, "signs", 1.0)
    assert foretold(one, two, 2, ["masks"]) == ""
    assert foretold(one, two, 2, ["signs"]).startswith("all pairs of 2 fine-tunes: about ")
    monkeypatch.setattr(cost, "_DISK", 1.0)
    said = foretold_against(one, 1)
    assert said.startswith("one against 1 other: about ") and said.endswith("B to read)")


def test_a_tensor_that_one_lacks_is_left_out_of_its_pair(tmp_path: Path) -> None:
    base = llama()
    states = [nudge(base, by=0.2, seed=seed) for seed in (1, 1, 2)]
    states[1].popitem()
    paths = [write_model(tmp_path / f"run-{i}", state) for i, state in enumerate(states)]
    root = write_model(tmp_path / "base", base)
    rows = held_against(paths[0], paths[1:], root).nearest().set_index("name")["cosine"]
    want = ftdiff.similarity(paths, root).matrix.loc["run-0"]
    assert rows["run-1"] == want["run-1"] == 1
    assert rows["run-2"] == pytest.approx(want["run-2"], abs=1e-12)
