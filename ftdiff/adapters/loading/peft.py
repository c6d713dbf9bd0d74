"""What PEFT would fill from an adapter's file: module by module, by its rules, from headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from ftdiff.adapters.loading import fields
from ftdiff.adapters.loading.keys import PREFIX, SHARED_PREFIX, Own, by_module, named, part_at
from ftdiff.adapters.loading.modules import Modules, Shape, in_memory, root
from ftdiff.adapters.loading.outcome import Loading, Misfit, State
from ftdiff.adapters.loading.parts import NEEDING, PARTS, PREFIXES, Sides, fits
from ftdiff.adapters.loading.refusals import refusal
from ftdiff.adapters.loading.targets import Targets
from ftdiff.adapters.loading.unfit import of_fields, of_numbers
from ftdiff.adapters.loading.wanted import Want, Wanted, wanted
from ftdiff.errors import BadAdapter
from ftdiff.naming.matching import Spellings

_ROWS = "token_adapter.trainable_tokens_delta"
_HEADS = ("lm_head", "embed_out")
#: Parts that only some modules have, or that some trainings leave and no model needs.
_OPTIONAL = ("lora_velora", "lora_monteclora", "hada_t", "lokr_")


def check(
    config: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    base: Mapping[str, Shape] | None = None,
    base_config: Mapping[str, Any] | None = None,
) -> Loading | None:
    """Say what PEFT would fill from an adapter's file.

    Parameters
    ----------
    config
        The adapter's configuration.
    shapes
        The shapes of the adapter's tensors, by key.
    base, base_config
        The base's shapes by name, and its configuration. Without a base, modules are those of the
        file, and sizes that only the base knows are open.

    Returns
    -------
    Loading
        None for types that are not loaded module by module.
    """
    kind = str(config.get("peft_type"))
    if kind not in PREFIXES:
        return None
    config, told = fields.read(kind, config), base_config or {}
    held = by_module(shapes, PREFIXES[kind])
    modules, headless = Modules({}, {}), ""
    if base is not None:
        modules = Modules.of(base, told)
        paths = [own.path for own in held if not own.foreign]
        new, old = root(modules, paths)
        modules, headless = in_memory(modules.moved(new, old), paths), "" if new else old
    look = _Look(kind, shapes, held, modules, alone=base is None)
    refused = of_fields(kind, config)
    try:
        known = None if look.alone else modules
        want = wanted(kind, config, held, known, str(told.get("model_type")))
        if any(look.converted(own.plain) for own in held):  # its targets are converted too
            want = replace(want, targets=replace(want.targets, known=False))
        refused = refused or of_numbers(kind, config, want.layers)
        if not (refused or look.alone):
            refused = refusal(kind, config, modules, want.targets)
    except BadAdapter as error:
        return Loading({own.plain: "live" for own in held}, refused=refused or str(error))
    refused = look.for_all(want) or refused
    if headless and config.get("task_type") != "FEATURE_EXTRACTION":
        look.behind(headless)
    return Loading(
        states=look.states,
        names={path: modules.names[path] for path in look.states if path in modules.names},
        keys=look.keys,
        misfits=tuple(look.misfits),
        refused=refused,
        ignored=() if look.alone else tuple(key for key in shapes if key not in look.used),
        grown=look.grown,
        headless=headless,
    )


@dataclass
class _Look:
    """One adapter while its keys are looked for.

    Attributes
    ----------
    kind, shapes, held
        The adapter's type, the shapes of its tensors by key, and its keys by module.
    modules, alone
        The base's modules; whether there is no base.
    states, keys, misfits, grown
        As in `Loading`.
    used
        Keys that PEFT takes, or that are accounted for with a module that is not live.
    """

    kind: str
    shapes: Mapping[str, Shape]
    held: Sequence[Own]
    modules: Modules
    alone: bool
    states: dict[str, State] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    grown: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    @cached_property
    def known(self) -> frozenset[str]:
        """The modules of which the file has a key that PEFT can know."""
        return frozenset(own.path for own in self.held if not own.foreign)

    def for_all(self, want: Wanted) -> str:
        """Look for everything; return why PEFT refuses, or ""."""
        refused, whole = self._shared(want)
        for path, one in want.layers.items():
            self._layer(path, one, whole=whole)
        refused = self._saved(want.targets) or self._rows(want.targets) or refused
        self._replaced(want)
        self._strays(want)
        return refused

    def behind(self, prefix: str) -> None:
        """Take what is live for astray: names without the prefix fit a model without its head."""
        first = {own.path: own.keys[0] for own in self.held}
        for path in [path for path, state in self.states.items() if state == "live"]:
            self.states[path] = "astray"
            key = first.get(path, f"{PREFIX}{path}")
            self.keys[path] = key, key.replace(PREFIX, f"{PREFIX}{prefix}", 1)

    def _shared(self, want: Wanted) -> tuple[str, bool]:
        """Look for what all modules use; say why PEFT refuses, and whether modules are whole."""
        stem = SHARED_PREFIX + PREFIXES[self.kind].partition("_")[0]
        self.used.update(key for key in self.shapes if key.startswith(f"{stem}_"))
        there = []
        for name, sides in want.shared.items():
            spelled = (SHARED_PREFIX + one for one in named(name))
            key = next((key for key in spelled if key in self.shapes), None)
            there.append(key is not None)
            if key is not None:
                self._fit(key, sides, "")
        if all(there[:1]):
            return "", True
        (first, *_) = want.shared
        if self.kind not in NEEDING:
            return "", False
        return f"save_projection is set, and {SHARED_PREFIX}{first} is not in the file", True

    def _layer(self, path: str, want: Want, *, whole: bool) -> None:
        """Look for a module's keys, and hold their shapes against what is wanted."""
        start = f"{PREFIX}{path}."
        gone = []
        for part, sides in want.parts.items():
            spelled = (start + one for one in named(part))
            key = next((key for key in spelled if key in self.shapes), None)
            if key is None:
                gone.append(part)
            else:
                self._fit(key, sides, path, want.rank)
        there = path in self.known
        filled = there if not want.parts and self.kind != "UNILORA" else not gone
        if filled and whole:
            self.states[path] = "live"
            return
        self.states[path] = "half" if there and len(gone) < len(want.parts) else "absent"
        self.keys[path] = "", start + (gone[0] if gone else PREFIXES[self.kind])

    def _fit(self, key: str, wanted: Sides, path: str, r: int | None = None) -> None:
        self.used.add(key)
        if not fits(self.shapes[key], wanted) and not self._more_rows(key, wanted, path):
            self.misfits.append(Misfit(key, self.shapes[key], wanted, r))

    def _more_rows(self, key: str, wanted: Sides, path: str) -> bool:
        """Take a vocabulary that has grown: the model's is resized before the adapter is loaded."""
        found, rows = self.shapes[key], self.modules.leaves.get(path, {}).get("weight", (0,))[0]
        vocabulary = path in self.modules.embeddings or path.rpartition(".")[2] in _HEADS
        if not vocabulary or wanted is None or rows not in wanted or len(found) != len(wanted):
            return False
        at = wanted.index(rows)
        more = found[at]
        if more <= rows or not fits(found, (*wanted[:at], more, *wanted[at + 1 :])):
            return False
        self.grown[key] = more
        return True

    def _saved(self, targets: Targets) -> str:
        """Look for modules that are saved whole; PEFT refuses where a tensor of one is missing."""
        refused = ""
        for path in targets.saved:
            self.states[path] = "live"
            for rest, shape in self.modules.below(path).items():
                key = f"{PREFIX}{path}.{rest}"
                if key in self.shapes:
                    self._fit(key, shape, path)
                    continue
                self.states[path], self.keys[path] = "absent", ("", key)
                refused = refused or f"modules_to_save names {path}, and {key} is not in the file"
        return refused

    def _rows(self, targets: Targets) -> str:
        """Look for embeddings of which some rows were trained."""
        refused = ""
        for path, count in targets.tokens.items():
            key, module = f"{PREFIX}{path}.{_ROWS}", f"{path}.token_adapter"
            width = self.modules.leaves.get(path, {}).get("weight", (None,))[-1]
            self.states[module] = "live"
            if key in self.shapes:
                self._fit(key, (count, width), path)
            else:
                self.states[module], self.keys[module] = "absent", ("", key)
                refused = refused or f"trainable_token_indices is set, and {key} is not in the file"
        return refused

    def _replaced(self, want: Wanted) -> None:
        """Take copies of the model's own tensors: biases, embeddings, heads of its class."""
        parts = {key for own in self.held for key in own.keys}
        for key, shape in self.shapes.items():
            if key in self.used or key in parts or not key.startswith(PREFIX):
                continue
            path, _, last = key.removeprefix(PREFIX).rpartition(".")
            inner = path.removesuffix(".base_layer")
            own = self.modules.leaves.get(inner, {})
            if last in own and (inner in want.layers) == (inner != path):
                self._fit(key, own[last], inner)
            elif self.alone or self._new(path):
                self._fit(key, shape, inner)

    def _new(self, path: str) -> bool:
        """Say whether a module is a head, which the model's class adds to what the base stores."""
        known = path in self.modules.leaves or path in self.modules.containers
        return bool(path) and "." not in path and not known

    def _strays(self, want: Wanted) -> None:
        """Give the keys that PEFT passes over to the modules that they were meant for."""
        spellings = Spellings({f"{path}.weight": () for path in self.states})
        for own in self.held:
            left = [key for key in own.keys if key not in self.used]
            path = own.plain
            if path not in self.states:
                path = (spellings.find(f"{path}.weight") or "").removesuffix(".weight")
            if path not in want.layers:
                if left and not self.converted(own.plain):
                    path = own.plain
                    self.states[path] = "astray" if self.alone and own.wrapped else "unwanted"
                    like = path if self.alone else self._nearest(path)
                    expected = f"{PREFIX}{like}.{self._part(left[0])}" if like else ""
                    self.keys[path] = left[0], expected
                self.used.update(left)
            elif left and self.states[path] in ("absent", "half"):
                self.states[path] = "astray"
                self.keys[path] = left[0], self._like(path, left[0], want.layers[path])
                self.used.update(left)
            elif not own.wrapped:
                self.used.update(key for key in left if self._idle(key))

    def _idle(self, key: str) -> bool:
        """Say whether a key of a module that is filled may be there, whether or not it is used."""
        return self.kind not in PARTS or self._part(key).startswith(_OPTIONAL)

    def _part(self, key: str) -> str:
        words = key.removeprefix(PREFIX).split(".")
        return ".".join(words[part_at(words, PREFIXES[self.kind]) :])

    def _like(self, path: str, found: str, want: Want) -> str:
        """Return the key that PEFT looks for in place of one that is in the file."""
        part = self._part(found)
        heads = {one.partition(".")[0].lower(): one for one in reversed(want.parts)}
        return f"{PREFIX}{path}.{heads.get(part.partition('.')[0].lower(), part)}"

    def _nearest(self, path: str) -> str:
        """Return the module of the base that is named most like one that the base lacks."""
        if path in self.modules.leaves:
            return ""
        home = path.rpartition(".")[0]
        beside = [other for other in self.modules.leaves if other.rpartition(".")[0] == home]
        return next(iter(get_close_matches(path, beside, 1, 0.0)), "")

    def converted(self, path: str) -> bool:
        """Say whether a module is experts that the base stores otherwise, and loaders convert."""
        home, _, rest = path.partition(".experts.")
        if rest[:1].isdecimal():
            return f"{home}.experts" in self.modules.leaves
        apart = f"{path}.0" in self.modules.containers
        return path.endswith(".experts") and apart and path not in self.modules.leaves
