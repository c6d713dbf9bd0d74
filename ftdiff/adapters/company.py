"""What else lies where a fine-tune lies, and was not read: files, adapters, a configuration."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.adapters.identity import Identity
from ftdiff.adapters.peft import folder as peft
from ftdiff.adapters.unmerged import UNMERGED
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import FORMATS, adapter_in
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place


def adapter_beside(found: Identity, model: Place) -> Note:
    """Say that an adapter lies beside a model, and that the model is what is read."""
    held = adapter_in(found.path)
    name = held.name if held is not None else "the adapter"
    text = (
        f"{name} lies beside {model.name} and is not read: {model.name} is the model. "
        "transformers puts an adapter that it finds in a model's folder on top of the model"
    )
    return Note("adapter-beside", text, read=model.name, unread=name)


def also(found: Identity, tuned: Tuned) -> Iterator[Note]:
    """Say what else lies in a folder."""
    if not found.path.is_dir():
        return
    if found.adapter is not None and found.model is None:
        yield from _files(found.path, tuned)
        yield from _below(found.path)
    codes = {note.code for note in tuned.notes if isinstance(note, Note)}
    alone = found.adapter is None and (found.path / peft.CONFIG).is_file()
    if alone and found.model is not None and UNMERGED not in codes:
        text = (
            f"{peft.CONFIG} lies beside {found.model.name} and no adapter's weights do: "
            "transformers looks for them, and does not load the folder"
        )
        yield Note("adapter-config-alone", text, read=found.model.name)


def _files(folder: Place, tuned: Tuned) -> Iterator[Note]:
    """Name the files of weights beside an adapter's."""
    read = [str(record["name"]) for record in tuned.files]
    files = [file.name for known in FORMATS.values() for file in known.files(folder)]
    rest = [name for name in files if name not in read]
    if rest and read:
        shown = ", ".join(rest[:5]) + (", …" if len(rest) > 5 else "")
        text = f"{shown} beside {read[0]}: not read, and may hold other weights"
        yield Note("beside-unread", text, read=read[0], unread=rest)


def _below(folder: Place) -> Iterator[Note]:
    """Name the adapters in folders of an adapter's: PEFT saves each but the default so."""
    names = sorted(
        one.name
        for one in folder.folders()
        if (one / peft.CONFIG).is_file() and not one.name.startswith("checkpoint-")
    )
    if names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        text = f"adapters lie in {shown} too: that of the folder itself is read, the default"
        yield Note("adapters-below", text, adapters=names)
