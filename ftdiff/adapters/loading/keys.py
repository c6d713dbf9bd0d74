"""An adapter's keys, sorted by the module that each names, however it is wrapped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

#: Before every module's path in PEFT's files, and before what modules share.
PREFIX, SHARED_PREFIX = "base_model.model.", "base_model."
#: The adapter's name where nobody gives it another.
_NAME = "default"
#: What stands around a model in some trainings, and whose it is.
WRAPPERS = {
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_fpw_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "module": "DataParallel, DDP or DeepSpeed",
}


@dataclass(frozen=True)
class Own:
    """The keys of one adapted module.

    Attributes
    ----------
    path
        The module's path as the keys spell it, without `base_model.model.`.
    foreign
        Whether the keys lack `base_model.model.`, so that PEFT cannot know them.
    keys
        The keys.
    """

    path: str
    foreign: bool
    keys: tuple[str, ...]

    @property
    def plain(self) -> str:
        """The path without what wraps a model."""
        text = f".{self.path}.".replace(f".{PREFIX}", ".").strip(".")
        return ".".join(word for word in text.split(".") if word not in WRAPPERS)

    @property
    def wrapped(self) -> bool:
        """Whether no model has such a path: something was around it."""
        return self.foreign or self.plain != self.path


def by_module(keys: Iterable[str], prefix: str) -> list[Own]:
    """Sort the keys of a type's parts, which begin with its prefix in whatever case, by module.

    >>> by_module(["base_model.model.h.0.fc.lora_A.weight", "x.lora_a.weight"], "lora_")[1]
    Own(path='x', foreign=True, keys=('x.lora_a.weight',))
    """
    found: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for key in keys:
        rest = key.removeprefix(PREFIX)
        words = rest.split(".")
        at = part_at(words, prefix)
        if at:
            path = ".".join(word for word in words[:at] if word != "base_layer")
            found[path, rest == key].append(key)
    return [Own(path, foreign, tuple(own)) for (path, foreign), own in found.items()]


def part_at(words: list[str], prefix: str) -> int:
    """Return where in a key's words the part begins; 0 for a key of no part."""
    start = prefix.lower()
    return next((i for i, word in enumerate(words) if i and word.lower().startswith(start)), 0)


def named(part: str) -> tuple[str, ...]:
    """Return the spellings of a part that PEFT takes: those with the adapter's name in it too.

    >>> named("lora_A.weight"), named("ia3_l")
    (('lora_A.weight', 'lora_A.default.weight'), ('ia3_l', 'ia3_l.default'))
    """
    if part == "lora_magnitude_vector":
        return part, f"{part}.weight", f"{part}.{_NAME}.weight"
    before, dot, last = part.rpartition(".")
    return part, f"{before}.{_NAME}.{last}" if dot else f"{part}.{_NAME}"
