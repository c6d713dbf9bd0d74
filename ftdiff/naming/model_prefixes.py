"""The first word of a model's names, which transformers adds or drops, and words that it does not.

Its classes with a head have a model inside, under one word: `model.`, `transformer.`, `bert.`. A
file of the one loads into the other; under any other word nothing of it is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from ftdiff.naming.matching import cut
from ftdiff.naming.tables import read_words

#: What trainings put around a model: the word of no class.
_TRAINING = frozenset({"base_model", "module", "auto_model", "_forward_module"})
#: What models of several parts have around one, which transformers renames from release to release.
_PARTS = frozenset({"language_model", "vlm", "llm", "thinker"})


def foreign(pairs: Mapping[str, str], model_type: str, held: Iterable[str]) -> list[str]:
    """Return the names that transformers does not find, for the words in front of them.

    Parameters
    ----------
    pairs
        The base's name by the fine-tune's, where they differ.
    model_type
        As config.json says it.
    held
        All names of the fine-tune under the base's spelling.

    Examples
    --------
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> foreign({f"actor.{name}": name, f"model.{name}": name}, "llama", [name])
    ['actor.model.layers.0.mlp.up_proj.weight']
    """
    names = [*held]
    known = _known(model_type, names)
    fronts = {name: _fronts(name, base) for name, base in pairs.items()}
    wrong = {front for front in fronts.values() if front is not None and _is_wrong(*front, known)}
    # without a number only the words in front that others have too are known to be no other name
    return [name for name, base in pairs.items() if (fronts[name] or cut(name, base)) in wrong]


class _Known:
    """The words that a model's names may begin with."""

    def __init__(self, words: Iterable[str], *, exact: bool) -> None:
        self.words = frozenset(words)
        #: Whether there are no others.
        self.exact = exact


def _is_wrong(mine: str, theirs: str, known: _Known) -> bool:
    if not mine or mine in known.words:
        return False  # what was dropped was in the base's way
    if not theirs:
        return known.exact or mine.partition(".")[0] not in known.words
    return known.exact


def _fronts(name: str, base: str) -> tuple[str, str] | None:
    """Return the words in front of what is the same; None where other words may differ."""
    mine, theirs = cut(name, base)
    rest = name[len(mine) :].strip(".").split(".")
    in_front = not any(word.isdecimal() for word in f"{mine}.{theirs}".split("."))
    if in_front and (any(word.isdecimal() for word in rest) or not theirs):
        return mine, theirs
    return None


def _known(model_type: str, held: list[str]) -> _Known:
    told = _prefixes().get(model_type)
    if told is not None:
        answers = any(name.endswith("qa_outputs.weight") for name in held)
        return _Known({told, "transformer"} if answers else {told}, exact=True)
    words = read_words()
    parts = _PARTS | {*words.towers} | words.main_towers
    heads = words.wrappers - _TRAINING
    first, count = next(iter(Counter(n.partition(".")[0] for n in held).most_common(1)), ("", 0))
    own = {first} if first in heads - parts and 2 * count > len(held) else heads
    return _Known({*own, *parts, "model", model_type.replace("-", "_")}, exact=False)


@cache
def _prefixes() -> Mapping[str, str]:
    """Return the first word by the model type."""
    import tomllib

    table = tomllib.loads((files("ftdiff") / "naming" / "model_prefixes.toml").read_text("utf-8"))
    own = {name: name.replace("-", "_") for name in table.pop("own")}
    return own | {name: word for word, names in table.items() for name in names}
