"""The doors: a fine-tune, a base, a merged model, each opened as what its path is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from ftdiff.adapters import unmerged
from ftdiff.adapters.account import settled
from ftdiff.adapters.company import adapter_beside, also
from ftdiff.adapters.identity import Identity, identify
from ftdiff.deltas.recipes import Replaced, Tuned
from ftdiff.errors import BadCall, FtdiffError, Mismatch, one_line
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.formats.ties import with_tied_names
from ftdiff.tensors import LazyTensor, numel

Source: TypeAlias = str | os.PathLike[str] | Place | Tuned | Checkpoint | Mapping[str, Any] | Any
#: Entries that are read of a tensor to see whether it is another's.
_ENTRIES = 1024
_NO_PARENT = "it cannot be a parent or a base"


def open_tuned(source: Source, base: Checkpoint | None = None) -> Tuned:
    """Open a fine-tune: a full checkpoint or an adapter, told apart by itself.

    Of a folder that holds both, the model is opened, and `beside` is the adapter; where the model
    is the base, entry for entry of a sample, the adapter is the fine-tune.

    Parameters
    ----------
    source
        A path, or what `open_checkpoint` takes.
    base
        The opened base, which decides names and orientations where an adapter leaves them open.

    Raises
    ------
    BadFile, BadAdapter
        The files are not what they claim to be, or contradict each other.
    """
    if isinstance(source, Tuned):
        return source
    if not isinstance(source, str | os.PathLike | Place):
        return settled(_whole(open_checkpoint(source), base))
    found = identify(source)
    if found.adapter is None:
        tuned = _whole(open_checkpoint(source), base)
    elif found.model is None:
        tuned = _adapter(found, base)
    else:
        tuned = _one_of_two(found, base)
    return settled(replace(tuned, notes=(*tuned.notes, *also(found, tuned))))


def open_adapter(source: Source, base: Checkpoint | None = None) -> Tuned:
    """Open an adapter; of a folder that holds a model too, the adapter.

    Raises
    ------
    BadCall
        It is a full checkpoint.
    BadFile, BadAdapter
        As in `open_tuned`.
    """
    tuned = None
    if isinstance(source, str | os.PathLike | Place):
        found = identify(source)
        tuned = _adapter(found, base) if found.adapter is not None else None
    tuned = tuned or open_tuned(source, base)
    if tuned.kind == "full":
        raise BadCall(
            f"{tuned.source}: a full checkpoint, not an adapter: use compare; "
            "verify takes BASE, ADAPTER and MERGED in this order"
        )
    return tuned


def open_model(source: Source, base: Checkpoint | None = None) -> Checkpoint:
    """Open a whole model; of a folder that holds an adapter beside it, the model.

    Raises
    ------
    BadCall
        It is an adapter.
    BadFile
        It is not what it claims to be.
    """
    if not isinstance(source, str | os.PathLike | Place):
        tuned = open_tuned(source, base)
        if tuned.kind != "full":
            raise BadCall(
                f"{tuned.source}: a {tuned.kind} adapter, not a merged model: {_NO_PARENT}"
            )
        return open_checkpoint(source)
    found = identify(source)
    if found.model is None:
        tuned = _adapter(found, base)
        raise BadCall(f"{tuned.source}: a {tuned.kind} adapter, not a merged model: {_NO_PARENT}")
    opened = open_checkpoint(source)
    return replace(opened, notes=(*opened.notes, *_told(found, opened)))


def open_base(source: Source | None) -> Checkpoint | None:
    """Open the base, as `open_checkpoint` takes it; None where there is none (None or "-").

    Raises
    ------
    Mismatch
        It is an adapter: the two arguments may be swapped.
    BadFile
        It is not what it claims to be.
    """
    if source is None or (isinstance(source, str) and source == "-"):
        return None
    if not isinstance(source, str | os.PathLike | Place):
        return open_checkpoint(source)
    found = identify(source)
    if found.model is None:
        raise Mismatch(
            f"{found.path}: the base is an adapter: are the two swapped? For two adapters: "
            "ftdiff similarity A B"
        )
    opened = open_checkpoint(source)
    return replace(opened, notes=(*opened.notes, *_told(found, opened)))


def _adapter(found: Identity, base: Checkpoint | None) -> Tuned:
    """Open the adapter that lies at a path; every door comes through here."""
    assert found.adapter is not None
    return settled(found.adapter.open_(found.path, with_tied_names(base)))


def _told(found: Identity, opened: Checkpoint) -> Iterator[Note]:
    """Say what else there is in the place of a model whose weights are taken as they stand."""
    if found.both and found.model is not None:
        yield adapter_beside(found, found.model)
    if unmerged.holds(opened.tensors):
        count = len(unmerged.modules(opened.tensors))
        text = f"{opened.source}: {count} LoRA modules ride in the file; its own weights are taken"
        yield Note("unmerged-ignored", text, modules=count)


def _whole(checkpoint: Checkpoint, base: Checkpoint | None) -> Tuned:
    if unmerged.holds(checkpoint.tensors):
        return unmerged.read(checkpoint, with_tied_names(base))
    trained, before = unmerged.saved_modules(checkpoint.tensors)
    plain = [name for name in checkpoint.tensors if name not in before]
    tuned = Tuned(
        recipes={name: Replaced(checkpoint.tensors[name]) for name in plain},
        source=checkpoint.source,
        kind="full",
        config=checkpoint.config,
        files=checkpoint.files,
        notes=(*checkpoint.notes, *unmerged.others(checkpoint.tensors)),
        given=checkpoint.tensors,
        spent=dict.fromkeys(before, ()),
    )
    return tuned.respelled(trained)


def _one_of_two(found: Identity, base: Checkpoint | None) -> Tuned:
    """Open the model of a folder that holds an adapter too; the adapter where that is the base."""
    assert found.model is not None
    opened = open_checkpoint(found.path)
    note = adapter_beside(found, found.model)
    try:
        adapter = _adapter(found, base)
    except FtdiffError as error:
        text = f"an adapter lies beside {found.model.name}, and cannot be read: {error}"
        lost = Note("adapter-beside", one_line(text), read=found.model.name, unread="")
        return replace(_whole(opened, base), notes=(*opened.notes, lost))
    if base is not None and _same(base.tensors, opened.tensors):
        names = ", ".join(str(file["name"]) for file in adapter.files)
        text = (
            f"{found.model.name} beside it is the base (by a sample of every tensor): the adapter "
            f"is compared ({names}), and {found.model.name} is not"
        )
        note = Note("model-beside", text, read=names, unread=found.model.name)
        return replace(adapter, notes=(*adapter.notes, note))
    tuned = _whole(opened, base)
    return replace(tuned, notes=(*tuned.notes, note), beside=adapter)


def _same(base: Mapping[str, LazyTensor], tuned: Mapping[str, LazyTensor]) -> bool:
    """Say whether all tensors of two models are alike, by their first entries."""
    if {name: t.shape for name, t in base.items()} != {name: t.shape for name, t in tuned.items()}:
        return False
    return all(_alike(tensor, tuned[name]) for name, tensor in base.items())


def _alike(one: LazyTensor, other: LazyTensor) -> bool:
    most = min(numel(one.shape), _ENTRIES)
    try:
        with one.window(0, most) as mine, other.window(0, most) as theirs:
            return bool((mine == theirs).all())
    except FtdiffError:  # what cannot be read is not known to be alike
        return False
