"""Run a base and its fine-tune on the same texts, and say how far their states lie apart."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.adapters import open_base, open_tuned
from ftdiff.analyses import texts as reading
from ftdiff.analyses.drift import outputs, tally, tensors
from ftdiff.analyses.drift.outputs import Outputs
from ftdiff.analyses.drift.result import Drift
from ftdiff.analyses.drift.tally import Ground, Key, Tally
from ftdiff.analyses.drift.token_bins import bins
from ftdiff.analyses.finding import counted
from ftdiff.analyses.live_model import activations, batches, changes, mounting, opening
from ftdiff.analyses.live_model.activations import Site
from ftdiff.analyses.live_model.batches import Batch
from ftdiff.analyses.live_model.changes import Changes
from ftdiff.analyses.live_model.opening import Live
from ftdiff.comparison.plan import pair
from ftdiff.comparison.progress import Progress, Report, Say, announce, phase
from ftdiff.comparison.provenance import made_of
from ftdiff.errors import BadCall
from ftdiff.registry import Registry
from ftdiff.tensors import Array

#: Bytes of states that are held while the model is set to the fine-tune and back.
_HELD = 1 << 30
#: What the base is held against for its floor, by the dtype of the forward pass.
_WIDER = {"float32": "float64", "bfloat16": "float32", "float16": "float32", "float64": "float64"}


@dataclass(frozen=True)
class Settings:
    """How drift is measured; see `drift`."""

    max_texts: int = 64
    max_tokens: int = 256
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = batches.BATCH


def drift(
    base: str | Path,
    tuned: str | Path,
    *,
    text: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    **options: Any,
) -> Drift:
    """Say where the states and predictions of a fine-tune lie apart from its base's on a text.

    Parameters
    ----------
    base
        A model that transformers opens, from local files.
    tuned
        A checkpoint or an adapter of it.
    text
        A file of texts: see `ftdiff.analyses.texts.read`.
    settings
        A `Settings`, or its fields as keywords: `max_texts`, `max_tokens`, `seed` (of draws),
        `device`, `dtype` and `batch` (texts at a time).
    progress
        Called with how many texts have run, of how many.
    say
        Called with a sentence: how long it will take, from one measured batch, and when a batch
        does not fit in memory.

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        A file cannot be read, the base cannot be run, or the change cannot be written into it.
    BadCall
        A state or a loss is not finite, a text has tokens of another vocabulary, or not one text
        fits in memory.
    MissingExtra
        Torch or transformers is not installed.
    """
    for name in options:
        Registry("setting", Settings.__dataclass_fields__)[name]
    settings = replace(settings or Settings(), **options)
    if settings.batch < 1:
        raise BadCall("batch is 1 at least")
    live = opening.open_(
        base, device=settings.device, dtype=settings.dtype, heads=("causal", "masked", "bare")
    )
    read = reading.read(
        *(text, live.tokenizer),
        max_texts=settings.max_texts, max_tokens=settings.max_tokens, seed=settings.seed,
    )  # fmt: skip
    _check(live)
    rows = batches.rows(live, read)
    sites, notes = _sites(live)
    opened = open_base(base)
    plan = pair(opened, open_tuned(tuned, opened))
    changed = changes.changes_of(live, plan)
    run = _Run(live, changed, rows, sites, bins(read))
    pace = batches.Pace(settings.batch, say)
    if say is not None:
        announce(say, *_foretold(run, pace))
    measured = pace.fit(lambda size: _measured(run, size, phase(progress, "running both")))
    about = {
        "base": str(base),
        "tuned": str(tuned),
        "kind": live.kind,
        "text": {**reading.record(read), "asked": int(rows.asked.sum())},
        "seed": settings.seed,
        "device": live.device,
        "dtype": live.dtype,
        "floor": f"the base in {live.dtype} against {_WIDER[live.dtype]}",
        "massive": tally.MASSIVE,
        "batch": pace.size,
        "halved": list(pace.halved),
        "libraries": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        "notes": [*live.notes, *changed.notes, *notes],
        **tensors.agreement(measured.sums),
        "unmeasured": sorted({*changed} - {*measured.sums}),
        **made_of(base=[opened], tuned=[plan.tuned]),
    }
    return Drift.of_rows(
        tally.rows([site.key for site in sites], measured.ground, measured.drift, measured.floor),
        outputs.rows(rows.asked, measured.outputs, measured.outputs_floor)
        if live.kind != "bare"
        else [],
        tensors.rows(changed, measured.sums),
        about,
    )


def _check(live: Live) -> None:
    """Refuse a base that holds what is no number, before anything is run.

    Raises
    ------
    BadCall
        A parameter is not finite.
    """
    for name, held in live.parameters().items():
        if not held.isfinite().all():
            raise BadCall(f"{live.source}: {name} is not finite: it has no loss")


def _sites(live: Live) -> tuple[list[Site], list[str]]:
    """Return the layers, and their attention and MLP as far as the model has them."""
    found, notes = activations.sites(live, ("block",)), []
    for name in ("attn", "mlp"):
        try:
            found += activations.sites(live, (name,))
        except BadCall as error:
            notes.append(str(error))
    return found, notes


@dataclass(frozen=True, eq=False)
class _Run:
    """What is run, on what, and where it is watched."""

    live: Live
    changed: Changes
    rows: batches.Rows
    sites: Sequence[Site]
    bins: Mapping[str, Array]


@dataclass(eq=False)
class _Measured:
    ground: Ground
    drift: Tally
    floor: Tally
    outputs: Outputs
    outputs_floor: Outputs
    sums: dict[str, Array] = field(default_factory=dict)


def _measured(run: _Run, size: int, done: Report) -> _Measured:
    """Run everything: the base for its sizes, then base, wider base and fine-tune in turns."""
    sizes = _sizes(run, size)
    ground = Ground(run.bins, tally.massive(sizes, run.rows.mask))
    texts = len(run.rows)
    found = _Measured(ground, Tally(ground), Tally(ground), Outputs(texts), Outputs(texts))

    def summed(name: str, *squares: Any) -> None:
        whole = found.sums.setdefault(name, np.zeros((3, texts)))
        whole[:, at] = squares

    for chunk in _chunks(run, size):
        before = [activations.states(run.live, batch, run.sites) for batch in chunk]
        with activations.raised(run.live, _WIDER[run.live.dtype]):
            for batch, held in zip(chunk, before, strict=True):
                wider = activations.states(run.live, batch, run.sites)
                found.floor.add(batch, wider, held)
                found.outputs_floor.add(batch, wider, held)
        with mounting.at(run.changed):
            for batch, held in zip(chunk, before, strict=True):
                after = activations.states(run.live, batch, run.sites)
                found.drift.add(batch, held, after)
                found.outputs.add(batch, held, after)
        for batch in chunk:
            at = batch.at
            activations.products(run.live, run.changed, batch, summed)
            done(at.stop, texts)
    return found


def _sizes(run: _Run, size: int) -> dict[Key, Array]:
    """Return the size of every token's state in the base."""
    found: dict[Key, Array] = {}
    for batch in batches.batches(run.live, run.rows, size):
        for key, state in activations.states(run.live, batch, run.sites).hidden.items():
            whole = found.setdefault(key, np.zeros(run.rows.mask.shape))
            norms = state.double().norm(dim=-1).cpu().numpy()
            whole[batch.at, : norms.shape[1]] = norms
    return found


