"""Which modules of a base an adapter's configuration makes PEFT adapt, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.loading.modules import Modules
from ftdiff.adapters.peft.patterns import matches
from ftdiff.naming import locate

#: Task types whose model classes save a new head along, and how it may be called.
_HEADS: Mapping[str, tuple[str, ...]] = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
_SHORTHAND = "all-linear"


@dataclass(frozen=True)
class Targets:
    """What PEFT would adapt.

    Attributes
    ----------
    adapted
        Paths of modules that get an adapter.
    saved
        Paths of modules that are trained and saved whole.
    tokens
        Paths of embeddings of which rows are trained, and how many.
    parameters
        How many of its own parameters are adapted, by module.
    known
        Whether the configuration lists targets; where not, PEFT has defaults for some models.
    """

    adapted: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    tokens: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    known: bool = True


def targets(config: Mapping[str, Any], modules: Modules) -> Targets:
    """Return what a configuration makes PEFT adapt.

    Raises
    ------
    BadAdapter
        A pattern is none, or could be matched for hours.
    """
    wanted = config.get("target_modules")
    paths = sorted({*modules.leaves, *modules.containers} - {""})
    excluded = frozenset(texts(config.get("exclude_modules")))
    kept = [p for p in paths if not (_ends(p, excluded) or _excluded(config, p))]
    if isinstance(wanted, str) and wanted.lower() == _SHORTHAND:
        among = frozenset(kept)
        adapted = [path for path in _linear(modules) if path in among]
    elif isinstance(wanted, str):
        adapted = [path for path in kept if matches(wanted, path, "target_modules")]
    else:
        ends = frozenset(texts(wanted))
        adapted = [p for p in kept if p in ends or (_ends(p, ends) and _in_layers(config, p))]
    return Targets(
        adapted=tuple(adapted),
        saved=_saved(config, modules, {*adapted}),
        tokens=_tokens(config, paths),
        parameters=_parameters(config, modules),
        known=wanted is not None or bool(texts(config.get("target_parameters"))),
    )


def texts(told: Any) -> list[str]:
    """Return the texts in a list of a configuration; none where it is no list."""
    return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []


def _ends(path: str, ends: Set[str]) -> bool:
    """Say whether a path ends in one of these, at a dot."""
    while path not in ends:
        _, dot, path = path.partition(".")
        if not dot:
            return False
    return True


def _excluded(config: Mapping[str, Any], path: str) -> bool:
    told = config.get("exclude_modules")
    if isinstance(told, str) and told and matches(told, path, "exclude_modules"):
        return True
    saved = _to_save(config)
    return any(matches(rf"(.*\.)?{name}(\..*)?", path, "modules_to_save") for name in saved)


def _to_save(config: Mapping[str, Any]) -> list[str]:
    """Return the names of modules that are saved whole: of a text, as PEFT does, each letter."""
    told = config.get("modules_to_save")
    heads = _HEADS.get(str(config.get("task_type")), ())
    return [*(dict.fromkeys(told) if isinstance(told, str) else texts(told)), *heads]


def _in_layers(config: Mapping[str, Any], path: str) -> bool:
    """Say whether a path is in the layers that are adapted: the first number in it counts."""
    layers = config.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    words = path.split(".")
    patterns = config.get("layers_pattern") or []
    patterns = [patterns] if isinstance(patterns, str) else texts(patterns)
    for i in range(1 if patterns else 2, len(words) - 1):
        if not words[i].isdecimal():
            continue
        before = ".".join(words[:i])
        if not patterns or any(
            matches(rf"(.*?\.)?{pattern}", before, "layers_pattern") for pattern in patterns
        ):
            wanted = [layers] if isinstance(layers, int) else layers
            return isinstance(wanted, list) and int(words[i]) in wanted
    return False


def _linear(modules: Modules) -> list[str]:
    """Return the modules that "all-linear" means: matrices, no embedding, no head of the model."""
    matrices = [
        path
        for path, own in modules.leaves.items()
        if len(own.get("weight", ())) == 2 and modules.kind(path) == "linear"
    ]
    places = locate([f"{path}.weight" for path in matrices])
    apart = ("embed", "head")
    return [path for path in matrices if places[f"{path}.weight"].block not in apart]


def _saved(config: Mapping[str, Any], modules: Modules, adapted: set[str]) -> tuple[str, ...]:
    """Return the modules that are saved whole: any whose path ends so, be it inside a word."""
    names = tuple(name for name in _to_save(config) if name)
    if not names:
        return ()
    paths = {*modules.leaves, *modules.containers} - {""}
    return tuple(sorted(path for path in paths if path.endswith(names) and path not in adapted))


def _tokens(config: Mapping[str, Any], paths: Iterable[str]) -> dict[str, int]:
    told = config.get("trainable_token_indices")
    if isinstance(told, list):
        told = {"embed_tokens": told}
    if not isinstance(told, dict):
        return {}
    found: dict[str, int] = {}
    for name, rows in told.items():
        hits = [path for path in paths if path.endswith(str(name))]
        found |= dict.fromkeys(hits, len(rows) if isinstance(rows, list) else 0)
    return found


def _parameters(config: Mapping[str, Any], modules: Modules) -> dict[str, int]:
    wanted = frozenset(texts(config.get("target_parameters")))
    found: dict[str, int] = {}
    for path, own in modules.leaves.items():
        count = sum(1 for last in own if _ends(f"{path}.{last}", wanted)) if wanted else 0
        if count:
            found[path] = count
    return found
