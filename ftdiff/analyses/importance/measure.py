"""Measure what a base, and the change of a fine-tune, are worth on a text."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.adapters import open_base, open_tuned
from ftdiff.analyses import texts as reading
from ftdiff.analyses.importance import ablation, foretold, gradients
from ftdiff.analyses.importance import gates as gating
from ftdiff.analyses.importance.gradients import Asked
from ftdiff.analyses.importance.parts import Part, parts
from ftdiff.analyses.importance.passes import passes_of
from ftdiff.analyses.importance.result import Importance
from ftdiff.analyses.live_model import batches, changes, losses, mounting, opening
from ftdiff.analyses.live_model.changes import Changes
from ftdiff.analyses.live_model.losses import Losses
from ftdiff.comparison.engine import compare
from ftdiff.comparison.plan import pair
from ftdiff.comparison.progress import Progress, Report, Say, announce, phase
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import PAIRED
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS, resolve
from ftdiff.metrics.names import several
from ftdiff.metrics.records.worth import Worth
from ftdiff.registry import Registry

#: What is measured of layers by default.
MEASURES = (*ablation.MEASURES, "gate")


@dataclass(frozen=True)
class Settings:
    """How it is measured; see `importance`."""

    max_texts: int = 64
    max_tokens: int = 256
    seed: int = 0
    nodes: int = 4
    components: bool = False
    measures: Sequence[str] = MEASURES
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = batches.BATCH


def importance(
    base: str | Path,
    tuned: str | Path | None = None,
    *,
    text: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    **options: Any,
) -> Importance:
    """Measure what a base, and the change of a fine-tune, are worth on a text.

    Parameters
    ----------
    base
        A model that transformers opens, from local files.
    tuned
        A checkpoint or an adapter of it; None for the base alone.
    text
        A file of texts: see `ftdiff.analyses.texts.read`.
    settings
        A `Settings`, or its fields as keywords: `max_texts`, `max_tokens`, `seed` (of draws),
        `nodes` (of the integral behind `path`), `components` (whether they are parts too),
        `measures` (of layers: "skip", "zero", "revert", "graft", "gate"; none leaves the layers
        out), `device`, `dtype` and `batch` (texts at a time).
    progress
        Called with how much of a phase is done, and of how much.
    say
        Called with a sentence: how long it will take, from one measured batch, and when a batch
        does not fit in memory.

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        A file cannot be read, the base cannot be run, or the change cannot be written into it.
    BadCall
        A setting does not exist, a loss is not finite, a text has tokens of another vocabulary, or
        not one text fits in memory.
    MissingExtra
        Torch or transformers is not installed.
    """
    settings = replace(settings or Settings(), **_known(options))
    settings = replace(settings, measures=several(settings.measures))
    _check(settings)
    live = opening.open_(base, device=settings.device, dtype=settings.dtype)
    read = reading.read(
        *(text, live.tokenizer),
        max_texts=settings.max_texts, max_tokens=settings.max_tokens, seed=settings.seed,
    )  # fmt: skip
    asked = Asked(live, batches.rows(live, read), batches.Pace(settings.batch, say))
    opened = open_base(base)
    assert opened is not None
    changed = plan = None
    held = opened
    if tuned is not None:
        plan = pair(opened, open_tuned(tuned, opened))
        changed, opened = changes.changes_of(live, plan), plan.base or opened
    kept = passes_of(live, asked.rows, asked.pace, held, plan.changes if plan else None)
    asked = replace(asked, passes=kept)
    diff = compare(base, base if tuned is None else tuned)
    named = changes.located(live, opened)
    named = {tensor: live.named[name][0] for tensor, name in named.items()}
    found = [] if not settings.measures else parts(diff.columns, named)
    if settings.components and settings.measures:
        found += parts(diff.columns, named, components=True)
    left = [*foretold.wanted(asked, changed, found, settings.measures, settings.nodes)]
    left = left if kept is None else kept.left(left)
    if say is not None and left:
        announce(say, *foretold.foretold(asked, left))
    at_base, worth = gradients.at_base(asked, changed)
    at_tuned = _at_tuned(asked, changed)
    whole = None if at_tuned is None else at_tuned.mean - at_base.mean
    if changed is not None and whole is not None:
        along = gradients.along(asked, changed, settings.nodes) if len(changed) else {}
        worth = {
            name: replace(one, path=along.get(name, 0.0), whole=whole)
            for name, one in worth.items()
        }
    rows = list(_measured(asked, changed, found, settings, (at_base, at_tuned), progress))
    about = {
        **_about(asked, read, settings, at_base, at_tuned),
        **({} if whole is None else {"gap": _gap(worth) - whole, "nodes": settings.nodes}),
        "notes": [*live.notes, *(changed.notes if changed is not None else ())],
        "parts": rows,
    }
    if tuned is None:
        diff.about["notes"].append("no fine-tune was given: the base stands beside itself")
    return Importance(_with(diff, worth, named, about))


def _known(options: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in options:
        Registry("setting", Settings.__dataclass_fields__)[name]
    return options


def _check(settings: Settings) -> None:
    for measure in settings.measures:
        Registry("measure", dict.fromkeys(MEASURES))[measure]
    if settings.nodes < 1 or settings.batch < 1:
        raise BadCall("nodes and batch are 1 at least")
    if settings.seed < 0:
        raise BadCall("a seed is a whole number from 0")


def _at_tuned(asked: Asked, changed: Changes | None) -> Losses | None:
    if changed is None:
        return None

    def made() -> Losses:
        with mounting.at(changed):
            return losses.losses(asked.live, asked.rows, asked.pace, of="the fine-tune")

    return asked.once(gradients.AT_TUNED, made)


def _gap(worth: Mapping[str, Worth]) -> float:
    return math.fsum(one.path or 0.0 for one in worth.values())


def _measured(
    asked: Asked,
    changed: Changes | None,
    found: Sequence[Part],
    settings: Settings,
    reference: tuple[Losses, Losses | None],
    progress: Progress | None,
) -> Iterator[dict[str, Any]]:
    """Yield a row of the long frame for each part and measure; layers and components apart."""
    at_base, at_tuned = reference
    for components in (False, True):
        here = [part for part in found if (part.component is not None) == components]
        for measure in settings.measures if here else ():
            done = phase(progress, f"{measure} of {'components' if components else 'layers'}")
            if measure == "gate":
                yield from _gated(asked, changed, here, at_base, at_tuned, done)
                continue
            against = at_tuned if measure == "revert" else at_base
            if against is None or (changed is None and measure not in ablation.OF_BASE):
                continue
            for part, effect in ablation.ablated(
                asked, changed, here, measure, against, settings.seed, done
            ):
                numbers = {n: v for n, v in effect.__dict__.items() if not math.isnan(v)}
                yield {**part.columns(), "measure": measure, **numbers}


def _gated(
    asked: Asked,
    changed: Changes | None,
    found: Sequence[Part],
    at_base: Losses,
    at_tuned: Losses | None,
    done: Report,
) -> Iterator[dict[str, Any]]:
    if changed is None or at_tuned is None or not at_tuned.mean < at_base.mean:
        return  # there is no worth to share out
    for part, share in gating.gates(asked, changed, found, at_base.mean - at_tuned.mean, done):
        yield {**part.columns(), "measure": "gate", "value": share}


def _about(
    asked: Asked,
    read: reading.Texts,
    settings: Settings,
    at_base: Losses,
    at_tuned: Losses | None,
) -> dict[str, Any]:
    live = asked.live
    return {
        "text": {**reading.record(read), "asked": int(asked.rows.asked.sum())},
        "loss": {"base": at_base.mean, **({} if at_tuned is None else {"tuned": at_tuned.mean})},
        "kind": live.kind,
        "seed": settings.seed,
        "device": live.device,
        "dtype": live.dtype,
        "batch": asked.pace.size,
        "halved": list(asked.pace.halved),
        "measures": {m: ablation.MEASURES[m] for m in settings.measures if m != "gate"},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
    }


def _with(
    diff: Diff, worth: Mapping[str, Worth], named: Mapping[str, str], about: dict[str, Any]
) -> Diff:
    """Return the diff with a column for each metric; one that is tied counts once."""
    of_tensor: dict[str, Worth] = {}
    taken: set[str] = set()
    paired = np.isin(diff.columns["status"].astype(str), PAIRED)
    for tensor in diff.columns["tensor"][paired].tolist():
        name = named.get(tensor, "")
        if name in worth and name not in taken:
            of_tensor[tensor] = worth[name]
            taken.add(name)
    columns = {
        metric.name: {tensor: float(metric.compute(one)) for tensor, one in of_tensor.items()}
        for metric in resolve(("worth",))
    }
    columns = {name: values for name, values in columns.items() if not _none(values)}
    found = diff.adding(columns, {})
    return Diff(found.columns, {**found.about, "importance": about})


def _none(values: Mapping[str, float]) -> bool:
    return all(math.isnan(value) for value in values.values())


def drawn(found: Importance) -> str:
    """Return the metric that is drawn: shares of the change of loss, of a base its saliency."""
    held = found.diff.columns
    name = next((n for n in ("path_share", "slope_abs", "saliency") if n in held), "saliency")
    return METRICS[name].name