def _chunks(run: _Run, size: int) -> Iterator[list[Batch]]:
    """Yield batches, as many at a time as may be held with their states."""
    chunk: list[Batch] = []
    held = 0
    each = _bytes_a_token(run)
    for batch in batches.batches(run.live, run.rows, size):
        needed = batch.mask.numel() * each
        if chunk and held + needed > _HELD:
            yield chunk
            chunk, held = [], 0
        chunk.append(batch)
        held += needed
    if chunk:
        yield chunk


def _bytes_a_token(run: _Run) -> int:
    config = batches.text_config(run.live)
    width = int(getattr(config, "hidden_size", 0) or 0) * len(run.sites)
    return 4 * (width + int(getattr(config, "vocab_size", 0) or 0))


def _foretold(run: _Run, pace: batches.Pace) -> tuple[str, float]:
    """Run one batch twice, and tell from the second how long all of it will take."""
    first = next(batches.batches(run.live, run.rows, pace.size))
    pace.fit(lambda size: activations.states(run.live, first, run.sites))
    start = time.perf_counter()
    activations.states(run.live, first, run.sites)
    passes = 6  # the base thrice, in a wider dtype at twice the price, the fine-tune
    left = (time.perf_counter() - start) * passes * len(run.rows) / first.at.stop
    texts = counted(len(run.rows), "text")
    tokens = counted(int(run.rows.mask.sum()), "token")
    return f"{texts} of {tokens}, {passes} passes", left
