"""The callback in real trainers: what it measures is what `ftdiff trajectory` finds afterwards."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.distributed import checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import Dataset
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Trainer,
    TrainerState,
    TrainingArguments,
)

import ftdiff
from ftdiff.analyses import trajectory as analysis
from ftdiff.errors import BadCall
from ftdiff.integrations import TrainerCallback


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Random tokens, the same at every run of one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return 64

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(self.seed + place)
        ids = torch.randint(0, 50, (12,), generator=draw)
        return {"input_ids": ids, "labels": ids}


def tiny() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        max_position_embeddings=32,
    )
    return Qwen2ForCausalLM(config)


def run(
    out: Path,
    model: Any,
    callback: TrainerCallback,
    steps: int,
    *,
    resume: str = "",
    to: Any = (),
    seed: int = 0,
) -> TrainerCallback:
    """Train for so many steps, a save every second."""
    args = TrainingArguments(
        str(out),
        max_steps=steps,
        save_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        report_to=[*to] or "none",
        logging_steps=1,
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model, args, train_dataset=Rows(seed), callbacks=[callback])
    trainer.train(resume_from_checkpoint=str(out / resume) if resume else None)
    return callback


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of four steps that was taken up from the second save for four more."""
    out = tmp_path_factory.mktemp("run")
    run(out, tiny(), TrainerCallback(), 6, to=["tensorboard"])
    # from the save before the last, whose step is trained, and measured, anew: on other text
    resume = "checkpoint-4"
    run(out, tiny(), TrainerCallback(), 8, resume=resume, to=["tensorboard"], seed=100)
    return out


def appended(out: Path, names: list[str], base: Path | None = None) -> analysis.Trajectory:
    """Return what `ftdiff trajectory --append` finds in the files, one after another."""
    found = None
    for name in names:
        found = analysis.trajectory(base or out / "ftdiff" / "start", [out / name], earlier=found)
    assert found is not None
    return found


def test_what_was_measured_in_training_is_what_the_saved_files_hold(resumed: Path) -> None:
    live = ftdiff.load(resumed / "ftdiff" / "trajectory.json")
    assert isinstance(live, ftdiff.Trajectory)
    assert live.steps == (2, 4, 6, 8)
    names = [f"checkpoint-{step}" for step in live.steps]
    pd.testing.assert_frame_equal(live.frame, appended(resumed, names).frame, check_exact=True)
    together = ftdiff.trajectory(resumed / "ftdiff" / "start", [resumed]).by()
    for number in ("displacement", "relative_norm", "snr"):  # the rest is of pairs: from sketches
        assert live.by()[number].tolist() == pytest.approx(together[number].tolist(), rel=1e-12)
    assert live.by()["step_length"].tolist() == pytest.approx(
        together["step_length"].tolist(), rel=0.1
    )
    assert len(live.tensors) == len(load_file(resumed / "checkpoint-8" / "model.safetensors"))


def test_the_snapshot_is_the_model_before_its_first_step(resumed: Path) -> None:
    start = load_file(resumed / "ftdiff" / "start" / "model.safetensors")
    first = tiny().state_dict()
    assert all(tensor.equal(first[name]) for name, tensor in start.items())


def test_what_the_trainer_reports_to_has_numbers_and_a_heatmap(resumed: Path) -> None:
    folders = sorted({file.parent for file in resumed.glob("runs/*/ftdiff/events*")})
    assert len(folders) == 2
    live = ftdiff.load(resumed / "ftdiff" / "trajectory.json")
    assert isinstance(live, ftdiff.Trajectory)
    norms = dict(zip(live.steps, live.by()["relative_norm"], strict=True))
    for folder, steps in zip(folders, ((2, 4, 6), (6, 8)), strict=True):
        told = EventAccumulator(str(folder))
        told.Reload()
        scalars = told.Scalars("ftdiff/relative_norm")
        assert [event.step for event in scalars] == [*steps]
        kept = [event for event in scalars if folder == folders[1] or event.step < 6]
        values = [event.value for event in kept]
        assert values == pytest.approx([norms[event.step] for event in kept], rel=1e-6)
        assert "ftdiff/attn.q/relative_norm" in told.Tags()["scalars"]
        pictures = told.Images("ftdiff/heatmap")
        assert [event.step for event in pictures] == [*steps]
        assert pictures[0].encoded_image_string.startswith(b"\x89PNG") and pictures[0].width > 100
        theirs = EventAccumulator(str(folder.parent))  # the trainer's own file is left to it
        theirs.Reload()
        assert "train/loss" in theirs.Tags()["scalars"]
        assert not [tag for tag in theirs.Tags()["scalars"] if "ftdiff" in tag]


def test_an_adapter_in_training_is_what_its_files_hold(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "base")
    base = Qwen2ForCausalLM.from_pretrained(tmp_path / "base")
    settings = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_dora=True)
    model = get_peft_model(base, settings)
    callback = run(tmp_path / "run", model, TrainerCallback(every=2), 4)
    live = callback.trajectory
    assert live is not None and live.steps == (2, 4)
    assert live.about["base"] == str(tmp_path / "base")
    assert not (tmp_path / "run" / "ftdiff" / "start").exists()
    files = appended(tmp_path / "run", [*live.names], tmp_path / "base")
    pd.testing.assert_frame_equal(live.frame, files.frame, check_exact=True)


