"""Which modules an adapter targets, and in which order its model holds them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftdiff.adapters.peft.patterns import matches
from ftdiff.errors import BadAdapter, Irreproducible, require


def targeted(config: Mapping[str, Any], paths: Iterable[str]) -> list[str]:
    """Return the paths that a configuration names, by PEFT's rule.

    Parameters
    ----------
    config
        The adapter's configuration: `target_modules`, a pattern for the whole path or a list of
        ends of it; `layers_to_transform`, `layers_pattern`.
    paths
        Dotted module paths.

    Raises
    ------
    BadAdapter
        A pattern is none.
    """
    wanted = config.get("target_modules")
    try:
        return [path for path in paths if _named(wanted, path) and _in_layers(config, path)]
    except (re.error, TypeError) as error:
        raise BadAdapter(f"adapter_config.json: target_modules is no pattern ({error})") from error


def in_order(paths: Sequence[str], model: str) -> list[str]:
    """Return the paths in the order in which the model holds them.

    Parameters
    ----------
    paths
        Dotted module paths.
    model
        The model's `config.json`, of which the model is built without memory. Only classes of
        transformers itself are built: code beside the weights is never run.

    Raises
    ------
    Irreproducible
        transformers has no such model, or another than the one that was adapted.
    """
    transformers = require("transformers", "peft", "the order of a model's modules")
    torch = require("torch", "peft", "the order of a model's modules")
    settings = json.loads(model)
    _sensible(settings, len(paths))
    wanted = set(paths)
    for name in (*(settings.get("architectures") or ()), "AutoModelForCausalLM", "AutoModel"):
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            built = _build(transformers, str(name), settings)
        if built is not None:
            places = [path for path, _ in built.named_modules() if path in wanted]
            if len(places) == len(wanted):
                return places
    raise Irreproducible(
        f"the base's config.json gives no model of transformers {transformers.__version__} that "
        f"has {paths[0]}, and without it the order of the targets is not known"
    )


def _build(transformers: Any, name: str, settings: Mapping[str, Any]) -> Any:
    made = getattr(transformers, name, None)
    kind = settings.get("model_type")
    if made is None or kind not in transformers.CONFIG_MAPPING:
        return None
    try:
        config = transformers.AutoConfig.for_model(**settings)
        return made.from_config(config) if name.startswith("Auto") else made(config)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, ImportError):
        return None


def _sensible(settings: Mapping[str, Any], targets: int) -> None:
    """Refuse a configuration of more layers than there are targets, before one is built."""
    for name, value in settings.items():
        counts = name.endswith(("layer", "layers")) and isinstance(value, int)
        if counts and value > max(targets, 64):
            raise Irreproducible(
                f"the base's config.json says {name} = {value}, and the adapter has {targets} "
                "targets: the order of the targets is not known"
            )


def _named(names: Any, path: str) -> bool:
    if not names:
        return False
    if isinstance(names, str):
        return matches(names, path, "target_modules")
    return any(path == name or path.endswith(f".{name}") for name in names)


def _in_layers(config: Mapping[str, Any], path: str) -> bool:
    layers = config.get("layers_to_transform")
    if layers is None:
        return True
    patterns = config.get("layers_pattern") or [r"[^.]*"]
    patterns = [patterns] if isinstance(patterns, str) else patterns
    numbered = [rf".*\.{pattern}\.(\d+)\..*" for pattern in patterns]
    fitting = (one for one in numbered if matches(one, path, "layers_pattern"))
    found = next((re.fullmatch(one, path) for one in fitting), None)
    wanted = [layers] if isinstance(layers, int) else layers
    return found is not None and int(found[1]) in wanted
