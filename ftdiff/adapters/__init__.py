"""From adapter files to recipes: one file per family, one front door for every fine-tune.

To add an adapter type of another tool: `<family>.py` here with `recognises` and `open_`, and its
line in `families.ADAPTERS`, before the families that would take its files too. What it returns
names every key of its files (`Tuned.given`); those that it makes nothing of are named in `account`.
A PEFT type: see `peft`. What a path is, `identity` alone decides, for every command that takes one.
"""

from ftdiff.adapters.alike import Several, is_moved, moved, open_several
from ftdiff.adapters.families import ADAPTERS, AdapterFiles
from ftdiff.adapters.identity import Identity, identify
from ftdiff.adapters.opening import open_adapter, open_base, open_model, open_tuned

__all__ = [
    "ADAPTERS",
    "AdapterFiles",
    "Identity",
    "Several",
    "identify",
    "is_moved",
    "moved",
    "open_adapter",
    "open_base",
    "open_model",
    "open_several",
    "open_tuned",
]
