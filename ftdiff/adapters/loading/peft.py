"""What PEFT would fill from an adapter's file: module by module, by its rules, from headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.loading import fields
from ftdiff.adapters.loading.keys import PREFIX, SHARED_PREFIX, Own, by_module, named, part_at
from ftdiff.adapters.loading.modules import Kind, Modules, Shape, root
from ftdiff.adapters.loading.outcome import Loading, Misfit, State
from ftdiff.adapters.loading.parts import (
    PARTS,
    PREFIXES,
    SHARED,
    Parts,
    Place,
    Sides,
    fits,
    parts,
    rank,
)
from ftdiff.adapters.loading.refusals import refusal
from ftdiff.adapters.loading.targets import Targets, targets
from ftdiff.errors import BadAdapter
from ftdiff.naming.matching import Spellings

#: Model types whose `Conv1D` layers store in × out, and how these are called.
_CONV1D = ("gpt2", "imagegpt", "openai-gpt", "decision_transformer")
_TURNED = ("c_attn", "c_proj", "c_fc")
_ROWS = "token_adapter.trainable_tokens_delta"
#: What some trainings leave in the file, and no model that is loaded needs.
_IN_TRAINING = ("lora_velora", "lora_monteclora")
_HEADS = ("lm_head", "embed_out")


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
    config = fields.read(kind, config)
    held = by_module(shapes, PREFIXES[kind])
    modules = Modules.of(base or {}, base_config or {})
    new, old = root(modules, [own.path for own in held if not own.foreign]) if base else ("", "")
    turned = str((base_config or {}).get("model_type")) in _CONV1D
    modules = modules.moved(new, old)
    look = _Look(kind, config, shapes, held, modules, base is None, turned)
    try:
        refused = look.at_all()
    except BadAdapter as error:
        return Loading({}, refused=str(error))
    headless = old if old and not new else ""
    if headless and config.get("task_type") != "FEATURE_EXTRACTION":
        look.behind(headless)
    ignored = tuple(key for key in shapes if key not in look.used)
    names = {path: modules.names[path] for path in look.states if path in modules.names}
    return Loading(
        look.states, names, look.keys, tuple(look.misfits), refused, ignored, look.grown, headless
    )


@dataclass
class _Look:
    """One adapter while its keys are looked for, as PEFT would for one base.

    Attributes
    ----------
    kind, config, shapes, held
        The adapter's type, configuration, shapes by key, and keys by module.
    modules, alone, turned
        The base's modules; whether there is none; whether its projections are stored in × out.
    states, keys, misfits, grown
        As in `Loading`.
    used
        Keys that PEFT takes, or that are accounted for with a module that is not live.
    """

    kind: str
    config: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    held: list[Own]
    modules: Modules
    alone: bool
    turned: bool
    states: dict[str, State] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    grown: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def at_all(self) -> str:
        """Look for everything; return why PEFT refuses, or ""."""
        wanted = self._wanted()
        refused = "" if self.alone else refusal(self.kind, self.config, self.modules, wanted)
        common = self._shared(wanted)
        usual = self._usual(wanted)
        for path in wanted.adapted:
            place = self._place(path)
            self._module(path, parts(self.kind, place) or usual, place.r, whole=common)
        for path, count in wanted.parameters.items():
            levels = ["base_layer." * level for level in range(count)]
            self._module(path, {f"{up}lora_{side}.weight": None for up in levels for side in "AB"})
        refused = refused or self._saved(wanted) or self._rows(wanted)
        if not common and self.kind != "VBLORA":
            refused = refused or "save_projection is set, and the file has no projections"
        self._replaced(wanted)
        self._rest({*wanted.adapted, *wanted.parameters})
        return refused

    def behind(self, prefix: str) -> None:
        """Take what is live for astray: names without the prefix fit a model without its head."""
        for path in [path for path, state in self.states.items() if state == "live"]:
            self.states[path] = "astray"
            own = next((own.keys[0] for own in self.held if own.path == path), f"{PREFIX}{path}")
            self.keys[path] = own, own.replace(PREFIX, f"{PREFIX}{prefix}", 1)

    def _wanted(self) -> Targets:
        """Return what the configuration targets; the file's own modules where nothing tells."""
        own = {one.path for one in self.held if not one.wrapped}
        if self.alone:
            nested = {one.path for one in self.held if any("base_layer." in k for k in one.keys)}
            return Targets(tuple(sorted(own - nested)))
        wanted = targets(self.config, self.modules)
        if wanted.known:
            return wanted
        return Targets(tuple(sorted(own & self.modules.leaves.keys())), wanted.saved, known=False)

    def _place(self, path: str) -> Place:
        own = self.modules.leaves.get(path, {})
        kind: Kind = self.modules.kind(path) if own else "linear"
        shape = own.get("weight")
        if kind == "linear" and (self.alone or path in self.modules.embeddings):
            keys = (key for one in self.held if one.path == path for key in one.keys)
            kind = "embedding" if any("_embedding_" in key for key in keys) else kind
        out, into = shape if shape is not None and len(shape) == 2 else (None, None)
        if self.turned and path.rpartition(".")[2] in _TURNED:
            out, into = into, out
        r = rank(self.kind, self.config, path)
        return Place(path, kind, shape, "bias" in own, out, into, r, self.config)

    def _usual(self, wanted: Targets) -> Parts:
        """Return the parts that most modules of the file have, for a type whose own are unknown."""
        counts: Counter[tuple[str, ...]] = Counter()
        targeted = {*wanted.adapted}
        for own in self.held:
            start = f"{PREFIX}{own.path}."
            if own.path in targeted and not own.foreign:
                counts[tuple(sorted(key.removeprefix(start) for key in own.keys))] += 1
        return dict.fromkeys(counts.most_common(1)[0][0]) if counts else {}

    def _module(
        self, path: str, wanted: Parts, r: int | None = None, *, whole: bool = True
    ) -> None:
        """Look for a module's keys, and hold their shapes against what is wanted."""
        start = f"{PREFIX}{path}."
        gone = []
        for part, sides in wanted.items():
            spelled = (start + one for one in named(part))
            key = next((key for key in spelled if key in self.shapes), None)
            if key is None:
                gone.append(part)
            else:
                self._fit(key, sides, path, r)
        if wanted and not gone and whole:
            self.states[path] = "live"
            return
        self.states[path] = "half" if len(gone) < len(wanted) else "absent"
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

    def _shared(self, wanted: Targets) -> bool:
        """Say whether what all modules use is there, where it has to be."""
        stem = SHARED_PREFIX + PREFIXES[self.kind].partition("_")[0]
        self.used.update(key for key in self.shapes if key.startswith(f"{stem}_"))
        saves = self.kind == "VBLORA" or self.config.get("save_projection", True)
        names = SHARED.get(self.kind, ())[:1] if saves else ()
        spelled = [[SHARED_PREFIX + one for one in named(name)] for name in names]
        if self.kind == "VERA" and saves:
            weights = [self.modules.leaves.get(p, {}).get("weight", ()) for p in wanted.adapted]
            sides = [shape for shape in weights if len(shape) == 2]
            out, into = ([shape[i] for shape in sides] for i in (0, 1))
            r = rank(self.kind, self.config, "")
            largest: Parts = {"vera_A": (r, max(into, default=None))}
            largest |= {"vera_B": (max(out, default=None), r)}
            for name, shape in largest.items():
                if f"{SHARED_PREFIX}{name}" in self.shapes:
                    self._fit(f"{SHARED_PREFIX}{name}", shape, "", r)
        return all(any(key in self.shapes for key in keys) for keys in spelled)

    def _saved(self, wanted: Targets) -> str:
        """Look for modules that are saved whole; PEFT refuses where a tensor of one is missing."""
        refused = ""
        for path in wanted.saved:
            self.states[path] = "live"
            for rest, shape in self.modules.below(path).items():
                key = f"{PREFIX}{path}.{rest}"
                if key in self.shapes:
                    self._fit(key, shape, path)
                    continue
                self.states[path], self.keys[path] = "absent", ("", key)
                refused = refused or f"modules_to_save names {path}, and {key} is not in the file"
        return refused

    def _rows(self, wanted: Targets) -> str:
        """Look for embeddings of which some rows were trained."""
        refused = ""
        for path, count in wanted.tokens.items():
            key, module = f"{PREFIX}{path}.{_ROWS}", f"{path}.token_adapter"
            width = self.modules.leaves.get(path, {}).get("weight", (None,))[-1]
            self.states[module] = "live"
            if key in self.shapes:
                self._fit(key, (count, width), path)
            else:
                self.states[module], self.keys[module] = "absent", ("", key)
                refused = refused or f"trainable_token_indices is set, and {key} is not in the file"
        return refused

    def _replaced(self, wanted: Targets) -> None:
        """Take copies of the model's own tensors: biases, embeddings, heads of its class."""
        layers = {*wanted.adapted, *wanted.parameters}
        for key, shape in self.shapes.items():
            words = key.removeprefix(PREFIX).split(".")
            if (
                key in self.used
                or not key.startswith(PREFIX)
                or part_at(words, PREFIXES[self.kind])
            ):
                continue
            path, last = ".".join(words[:-1]), words[-1]
            inner = path.removesuffix(".base_layer")
            own = self.modules.leaves.get(inner, {})
            if last in own and (inner in layers) == (inner != path):
                self._fit(key, own[last], inner)
            elif self.alone or self._new(path):
                self._fit(key, shape, inner)

    def _new(self, path: str) -> bool:
        """Say whether a module is a head, which the model's class adds to what the base stores."""
        return bool(path) and "." not in path and path not in self.modules.containers

    def _rest(self, layers: set[str]) -> None:
        """Give the keys that PEFT passes over to the modules that they were meant for."""
        spellings = Spellings({f"{path}.weight": () for path in self.states})
        open_ended = self.kind not in PARTS
        for own in self.held:
            left = [key for key in own.keys if key not in self.used]
            path = own.plain
            if path not in self.states:
                path = (spellings.find(f"{path}.weight") or "").removesuffix(".weight")
            if self.states.get(path) == "live" and not own.wrapped:
                start = f"{PREFIX}{path}."
                self.used.update(
                    key
                    for key in left
                    if open_ended or key.removeprefix(start).startswith(_IN_TRAINING)
                )
            elif left and path in layers and self.states[path] in ("absent", "half"):
                self.states[path] = "astray"
                self.keys[path] = left[0], self._like(path, left[0])
                self.used.update(left)
            elif left and path not in layers and self._converted(own.plain):
                self.used.update(left)
            elif left and path not in layers:
                self.states[own.plain] = "astray" if self.alone and own.wrapped else "unwanted"
                self.keys[own.plain] = left[0], self._like(own.plain, left[0]) if self.alone else ""
                self.used.update(left)

    def _like(self, path: str, found: str) -> str:
        """Return the key that PEFT looks for in place of one that is in the file."""
        words = found.removeprefix(PREFIX).split(".")
        part = ".".join(words[part_at(words, PREFIXES[self.kind]) :])
        known = [*(parts(self.kind, self._place(path)) or ())]
        alike = [one for one in known if part.lower().startswith(one.partition(".")[0].lower())]
        return f"{PREFIX}{path}.{alike[0] if alike else part}"

    def _converted(self, path: str) -> bool:
        """Say whether a module is an expert that the base stores with all others in one tensor."""
        home, _, rest = path.partition(".experts.")
        home = f"{home}.experts"
        return rest[:1].isdecimal() and home in self.modules.leaves