def call(callback: TrainerCallback, out: Path, model: Any, *events: str, **state: Any) -> None:
    """Call a callback as a trainer does, in a state of these facts."""
    args = SimpleNamespace(output_dir=str(out), report_to=state.pop("to", []))
    for event in events:
        getattr(callback, event)(args, TrainerState(**state), None, model=model)


def moved(model: Any) -> Any:
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.01)
    return model


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    callback = TrainerCallback()
    for event, step in (("on_train_begin", 0), ("on_save", 2)):
        call(callback, tmp_path, tiny(), event, global_step=step, is_world_process_zero=False)
    assert not [*tmp_path.iterdir()] and callback.trajectory is None


def test_a_resumed_training_without_its_start_says_so_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = TrainerCallback()
    with caplog.at_level(logging.WARNING, "ftdiff"):
        call(callback, tmp_path, tiny(), "on_train_begin", "on_save", global_step=4)
    assert [record.getMessage() for record in caplog.records] == [
        f"ftdiff: nothing is measured: training goes on, and {tmp_path}/ftdiff/start has no start "
        "of it: give start="
    ]
    tiny().save_pretrained(tmp_path / "base")
    callback = TrainerCallback(tmp_path / "base")
    call(callback, tmp_path, moved(tiny()), "on_train_begin", "on_save", global_step=4)
    assert callback.trajectory is not None
    assert callback.trajectory.by()["relative_norm"].tolist() == pytest.approx([0.01], rel=1e-5)


def test_a_model_that_cannot_be_saved_is_trained_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("the model is quantised")

    model, callback = tiny(), TrainerCallback()
    monkeypatch.setattr(model, "save_pretrained", refuse)
    with caplog.at_level(logging.WARNING, "ftdiff"):
        call(callback, tmp_path, model, "on_train_begin", global_step=0)
        call(callback, tmp_path, model, "on_save", global_step=2)
    told = "ftdiff: nothing is measured: the model is quantised"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_steps_that_are_no_number_are_refused() -> None:
    with pytest.raises(BadCall, match="every=0"):
        TrainerCallback(every=0)


def test_a_model_that_is_wrapped_or_not_of_transformers_is_measured(tmp_path: Path) -> None:
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    plain[0].weight = torch.nn.Parameter(plain[0].weight.detach().T)  # not in one piece
    callback = TrainerCallback()
    wrapped = torch.nn.DataParallel(plain)
    call(callback, tmp_path, wrapped, "on_train_begin", global_step=0)
    moved(plain)
    call(callback, tmp_path, wrapped, "on_save", global_step=2)
    assert callback.trajectory is not None
    assert [*callback.trajectory.tensors["tensor"]] == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert callback.trajectory.by()["relative_norm"].tolist() == pytest.approx([0.01], rel=1e-5)


def test_a_tracker_that_fails_or_is_not_known_does_not_end_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftdiff.integrations.tensorboard import TensorBoard

    def broken(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(TensorBoard, "log", broken)
    monkeypatch.setitem(sys.modules, "wandb", None)
    callback, model = TrainerCallback(), tiny()
    with caplog.at_level(logging.WARNING, "ftdiff"):
        to = ["tensorboard", "comet_ml", "wandb"]
        call(callback, tmp_path, model, "on_train_begin", global_step=0, to=to)
        call(callback, tmp_path, moved(model), "on_save", "on_train_end", global_step=2, to=to)
    assert [record.getMessage() for record in caplog.records] == [
        "ftdiff: nothing is logged to comet_ml: only to tensorboard, wandb, mlflow",
        "ftdiff: logging to Weights & Biases needs wandb: pip install 'ftdiff[wandb]'",
        "ftdiff: TensorBoard does not log: the disk is full",
    ]
    assert callback.trajectory is not None


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Any]:
    """Be the one process of a group, as far as torch knows."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_a_model_in_pieces_is_measured_from_its_checkpoint(
    tmp_path: Path, alone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny()
    model.save_pretrained(tmp_path / "base")
    fully_shard(model, mesh=alone)
    callback, out = TrainerCallback(tmp_path / "base", every=1), tmp_path / "run"
    with caplog.at_level(logging.WARNING, "ftdiff"):
        call(callback, out, model, "on_train_begin", global_step=0)
        state = {"model": moved(model).state_dict()}  # as accelerate saves it
        dcp.save(state, checkpoint_id=out / "checkpoint-2" / "pytorch_model_fsdp_0")
        call(callback, out, model, "on_step_end", "on_save", global_step=2)
        call(callback, out, model, "on_save", global_step=4)  # of which nothing was saved
        call(TrainerCallback(), out, model, "on_train_begin", global_step=0)
    assert [record.getMessage() for record in caplog.records] == [
        "ftdiff: under FSDP the checkpoints are measured as they are saved, not the model",
        f"ftdiff: step 4 is not measured: {out}/checkpoint-4: no weights are saved in it that can "
        "be read (of ZeRO-3 they are with stage3_gather_16bit_weights_on_model_save)",
        "ftdiff: nothing is measured: under FSDP no snapshot of the start is written: give start=",
    ]
    found = ftdiff.load(out / "ftdiff" / "trajectory.json")
    assert isinstance(found, ftdiff.Trajectory)
    assert found.steps == (2,)
    assert found.by()["relative_norm"].tolist() == pytest.approx([0.01], rel=1e-5)
    assert set(found.tensors["tensor"]) == set(load_file(tmp_path / "base" / "model.safetensors"))
