"""Which modules of an adapter of another tool than PEFT have their place in the base."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import takewhile

from ftdiff.adapters.account import readers
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.container import ADAPTER
from ftdiff.formats.note import Note
from ftdiff.naming.matching import Spellings

#: The code of a note on modules that have no place in the base; its data say which and how many.
MISPLACED = "misplaced"
#: How the words begin that follow a module's path in a key, and which they are otherwise.
_STARTS = ("lora_", "hada_", "lokr_", "oft_", "ia3_", "glora_", "bias_")
_WORDS = frozenset(
    {
        *(
            "lora",
            "alpha",
            "diff",
            "diff_b",
            "dora_scale",
            "w_norm",
            "b_norm",
            "on_input",
            "scalar",
        ),
        *("weight", "bias", "magnitude", "rescale", "set_weight", "reshape_weight"),
    }
)
_SHOWN = 3


def notes(tuned: Tuned, base: Checkpoint | None) -> tuple[Note, ...]:
    """Return a note on the modules that have no place in the base; nothing where all have one.

    Of PEFT's adapters nothing is said here: what becomes of them, PEFT's own rules tell.
    """
    names = [str(file["name"]) for file in tuned.files]
    of_peft = "peft_type" in tuned.config and any(n.startswith(f"{ADAPTER}.") for n in names)
    if base is None or tuned.kind == "full" or of_peft:
        return ()
    spellings = Spellings({name: tensor.shape for name, tensor in base.tensors.items()})
    found = {name: spellings.find(name) is not None for name in tuned.recipes}
    placed = {_path(name) for name, there in found.items() if there}
    strange = [name for name, there in found.items() if not there]
    lost = dict.fromkeys(_path(key) for key in (*strange, *tuned.unmatched))
    in_part = {
        _path(key)
        for key, names in readers(tuned).items()
        if key not in tuned.spent and any(found.get(name) for name in names)
    }
    lost = {path: None for path in lost if path not in placed and path not in in_part}
    if not lost:
        return ()
    of = len(placed) + len(lost)
    first = next(iter(lost))
    near = _nearest(first, base)
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    text = (
        f"{len(placed)} of {of} modules find their place in the base; "
        f"{', '.join([*lost][:_SHOWN])}{more} {'does' if len(lost) == 1 else 'do'} not"
        f"{f' (nearest: {near})' if near else ''}"
    )
    return (Note(MISPLACED, text, live=len(placed), of=of, found=first, expected=near),)


def _path(key: str) -> str:
    """Return the module of a key: what stands before its parts.

    >>> _path("lora_unet_mid_block.lora_down.weight"), _path("a.lora.weight")
    ('lora_unet_mid_block', 'a')
    """
    first, *rest = key.split(".")
    return ".".join([first, *takewhile(_in_path, rest)])


def _in_path(word: str) -> bool:
    return word not in _WORDS and not word.startswith(_STARTS)


def _nearest(path: str, base: Checkpoint) -> str:
    """Return the base's name that is spelled most like a path, with dots or without."""
    flat = {name.rpartition(".")[0].replace(".", "_"): name for name in base.tensors}
    close = get_close_matches(path.replace(".", "_"), flat, 1, 0.5)
    return flat[close[0]] if close else ""
