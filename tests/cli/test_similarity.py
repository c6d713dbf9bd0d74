"""The commands for many fine-tunes, as the shell sees them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ftdiff import Similarity, Trajectory


def shell(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ftdiff", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_similarity_prints_and_writes_everything(fixtures: Path, tmp_path: Path) -> None:
    tuned = [fixtures / name for name in ("lora", "full", "merged")]
    done = shell("similarity", "--base", fixtures / "base", *tuned, "-o", tmp_path)
    for word in ("cosine of ΔW", "nearest", "a merge of all would keep", "merged is the same"):
        assert word in done.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "similarity.json", "similarity.csv", "matrix.csv", "similarity.png", "similarity.svg",
        "components.png", "journal.sqlite",
    }  # fmt: skip
    found = Similarity.load(tmp_path / "similarity.json")
    matrix = pd.read_csv(tmp_path / "matrix.csv", index_col=0)
    assert matrix.to_numpy() == pytest.approx(found.matrix.to_numpy())
    rows = pd.read_csv(tmp_path / "similarity.csv")
    assert len(rows) == 3 * len(found.tensors)


def test_similarity_pastes_as_json_and_csv(fixtures: Path) -> None:
    tuned = [fixtures / "lora", fixtures / "rslora"]
    whole = json.loads(shell("similarity", *tuned, "--format", "json").stdout)
    assert whole["names"] == ["lora", "rslora"]
    done = shell("similarity", *tuned, "--by", "component", "--format", "csv")
    rows = [*csv.DictReader(io.StringIO(done.stdout))]
    assert {row["component"] for row in rows} >= {"attn.q", "mlp.down"}
    assert all(abs(float(row["cosine"])) < 1 for row in rows)


def test_one_is_held_against_the_others_and_the_nearest_come_first(fixtures: Path) -> None:
    tuned = [fixtures / name for name in ("lora", "rslora", "full", "merged")]
    one = ("similarity", "--base", fixtures / "base", "--against", fixtures / "merged")
    done = shell(*one, *tuned)  # itself among them is no other
    assert "merged against 3 others" in done.stdout
    assert done.stdout.index("lora") < done.stdout.index("full")
    whole = json.loads(shell(*one, *tuned, "--nearest", "1", "--format", "json").stdout)
    assert whole["against"] == "merged"
    assert [row["name"] for row in whole["nearest"]] == ["lora"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lora"], "at least 2"),
        (["lora", "lora", "--nearest", "3"], "--against"),
        (["lora", "lora", "--against", "lora", "-m", "signs"], "--against"),
        (["lora", "full"], "--base"),
        (["lora", "nothing"], "no such file"),
        (["lora", "lora", "-m", "angles"], "masks"),
        (["lora", "lora", "--by", "depth"], "component"),
    ],
)
def test_wrong_calls_of_similarity_are_one_line(
    fixtures: Path, arguments: list[str], said: str
) -> None:
    paths = [fixtures / a if a.islower() and a.isalpha() else a for a in arguments[:2]]
    done = shell("similarity", *paths, *arguments[2:], code=2)
    assert said in done.stderr


def test_similarity_keeps_the_rest_where_a_tensor_cannot_be_read(
    fixtures: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(fixtures / "lora", tmp_path / "broken")
    config = json.loads((broken / "adapter_config.json").read_text())
    (broken / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    done = shell("similarity", fixtures / "lora", broken, code=2)
    assert "broken" in done.stderr


def test_trajectory_prints_writes_and_appends(fixtures: Path, tmp_path: Path) -> None:
    run = fixtures / "run"
    early = [run / f"checkpoint-{n}" for n in range(20, 160, 20)]
    shell("trajectory", fixtures / "base", *early, "-o", tmp_path / "early")
    names = {path.name for path in (tmp_path / "early").iterdir()}
    assert names == {
        "trajectory.json", "trajectory.csv", "trajectory.png", "trajectory.svg", "layers.png",
        "journal.sqlite",
    }  # fmt: skip
    saved = tmp_path / "early" / "trajectory.json"
    last = run / "checkpoint-160"
    done = shell("trajectory", fixtures / "base", last, "--append", saved, "-o", tmp_path / "late")
    assert "from sketches" in done.stdout
    late = Trajectory.load(tmp_path / "late" / "trajectory.json").by()
    whole = shell("trajectory", fixtures / "base", run, "--format", "csv").stdout
    exact = pd.read_csv(io.StringIO(whole))
    assert late["relative_norm"].to_numpy() == pytest.approx(exact["relative_norm"])
    assert late["step_length"].iloc[-1] == pytest.approx(exact["step_length"].iloc[-1], rel=0.05)
    assert np.isfinite(late["effective_rank"]).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base", "lora", "--order", "trainer"], "--order given"),
        (["lora", "run"], "lora"),
        (["base", "run", "-m", "nonsense"], "no metric"),
        (["base", "nothing"], "no such file"),
    ],
)
def test_wrong_calls_of_trajectory_are_one_line(
    fixtures: Path, arguments: list[str], said: str
) -> None:
    paths = [fixtures / a for a in arguments[:2]]
    done = shell("trajectory", *paths, *arguments[2:], code=2)
    assert said in done.stderr and done.stderr.count("\n") == 1
