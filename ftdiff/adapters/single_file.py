"""The one safetensors file that a path means, and the names in it: how adapter files are known."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ftdiff.errors import FtdiffError
from ftdiff.formats import safetensors
from ftdiff.tensors import stamp

#: Files of whole models: never an adapter.
_MODELS = ("model.safetensors", "diffusion_pytorch_model.safetensors")


def find(path: Path) -> Path | None:
    """Return the file itself, or the only safetensors file of a folder that is no model's."""
    if not path.is_dir():
        return path if path.name.endswith(".safetensors") and path.is_file() else None
    if (path / "config.json").exists() or (path / "model_index.json").exists():
        return None
    files = list(path.glob("*.safetensors"))
    return files[0] if len(files) == 1 and files[0].name not in _MODELS else None


def names(path: Path) -> tuple[str, ...]:
    """Return the names in the file that `path` means; none where there is no readable one."""
    file = find(path)
    return _names(file, stamp(file)) if file is not None else ()


def metadata(path: Path) -> dict[str, str]:
    """Return the file's own metadata; none where there is no readable file."""
    file = find(path)
    return dict(_metadata(file, stamp(file))) if file is not None else {}


def _names(file: Path, marks: tuple[int, int, int, int]) -> tuple[str, ...]:
    return _header(file, marks)[0]


def _metadata(file: Path, marks: tuple[int, int, int, int]) -> tuple[tuple[str, str], ...]:
    return _header(file, marks)[1]


@lru_cache(maxsize=16)
def _header(
    file: Path, marks: tuple[int, int, int, int]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    try:
        tensors, told, _ = safetensors.read_header(file)
    except FtdiffError:  # whoever opens the file as a checkpoint says what is wrong with it
        return (), ()
    return tuple(tensors), tuple(told.items())
