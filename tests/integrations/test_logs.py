"""What is logged of a result is what the result says."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ftdiff
from ftdiff import integrations
from ftdiff.errors import BadCall, MissingExtra
from ftdiff.integrations.entries import entries
from tests.conftest import FIXTURES, llama, nudge

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def diff() -> ftdiff.Diff:
    state = llama(layers=2)
    return ftdiff.compare(state, nudge(state))


@pytest.fixture(scope="module")
def run() -> ftdiff.Trajectory:
    state = {n: W for n, W in llama(layers=2).items() if "q_proj" in n or "down" in n}
    tuned = [nudge(state, by=by) for by in (0.1, 0.2)]
    return ftdiff.trajectory(state, tuned, steps=[20, 40])


def events(folder: Path) -> EventAccumulator:
    told = EventAccumulator(str(folder))
    told.Reload()
    return told


def test_a_diff_is_logged_at_a_step_with_its_heatmap(diff: ftdiff.Diff, tmp_path: Path) -> None:
    integrations.log_tensorboard(diff, tmp_path, step=7)
    told = events(tmp_path)
    for name, value in diff.overall.items():
        (event,) = told.Scalars(f"ftdiff/{name}")
        assert event.step == 7 and event.value == pytest.approx(value, rel=1e-6)
    part = diff.by("component", param="weight").set_index("component")["relative_norm"]
    (event,) = told.Scalars("ftdiff/attn.q/relative_norm")
    assert event.value == pytest.approx(part["attn.q"], rel=1e-6)
    (picture,) = told.Images("ftdiff/heatmap")
    png = picture.encoded_image_string
    assert png.startswith(PNG) and (picture.width, picture.height) == struct.unpack(
        ">II", png[16:24]
    )


def test_a_saved_trajectory_is_logged_at_the_steps_of_its_checkpoints(
    run: ftdiff.Trajectory, tmp_path: Path
) -> None:
    integrations.log_tensorboard(run.save(tmp_path / "run.json"), tmp_path / "events")
    told = events(tmp_path / "events")
    found = [(event.step, event.value) for event in told.Scalars("ftdiff/relative_norm")]
    assert found == [
        (step, pytest.approx(value, rel=1e-6))
        for step, value in zip(run.steps, run.by()["relative_norm"], strict=True)
    ]
    assert {*told.Tags()["images"]} == {"ftdiff/heatmap", "ftdiff/courses"}
    with pytest.raises(BadCall, match="a step of its own"):
        integrations.log_tensorboard(run, tmp_path / "events", step=3)


def test_nothing_that_is_not_finite_is_logged(run: ftdiff.Trajectory) -> None:
    first = next(entries(run))
    assert "ftdiff/step_cosine" not in first.numbers  # the first step has none before it
    assert "ftdiff/relative_norm" in first.numbers


def test_no_name_is_the_folder_of_another(run: ftdiff.Trajectory, diff: ftdiff.Diff) -> None:
    for entry in [*entries(run), *entries(diff)]:
        names = [*entry.numbers]
        assert not [n for n in names for other in names if other.startswith(f"{n}/")]


def test_a_result_without_numbers_is_its_figure_and_one_without_a_figure_is_refused(
    tmp_path: Path,
) -> None:
    base, tuned = FIXTURES / "base", [FIXTURES / "lora", FIXTURES / "rslora"]
    (entry,) = entries(ftdiff.similarity(tuned, base))
    assert not entry.numbers and entry.pictures["ftdiff/similarity"].startswith(PNG)
    parent = ftdiff.lineage(FIXTURES / "merged", [base])
    with pytest.raises(BadCall, match="a Lineage has neither numbers by step nor a figure to log"):
        integrations.log_tensorboard(parent, tmp_path)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_missing_is_one_line_with_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch, diff: ftdiff.Diff, tmp_path: Path
) -> None:
    for module in [one for one in sys.modules if one.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    log = getattr(integrations, f"log_{name}")
    with pytest.raises(MissingExtra, match=rf"needs {name}: pip install 'ftdiff\[{name}\]'$"):
        log(diff, *([tmp_path] if name == "tensorboard" else []))


class Recorded(ModuleType):
    """Stands for a tracker's library: what the library's documentation says, called and kept.

    wandb: `run`, `Image(path)`, `Run.define_metric(name, step_metric=)`, `Run.log(data)`. mlflow:
    `active_run()`, `MlflowClient().log_metric(run_id, key, value, step=)` and
    `.log_artifact(run_id, local_path, artifact_path)`.
    """

    def __init__(self, name: str, *, under_way: bool = True) -> None:
        super().__init__(name)
        self.calls: list[tuple[Any, ...]] = []
        self.run = self if under_way else None
        self.info = SimpleNamespace(run_id="r1")

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.calls.append(("define", name, step_metric))

    def Image(self, data_or_path: str) -> bytes:
        return Path(data_or_path).read_bytes()

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        self.calls.append(("log", data, step))

    def active_run(self) -> Any:
        return self.run

    def MlflowClient(self) -> Any:
        return self

    def log_metric(self, run_id: str, key: str, value: float, *, step: int) -> None:
        self.calls.append(("metric", run_id, key, value, step))

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str) -> None:
        png = Path(local_path).read_bytes()
        self.calls.append(("artifact", run_id, Path(local_path).name, artifact_path, png[:8]))


def test_wandb_is_given_numbers_and_pictures_over_a_step_of_our_own(
    monkeypatch: pytest.MonkeyPatch, run: ftdiff.Trajectory
) -> None:
    library = Recorded("wandb")
    monkeypatch.setitem(sys.modules, "wandb", library)
    integrations.log_wandb(run)
    assert library.calls[:2] == [
        ("define", "ftdiff/step", None),
        ("define", "ftdiff/*", "ftdiff/step"),
    ]
    logged = [data for _, data, step in library.calls[2:] if step is None]
    assert [data["ftdiff/step"] for data in logged] == [20, 40]
    norms = run.by()["relative_norm"].tolist()
    assert [data["ftdiff/relative_norm"] for data in logged] == norms
    assert logged[1]["ftdiff/heatmap"].startswith(PNG) and "ftdiff/heatmap" not in logged[0]


def test_mlflow_is_given_metrics_by_step_and_pictures_as_artifacts(
    monkeypatch: pytest.MonkeyPatch, run: ftdiff.Trajectory
) -> None:
    library = Recorded("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", library)
    integrations.log_mlflow(run)
    norms = run.by()["relative_norm"].tolist()
    found = [call for call in library.calls if call[2] == "ftdiff/relative_norm"]
    assert found == [
        ("metric", "r1", "ftdiff/relative_norm", norms[0], 20),
        ("metric", "r1", "ftdiff/relative_norm", norms[1], 40),
    ]
    assert ("artifact", "r1", "heatmap-40.png", "ftdiff", PNG) in library.calls


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_run_that_is_not_under_way_is_said(
    name: str, monkeypatch: pytest.MonkeyPatch, diff: ftdiff.Diff
) -> None:
    monkeypatch.setitem(sys.modules, name, Recorded(name, under_way=False))
    with pytest.raises(BadCall, match=f"no run of {name} is under way: call {name}"):
        getattr(integrations, f"log_{name}")(diff)


def test_the_package_hands_out_what_it_names() -> None:
    assert dir(integrations) == integrations.__all__ == sorted(integrations.__all__)
    assert all(callable(getattr(integrations, name)) for name in integrations.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = integrations.nonsense


def test_a_callback_without_transformers_is_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "ftdiff.integrations.training", raising=False)
    told = r"^a trainer's callback needs transformers: pip install 'ftdiff\[models\]'$"
    with pytest.raises(MissingExtra, match=told):
        _ = integrations.TrainerCallback


def test_importance_and_drift_are_logged_with_their_own_numbers() -> None:
    planted = FIXTURES / "planted" / "1"
    pair, few = (planted / "base", planted / "tuned"), {"max_texts": 4, "batch": 4}
    text = planted / "text.jsonl"
    worth = ftdiff.importance(*pair, text=text, nodes=1, measures=(), **few)
    moved = ftdiff.drift(*pair, text=text, **few)
    (entry,) = entries(worth, step=3)
    assert (entry.numbers["ftdiff/loss_base"], entry.numbers["ftdiff/loss_tuned"]) == worth.losses
    assert entry.step == 3 and entry.pictures["ftdiff/importance"].startswith(PNG)
    (entry,) = entries(moved)
    assert entry.numbers == {f"ftdiff/{name}": value for name, value in moved.overall.items()}
    assert entry.pictures["ftdiff/drift"].startswith(PNG)
