"""What a path is: a model, an adapter, or a kind of file that is not read, with the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import ftdiff
from ftdiff.adapters import identify
from ftdiff.analyses.inspection import inspect
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall, BadFile, Mismatch
from tests.cases.situations import merged, write_base, write_lora
from tests.conftest import write_model

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


def pointer(path: Path, size: int = 161_533_192) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(POINTER.format("0123456789abcdef" * 4, size))
    return path


def refused(*words: object) -> str:
    """Return the line that a command refuses with."""
    done = CliRunner().invoke(door, [*map(str, words)])
    assert isinstance(done.exception, BadFile)
    return str(done.exception)


def _adapter(folder: Path) -> Path:
    write_lora(folder)
    return pointer(folder / "adapter_model.safetensors").parent


def _pickled_adapter(folder: Path) -> Path:
    write_lora(folder)
    (folder / "adapter_model.safetensors").unlink()
    return pointer(folder / "adapter_model.bin").parent


def _shard(folder: Path) -> Path:
    write_model(folder, merged(), shards=2)
    return pointer(folder / "model-00002-of-00002.safetensors").parent


def _configuration(folder: Path) -> Path:
    write_lora(folder)
    return pointer(folder / "adapter_config.json").parent


def _model_configuration(folder: Path) -> Path:
    write_base(folder)
    return pointer(folder / "config.json").parent


POINTERS: Mapping[str, Callable[[Path], Path]] = {
    "adapter": _adapter,
    "pickled adapter": _pickled_adapter,
    "shard": _shard,
    "configuration": _configuration,
    "configuration of a model": _model_configuration,
    "pickled model": lambda folder: pointer(folder / "pytorch_model.bin").parent,
    "file": lambda folder: pointer(folder / "x.safetensors"),
    "gguf": lambda folder: pointer(folder / "x.gguf"),
}


@pytest.mark.parametrize("make", POINTERS.values(), ids=POINTERS)
def test_a_pointer_is_no_file_and_says_how_its_bytes_come(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path, base = make(tmp_path / "x"), write_base(tmp_path / "base")
    for words in (("inspect", path), ("compare", base, path), ("similarity", path, path)):
        text = refused(*words)
        assert "\n" not in text
        assert "a Git LFS pointer to 161,533,192 bytes; `git lfs pull` fetches them" in text


WRITTEN = {
    "pytorch_model_fsdp_0/.metadata,scheduler.pt": (
        "an FSDP checkpoint",
        "accelerate merge-weights",
    ),
    "global_step10/mp_rank_00_model_states.pt,zero_to_fp32.py": ("DeepSpeed", "zero_to_fp32.py"),
    "zero_pp_rank_0_mp_rank_00_optim_states.pt": ("DeepSpeed", "zero_to_fp32.py"),
    "mp_rank_00/model_optim_rng.pt": ("a Megatron checkpoint", "Megatron-Bridge"),
    "iter_0000010/x,latest_checkpointed_iteration.txt": ("a Megatron checkpoint", "export"),
    "model.nemo": ("a NeMo checkpoint", "export"),
    "tf_model.h5,config.json": ("TensorFlow weights", "from_tf=True"),
    "flax_model.msgpack,config.json": ("Flax weights", "from_flax=True"),
    "model.onnx": ("an ONNX export", "exported from"),
    "pytorch_model.bin,config.json": ("a pickle", "safetensors"),
}


@pytest.mark.parametrize("files", WRITTEN)
def test_a_checkpoint_of_another_tool_is_refused_by_name_with_the_way_out(
    tmp_path: Path, files: str
) -> None:
    folder = tmp_path / "x"
    for name in files.split(","):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text("{}")
    for error in (_refusal(inspect, folder), _refusal(ftdiff.compare, folder, folder)):
        assert all(said in error for said in WRITTEN[files]) and "\n" not in error
    first = folder / files.split(",")[0]
    if first.parent == folder and first.suffix != "":
        assert WRITTEN[files][0] in _refusal(inspect, first)


def _refusal(call: Callable[..., object], *paths: Path) -> str:
    with pytest.raises(BadFile) as caught:
        call(*paths)
    return str(caught.value)


def test_weights_beside_what_is_not_read_are_read(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "x")
    (folder / "global_step10").mkdir()
    (folder / "tf_model.h5").write_text("")
    assert inspect(folder).facts["kind"] == "full"


def test_a_saved_diff_is_no_model(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    saved = ftdiff.compare(base, write_lora(tmp_path / "lora")).save(tmp_path / "out" / "diff.json")
    for path in (saved, saved.parent):
        assert "a saved diff, and no weights" in _refusal(ftdiff.compare, base, path)
        assert "a saved diff, and no weights" in _refusal(ftdiff.compare, path, base)


def test_an_adapter_in_the_bases_place_is_refused_by_every_command(tmp_path: Path) -> None:
    base, lora = write_base(tmp_path / "base"), write_lora(tmp_path / "lora")
    for call in (
        lambda: ftdiff.compare(lora, base),
        lambda: ftdiff.compare(lora, lora),
        lambda: ftdiff.similarity([lora, lora], base=lora),
        lambda: ftdiff.trajectory(lora, [lora, lora]),
        lambda: inspect(lora, lora),
    ):
        with pytest.raises(Mismatch, match=r"are the two swapped.*ftdiff similarity A B"):
            call()
    for call in (
        lambda: ftdiff.verify(lora, lora, base),
        lambda: ftdiff.verify(base, lora, lora),
        lambda: ftdiff.lineage(base, [lora]),
    ):
        with pytest.raises(BadCall, match="a lora adapter, not a merged model"):
            call()
    with pytest.raises(BadCall, match="a full checkpoint, not an adapter"):
        ftdiff.verify(base, base, base)


def test_one_function_says_what_a_path_is(tmp_path: Path) -> None:
    base, lora = write_base(tmp_path / "base"), write_lora(tmp_path / "lora")
    assert (
        str(identify(base).model) == str(base / "model.safetensors")
        and identify(base).adapter is None
    )
    assert identify(lora).model is None and identify(lora).adapter is not None
    assert identify(lora / "adapter_model.safetensors").model is None
    write_lora(base)
    assert identify(base).both and not identify(base / "model.safetensors").both
    for path in ("", tmp_path / "nowhere"):
        with pytest.raises(BadFile):
            identify(path)


@pytest.mark.parametrize("scale", ["weight_scale_2", "scale_input", "weight.scale"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_eight_bits_beside_a_scale_that_nobody_reads_are_no_weight(
    tmp_path: Path, scale: str, dtype: torch.dtype
) -> None:
    W = torch.randn(16, 16, generator=torch.Generator().manual_seed(1)) * 20
    base = {"blocks.0.q.weight": W, "blocks.0.norm.weight": torch.ones(16)}
    packed = base | {"blocks.0.q.weight": W.to(dtype), f"blocks.0.q.{scale}": torch.tensor(0.1)}
    save_file(base, tmp_path / "base.safetensors")
    save_file(packed, tmp_path / "few.safetensors")
    diff = ftdiff.compare(tmp_path / "base.safetensors", tmp_path / "few.safetensors")
    assert [*diff.about["unreadable"]] == ["blocks.0.q.weight"]
    assert (
        f"blocks.0.q.{scale}, a scale that is not read"
        in diff.about["unreadable"]["blocks.0.q.weight"]
    )
    assert not ftdiff.audit(diff).ok


def test_a_marker_alone_says_that_float_8_is_scaled(tmp_path: Path) -> None:
    W = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    held = {"q.weight": W.to(torch.float8_e4m3fn), "scaled_fp8": torch.zeros(2)}
    save_file({"q.weight": W}, tmp_path / "base.safetensors")
    save_file(held, tmp_path / "few.safetensors")
    about = ftdiff.compare(tmp_path / "base.safetensors", tmp_path / "few.safetensors").about
    assert "scaled_fp8" in about["unreadable"]["q.weight"]


def test_float_8_without_any_scale_is_the_weight(tmp_path: Path) -> None:
    W = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    save_file({"q.weight": W}, tmp_path / "base.safetensors")
    save_file({"q.weight": W.to(torch.float8_e4m3fn)}, tmp_path / "few.safetensors")
    diff = ftdiff.compare(tmp_path / "base.safetensors", tmp_path / "few.safetensors")
    assert not diff.about["unreadable"] and diff.overall["relative_norm"] < 0.05
