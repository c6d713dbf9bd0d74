"""What a training began from: files that are there, or a snapshot written when it begins."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ftdiff.errors import BadCall, require
from ftdiff.formats import FORMATS, model_in
from ftdiff.formats.place import here
from ftdiff.integrations import live

#: The snapshot's folder, in that of the measurements.
SNAPSHOT = "start"


def start_of(model: Any, folder: Path, *, resumed: bool) -> Path | None:
    """Return the files of the start; a whole model's are written, if the training is at its start.

    Parameters
    ----------
    model
        The model as training finds it.
    folder
        Where the snapshot is written, or was.
    resumed
        Whether training goes on from a checkpoint: the model is then no start.

    Returns
    -------
    Path or None
        None for an adapter whose base is not on this machine under the name that it is called by.

    Raises
    ------
    BadCall
        The start is not known: the model is in pieces, or training goes on without a snapshot.
    """
    if live.is_adapter(model):
        return _base_of(model)
    held = live.sharding(model)
    if held is not None:
        found = _local(_named(model))
        if found is None:
            raise BadCall(f"under {held} no snapshot of the start is written: give start=")
        return found
    snapshot = folder / SNAPSHOT
    if resumed:
        if model_in(here(snapshot)) is None:
            raise BadCall(f"training goes on, and {snapshot} has no start of it: give start=")
        return snapshot
    _write(model, snapshot)
    return snapshot


def _base_of(model: Any) -> Path | None:
    config = model.peft_config[model.active_adapters[0]]
    return _local(config.base_model_name_or_path) or _local(_named(model.get_base_model()))


def _named(model: Any) -> str | None:
    config = getattr(model, "config", None)
    return getattr(config, "_name_or_path", None) or None


def _local(name: str | None) -> Path | None:
    """Return the folder that a name is, on the disk or in the hub's cache of files."""
    if not name:
        return None
    folder = Path(name)
    if folder.is_dir():
        return folder if model_in(here(folder)) is not None else None
    hub = require("huggingface_hub", "models", "the base of an adapter")
    try:
        file = hub.try_to_load_from_cache(name, "config.json")
    except ValueError:  # no name of the hub's
        return None
    folder = Path(file).parent if isinstance(file, str) else folder
    return folder if model_in(here(folder)) is not None else None


def _write(model: Any, folder: Path) -> None:
    """Write a model's weights as they are; the folder appears when they are all there."""
    partial = folder.with_name(f".{folder.name}")
    for one in (folder, partial):
        shutil.rmtree(one, ignore_errors=True)
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(partial)
    else:
        files = require("safetensors.torch", "models", "a snapshot of the start")
        kept = live.weights(model).tensors
        state = {n: t.contiguous() for n, t in model.state_dict().items() if n in kept}
        partial.mkdir(parents=True)
        files.save_file(
            state, partial / f"model{FORMATS['safetensors'].suffix}", metadata={"format": "pt"}
        )
    partial.rename(folder)
