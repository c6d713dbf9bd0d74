"""Fit a probe at every site, layer and position of a model, and of its fine-tune."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.adapters import open_base, open_tuned
from ftdiff.analyses.live_model import activations, batches, changes, mounting, opening
from ftdiff.analyses.live_model.opening import Live
from ftdiff.analyses.probing import cells, folds, null, positions, rows
from ftdiff.analyses.probing.cells import Cell, Setup
from ftdiff.analyses.probing.features import Features, features, places
from ftdiff.analyses.probing.folds import PROTOCOLS, Protocol
from ftdiff.analyses.probing.positions import Read
from ftdiff.analyses.probing.result import CHANCE, Probe
from ftdiff.analyses.probing.rows import EXACT, Data
from ftdiff.comparison.plan import pair
from ftdiff.comparison.progress import Progress, Report, Say, phase
from ftdiff.comparison.provenance import made_of
from ftdiff.errors import BadCall, require
from ftdiff.metrics.names import several
from ftdiff.registry import Registry
from ftdiff.tensors import Array

#: Rows that the published split takes, as many as there are or fewer.
_PUBLISHED = 1000


@dataclass(frozen=True)
class Settings:
    """How probes are fitted; see `probe`."""

    sites: Sequence[str] = ("block",)
    positions: Sequence[str] = ()
    layers: Sequence[int] = ()
    protocol: Protocol = "cv"
    permutations: int = 400
    max_tokens: int | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = batches.BATCH


def probe(
    model: str | Path,
    tuned: str | Path | None = None,
    *,
    data: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    **options: Any,
) -> Probe:
    """Say in which layers, and at which tokens, a label can be read from a model's states.

    Parameters
    ----------
    model
        A model that transformers opens, from local files, with a tokenizer.
    tuned
        A checkpoint or an adapter of it, read on the same rows and folds.
    data
        A .jsonl: rows with `label` and `text`, or `prompt` and `answer`; maybe `exact_answer`,
        `spans` in characters of the whole text, and `group`.
    settings
        A `Settings`, or its fields as keywords: `sites` ("block", "mlp", "attn", "mlp.in"),
        `positions` (all of `positions.POSITIONS` by default; SPAN_first, … of a named span),
        `layers` (all by default), `protocol` ("cv": stratified folds with groups kept together,
        or "llmsknow": the published split), `permutations` of the labels, `max_tokens` (longer
        rows are left out; what the model takes by default), `seed`, `device`, `dtype`, and
        `batch` (rows at a time).
    progress
        Called with how many rows have run, and how many cells were fitted, of how many.
    say
        Called with a sentence: how long the model will run, from one measured batch, and when a
        batch does not fit in memory.

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        A file cannot be read, the model cannot be run, or the change cannot be written into it.
    UnknownName
        There is no such site, position or setting.
    BadCall
        There is no tokenizer, one label alone is left, or a state is not finite.
    MissingExtra
        Torch, transformers or scikit-learn is not installed.
    """
    for name in options:
        Registry("setting", Settings.__dataclass_fields__)[name]
    settings = replace(settings or Settings(), **options)
    settings = replace(
        settings, positions=several(settings.positions), layers=several(settings.layers)
    )
    _check(settings)
    read = rows.read(data)
    asked = positions.known(settings.positions, read.spans)
    live = opening.open_(
        model, device=settings.device, dtype=settings.dtype, heads=("causal", "masked", "bare")
    )
    sites = activations.sites(live, settings.sites)
    sites = _chosen(sites, settings.layers)
    kept = _fitting(live, read, asked, settings)
    setup = _setup(kept, settings, compared=tuned is not None)
    given = places(live, kept.read, kept.at)
    pace = batches.Pace(settings.batch, say)
    base = open_base(model)
    other = None if tuned is None else open_tuned(tuned, base)
    changed = None if other is None else changes.changes_of(live, pair(base, other))
    run = phase(progress, "running the model")
    held = {"model": features(live, given, sites, pace, run, say)}
    if changed is not None:
        with mounting.at(changed):
            held["tuned"] = features(live, given, sites, pace, phase(progress, "the fine-tune"))
    measured = {
        side: _cells(states, kept, setup, phase(progress, f"probing the {side}"))
        for side, states in held.items()
    }
    notes = [*live.notes, *(changed.notes if changed is not None else ()), *kept.notes]
    about = {
        "model": str(model),
        "tuned": None if tuned is None else str(tuned),
        "base": str(model),
        "data": _data(kept, Path(data)),
        "positions": {
            name: {"present": int((column >= 0).sum()), "absent": int((column < 0).sum())}
            for name, column in zip(asked, kept.at.T, strict=True)
        },
        **{key: getattr(settings, key) for key in ("protocol", "permutations", "seed")},
        "arrangements": null.arrangements(setup.permuted),
        "unconverged": sum(not one.converged for side in measured.values() for one in side),
        **_run(live, pace),
        "notes": notes,
        **made_of(model=[base], tuned=[other]),
    }
    keys = [(*key, name) for key in held["model"] for name in asked]
    return Probe.of_rows(_frame(keys, measured), _differences(keys, measured, setup), about)


def _check(settings: Settings) -> None:
    Registry("protocol", dict.fromkeys(PROTOCOLS))[settings.protocol]
    if settings.permutations < 100:
        raise BadCall(f"permutations={settings.permutations}: at least 100 are a null")
    if settings.batch < 1:
        raise BadCall("batch is 1 at least")
    if not 0 <= settings.seed < 2**32:
        raise BadCall("a seed is a whole number from 0 to 4,294,967,295")


def _chosen(sites: Sequence[activations.Site], layers: Sequence[int]) -> list[activations.Site]:
    there = {site.layer for site in sites}
    for layer in layers:
        if layer not in there:
            raise BadCall(f"no layer {layer}: there are {min(there)} to {max(there)}")
    return [site for site in sites if not layers or site.layer in layers]


@dataclass(frozen=True, eq=False)
class _Kept:
    """The rows that take part, as tokens."""

    data: Data
    read: list[Read]
    at: Array
    left_out: int
    notes: tuple[str, ...]


def _fitting(live: Live, data: Data, asked: Sequence[str], settings: Settings) -> _Kept:
    """Turn rows into tokens, find their positions, and leave out what is too long."""
    if live.tokenizer is None:
        raise BadCall(f"{live.source}: no tokenizer lies beside the model: positions need one")
    longest = getattr(batches.text_config(live), "max_position_embeddings", None)
    limits = [limit for limit in (settings.max_tokens, longest) if limit is not None]
    most = min(limits) if limits else None
    every = [positions.read(live.tokenizer, row.text, row.answer, row.spans) for row in data.rows]
    short = [i for i, row in enumerate(every) if most is None or len(row.ids) <= most]
    notes = []
    if len(short) < len(every):
        notes.append(f"{len(every) - len(short)} rows are longer than {most} tokens: left out")
    if settings.protocol == "llmsknow":
        exact = [i for i in short if EXACT in data.rows[i].spans]
        if len(exact) < len(short):
            notes.append(f"{len(short) - len(exact)} rows have no exact answer: left out")
        order = np.random.default_rng(settings.seed).permutation(len(exact))
        short = [exact[i] for i in order[:_PUBLISHED]]
    labels = data.labels[short]
    if len({*labels.tolist()}) < 2:
        raise BadCall(f"one label alone is left in {len(short)} rows: nothing to tell apart")
    at = np.array([[_place(name, every[i]) for name in asked] for i in short], int)
    part = replace(data, rows=tuple(data.rows[i] for i in short), labels=labels)
    return _Kept(part, [every[i] for i in short], at, len(every) - len(short), tuple(notes))


def _place(name: str, row: Read) -> int:
    found = positions.place(name, row)
    return -1 if found is None else found


def _setup(kept: _Kept, settings: Settings, *, compared: bool) -> Setup:
    labels, groups = kept.data.labels, kept.data.groups
    fold = folds.folds(labels, groups, settings.protocol, settings.seed)
    patterns = [tuple(row) for row in (kept.at >= 0).tolist()]
    drawn = folds.permuted(labels, groups, fold, patterns, settings.permutations, settings.seed)
    code = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    clusters = np.array([code[group] for group in groups])
    return Setup(labels, fold, drawn, clusters, settings.protocol, settings.seed, compared)


def _cells(states: Features, kept: _Kept, setup: Setup, done: Report) -> list[Cell]:
    """Fit every cell: sites in their order, and the positions of each."""
    limits = require("threadpoolctl", "models", "probing").threadpool_limits
    count, found = kept.at.shape[1], []
    with limits(1):  # threads of a library for linear algebra cost more than products so small
        for values in states.values():
            for i in range(count):
                found.append(cells.measure(values[:, i], kept.at[:, i] >= 0, setup))
                done(len(found), len(states) * count)
    return found


_Key = tuple[str, str, int, str]


def _frame(keys: Sequence[_Key], measured: Mapping[str, Sequence[Cell]]) -> list[dict[str, Any]]:
    found = []
    for side, held in measured.items():
        seen = np.array([cell.ridge for cell in held])
        drawn = np.array([cell.null for cell in held])
        known = np.isfinite(drawn).all(axis=1)
        single = np.where(known, null.single_p(seen, drawn), np.nan)
        family = null.family_p(seen, drawn)
        for key, cell, p, p_family in zip(keys, held, single, family, strict=True):
            site, stack, layer, position = key
            found.append(
                {
                    "model": side, "site": site, "stack": stack, "layer": layer,
                    "position": position, "n": cell.n, "auroc": cell.auroc,
                    "auroc_low": cell.low, "auroc_high": cell.high, "p": p, "p_family": p_family,
                    "chance": None if np.isnan(cell.auroc) else not p_family < CHANCE,
                }
            )  # fmt: skip
    return found


def _differences(
    keys: Sequence[_Key], measured: Mapping[str, Sequence[Cell]], setup: Setup
) -> list[dict[str, Any]]:
    if "tuned" not in measured:
        return []
    compared = cells.differences(measured["model"], measured["tuned"], setup)
    names = ("site", "stack", "layer", "position")
    return [
        {**dict(zip(names, key, strict=True)), **one.__dict__}
        for key, one in zip(keys, compared, strict=True)
    ]


def _data(kept: _Kept, path: Path) -> dict[str, Any]:
    labels, classes = kept.data.labels, kept.data.classes
    return {
        "file": path.name,
        "sha256": kept.data.sha256,
        "rows": len(labels),
        "left_out": kept.left_out,
        "groups": len({*kept.data.groups}),
        "tokens": sum(len(row.ids) for row in kept.read),
        "classes": {classes[0]: int((~labels).sum()), classes[1]: int(labels.sum())},
    }


def _run(live: Live, pace: batches.Pace) -> dict[str, Any]:
    names = ("torch", "transformers", "scikit-learn")
    return {
        "kind": live.kind,
        "device": live.device,
        "dtype": live.dtype,
        "batch": pace.size,
        "halved": list(pace.halved),
        "libraries": {name: importlib.metadata.version(name) for name in names},
    }
