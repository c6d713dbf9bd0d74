"""Names that one release of transformers gave and another gives, by its own table of renames.

Nothing is imported before plain names and our own dialects have failed, and then only where the
installed library has renames for a model of this type. No weight is made, and no code that lies
beside a model is run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ftdiff.comparison.alignment.fusions import strangers
from ftdiff.comparison.alignment.renamed import under
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import require
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming.matching import pair_names

#: The code of a note on names that were matched by transformers' renames.
RENAMED = "renamed-by-transformers"
#: Blocks and experts beyond which a configuration is no model's, and none is made from it.
_MOST = 4096
_COUNTS = re.compile(r"layer|block|depth|expert|stage")

#: What says nothing of names.
_UNUSED = ("model_type", "dtype", "torch_dtype", "quantization_config", "_attn_implementation")

Rename = Callable[[str], str]


def with_transformers_names(
    base: Checkpoint, tuned: Tuned
) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Give the fine-tune's tensors the base's names where transformers says that they are one."""
    mine = {name: recipe.shape for name, recipe in strangers(base, tuned).items()}
    if not mine:
        return base, tuned, ()
    known = {name: tensor.shape for name, tensor in base.tensors.items()}
    met = {*pair_names(known, {n: r.shape for n, r in tuned.recipes.items()}).values()}
    theirs = {name: shape for name, shape in known.items() if name not in met}
    for config in (tuned.config if tuned.kind == "full" else {}, base.config):
        rename = _renames(config) if theirs else None
        names = _pairs(mine, theirs, rename) if rename is not None else {}
        if names:
            note = _note(names, str(config["model_type"]))
            return base, under(tuned, names, {}), (note,)
    return base, tuned, ()


def _pairs(
    mine: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]], rename: Rename
) -> dict[str, str]:
    """Return the base's names by the fine-tune's, where a rename makes one name of both."""
    here, there = _unique(mine, rename), _unique(theirs, rename)
    found = pair_names(
        {new: theirs[old] for new, old in there.items()},
        {new: mine[old] for new, old in here.items()},
    )
    pairs = {here[one]: there[other] for one, other in found.items()}
    return {
        name: other
        for name, other in pairs.items()
        if mine[name] == theirs[other] and (rename(name) != name or rename(other) != other)
    }


def _unique(names: Iterable[str], rename: Rename) -> dict[str, str]:
    """Return names by what they are renamed to, where only one is."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[rename(name)].append(name)
    return {new: held[0] for new, held in found.items() if len(held) == 1}


def _renames(config: Mapping[str, Any]) -> Rename | None:
    """Return how the installed transformers renames a file's names; None where it does not."""
    if not _knows(config) or not _is_small(config):
        return None
    try:
        library = require("transformers", "peft", "the renames of a model's tensors")
        steps = [*_steps(library, config)]
    except Exception as error:
        # the configuration is of another release's, or no model's at all; the library is too old
        if isinstance(error, MemoryError):
            raise
        return None

    def rename(name: str) -> str:
        for step in steps:
            name = step(name)
        return name

    return rename if steps else None


def _steps(library: Any, config: Mapping[str, Any]) -> Iterator[Rename]:
    """Yield the renames of a model and of the models inside it, which is made without weights."""
    torch = require("torch", "peft", "the renames of a model's tensors")
    settings = {key: value for key, value in config.items() if key not in _UNUSED}
    made = library.AutoConfig.for_model(config["model_type"], **settings)
    words = config.get("architectures") or [""]
    kind = getattr(library, str(words[0]), None) or library.AutoModel
    if not hasattr(kind, "from_config") and not hasattr(kind, "_from_config"):
        return
    with torch.device("meta"):
        model = (getattr(kind, "_from_config", None) or kind.from_config)(made)
    if find_spec("transformers.conversion_mapping") is None:
        table = getattr(type(model), "_checkpoint_conversion_mapping", None) or {}
        yield from (_by(pattern, new) for pattern, new in table.items())
        return
    table = require("transformers.conversion_mapping", "peft", "the renames of a model's tensors")
    kinds = require("transformers.core_model_loading", "peft", "the renames of a model's tensors")
    for one in table.get_model_conversion_mapping(model):
        if isinstance(one, kinds.WeightRenaming):  # others make tensors of several
            yield _of(one)


def _of(renaming: Any) -> Rename:
    return lambda name: str(renaming.rename_source_key(name)[0])


def _by(pattern: str, new: str) -> Rename:
    return lambda name: re.sub(pattern, new, name)


def _knows(config: Mapping[str, Any]) -> bool:
    """Say whether transformers is installed, and its table names a model of this configuration."""
    if not isinstance(config.get("model_type"), str):
        return False
    found = find_spec("transformers")
    if found is None or found.origin is None or find_spec("torch") is None:
        return False
    table = Path(found.origin).parent / "conversion_mapping.py"
    try:
        text = table.read_text("utf-8")
    except OSError:
        return True  # of a release that has its renames in each class
    return any(f'"{word}"' in text for word in _words(config))


def _words(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the types and classes that a configuration names, its parts' too."""
    for key, value in config.items():
        if key == "model_type" and isinstance(value, str):
            yield value
        elif key == "architectures" and isinstance(value, list):
            for word in map(str, value):
                yield from (word, f"{word.partition('For')[0]}Model")
        elif isinstance(value, Mapping):
            yield from _words(value)


def _is_small(config: Mapping[str, Any]) -> bool:
    """Say whether no count in a configuration is beyond a model's."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            if not _is_small(value):
                return False
        elif _COUNTS.search(key):
            counts = value if isinstance(value, list) else [value]
            if sum(one for one in counts if type(one) is int) > _MOST or len(counts) > _MOST:
                return False
    return True


def _note(names: Mapping[str, str], model_type: str) -> Note:
    name, other = next(iter(names.items()))
    text = (
        f"{len(names):,} name{'s were' if len(names) > 1 else ' was'} matched by transformers' own "
        f"renames for {model_type}: {name} is {other}{', …' if len(names) > 1 else ''}"
    )
    return Note(RENAMED, text, model_type=model_type, names=len(names))
