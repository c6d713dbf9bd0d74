"""What a result was made from: files with their digests, versions, when; and what a diff left out.

Every result's `about` holds `sources`, `versions` and `created`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ftdiff.adapters import account
from ftdiff.adapters.loading.sentences import WOULD_NOT_LOAD
from ftdiff.comparison import model_facts
from ftdiff.comparison.alignment.buffers import BUFFERS
from ftdiff.comparison.alignment.transformers_names import RENAMED
from ftdiff.comparison.as_if_loaded import completed
from ftdiff.comparison.beside import beside_weights
from ftdiff.comparison.plan import Plan
from ftdiff.comparison.preflight import version as version
from ftdiff.comparison.reasons import LAYERS
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadFile
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place, again
from ftdiff.tensors import Source
from ftdiff.tensors.identity import PAGE, pages

_OF_ADAPTER = (
    *("peft_type", "base_model_name_or_path", "r", "lora_alpha", "use_rslora", "init_lora_weights"),
    *("target_modules", "target_parameters", "modules_to_save", "bias", "trainable_token_indices"),
)
#: Bytes that are read at a time of a file that is read whole.
_RUN = 1 << 20


def made_of(
    *, hash: bool = False, **sides: Sequence[Checkpoint | Tuned | None]
) -> dict[str, dict[str, Any] | str]:
    """Return what every result's `about` holds.

    Parameters
    ----------
    hash
        Whether each file is read whole for its digest.
    **sides
        What was opened, by its part in the result: base, tuned, ….

    Keys
    ----
    sources
        By side, a record for each that was opened: `source` (the path, or what was in memory) and
        its `files`, each with `path`, `bytes`, `header_sha256` and `pages_sha256`, a digest of
        64 pages of 4 KiB from end to end of the file: a base and its fine-tune have one size and
        one header. It tells files apart whose weights differ throughout; one in which a few rows
        were changed may have the same. `sha256`, of the whole file, is there where it was asked
        for. What is in memory has no files.
    versions
        Of ftdiff and Python.
    created
        Now, or what SOURCE_DATE_EPOCH says, which makes a result the same at every run.
    """
    return {
        "sources": {
            side: [_source(one, hash=hash) for one in opened if one is not None]
            for side, opened in sides.items()
        },
        "versions": {"ftdiff": version(), "python": platform.python_version()},
        "created": created(),
    }


def about(
    base: Checkpoint | None,
    tuned: Tuned,
    plan: Plan,
    unreadable: Mapping[str, str],
    *,
    hash: bool = False,
) -> dict[str, Any]:
    """Return the record that is saved with a diff; plain values only.

    Keys
    ----
    base, tuned, kind
        Sources, and what the fine-tune is: "full", "lora", ….
    coverage, shares
        The smaller share of the two sides' parameters that was compared; and each side's: of the
        base (where there is one) and of the fine-tune's files. See `Coverage`.
    parts
        How many tensors the fine-tune's files hold, and parameters: given, and of these read,
        unreadable and unmatched, and of a selection left out, which add up to them.
    counts
        Number of tensors by what became of them while pairing; `buffers` are no weights, and in
        no row.
    renamed
        Base name by tuned name, where the spelling differs.
    unmatched, unreadable
        Keys without a recipe, changes without a tensor of the base, and tensors that could not be
        read, each with the reason.
    scalings
        The factor of each adapted tensor and where it came from.
    notes, reasons
        What is odd in the files, in sentences, and as records of a code and its data.
    kinship
        Of a whole checkpoint, what a few rows told before the rest was read: the `verdict`
        ("identical", "family" or "unrelated"), the median `cosine`, and of how many `matrices`.
    adapter, config
        What an adapter's configuration, and each side's model configuration, say that an audit
        holds against the files.
    beside
        What lies beside the weights of each side: settings, code, pickles. What differs or may
        run is among the notes.
    cut
        Of a diff of parts of tensors, what they were cut by: "row", "column", "head" or "token".
        `coverage`, `shares`, `parts` and `counts` are then of the tensors that were cut.
    selection
        Where only some tensors were asked for: what was asked, how many are left, and of how many.
    sources, versions, created
        See `made_of`.
    """
    held, beside = beside_weights(base, tuned, _rows(plan), _layers(plan))
    founded = [note for note in tuned.notes if not (_renamed(plan) and _unfounded(note))]
    became = partial(_fates, plan.tuned or tuned, plan, unreadable)
    mine = [completed(note, plan, unreadable, became) for note in founded]
    notes = [*(base.notes if base is not None else ()), *mine, *plan.notes, *beside]
    return {
        "base": base.source if base is not None else None,
        "tuned": tuned.source,
        "kind": tuned.kind,
        **extent(tuned, plan, unreadable),
        "renamed": dict(plan.renamed),
        "unmatched": dict(plan.unmatched),
        "unreadable": dict(unreadable),
        "scalings": dict(tuned.scalings),
        "notes": list(map(str, notes)),
        "reasons": [note.record() for note in notes if isinstance(note, Note)],
        **({"kinship": dict(plan.kinship)} if plan.kinship is not None else {}),
        "files": {
            "base": [dict(file) for file in (base.files if base is not None else ())],
            "tuned": [dict(file) for file in tuned.files],
        },
        "adapter": _adapter(tuned),
        "config": {
            "base": model_facts.read(base.config if base is not None else {}),
            "tuned": model_facts.read(tuned.config if tuned.kind == "full" else {}),
        },
        "beside": held,
        **made_of(base=[base], tuned=[tuned], hash=hash),
    }


def extent(tuned: Tuned, plan: Plan, unreadable: Mapping[str, str]) -> dict[str, Any]:
    """Return how much of both sides a plan compares: `coverage`, `shares`, `parts`, `counts`."""
    shares = plan.sides.shares(unreadable)
    return {
        "coverage": min(shares.values()),
        "shares": shares,
        "parts": _parts(tuned, plan, unreadable),
        "counts": {
            "measured": len(plan.changes) - len(unreadable),
            "untouched": len(plan.untouched),
            "added": len(plan.added),
            "removed": len(plan.removed),
            "reshaped": len(plan.reshaped),
            "unreadable": len(unreadable),
            "buffers": sum(len(n.data["tensors"]) for n in plan.notes if n.code == BUFFERS),
        },
    }


def _rows(plan: Plan) -> int | None:
    """Return how many rows the fine-tune's only embedding of tokens has; None where not known."""
    found = [
        facts["shape"]
        for facts in plan.tensors.values()
        if facts["component"] == "embed.tokens" and facts["param"] == "weight"
    ]
    return int(found[0][0]) if len(found) == 1 and len(found[0]) == 2 else None


def _layers(plan: Plan) -> list[tuple[int, int]]:
    """Return the counts of layers on both sides, where a note says that they differ."""
    told = [note.data for note in plan.notes if note.code == LAYERS and "tuned" in note.data]
    return [(data["base"], data["tuned"]) for data in told]


def created() -> str:
    """Return the time in UTC, to the second; SOURCE_DATE_EPOCH's where that is set.

    A value of it that is no time counts as not set.
    """
    try:
        now = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        now = datetime.now(UTC)
    return now.isoformat(timespec="seconds")


def _source(opened: Checkpoint | Tuned, *, hash: bool) -> dict[str, Any]:
    place = again(opened.source) if opened.files else None
    home = None if place is None else place.home
    files = [_file(home, file, hash=hash) for file in opened.files]
    return {"source": opened.source, "files": files}


def _file(home: Place | None, file: Mapping[str, Any], *, hash: bool) -> dict[str, Any]:
    """Return what names a file; digests that could not be taken are missing."""
    if home is None:  # it was read, and has gone since
        return {"path": str(file["name"]), **_told(file)}
    path = home / str(file["name"])
    record = {"path": str(path), **_told(file)}
    with suppress(BadFile):
        source = path.source()
        version = getattr(source, "version", None)
        if version is None:
            record["pages_sha256"] = _digest(source, pages(source.size))
            if hash:
                record["sha256"] = _digest(source, range(0, source.size, _RUN), _RUN)
        elif version.startswith("sha256:"):  # the hub has taken it; nothing is fetched for it
            record["sha256"] = version.removeprefix("sha256:")
        elif version:
            record["version"] = version
    return record


def _told(file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: file[name] for name in ("bytes", "header_sha256") if name in file}


def _digest(source: Source, starts: Iterable[int], run: int = PAGE) -> str:
    digest = hashlib.sha256()
    for start in starts:
        with source.lend(start, min(start + run, source.size)) as lent:
            digest.update(lent)
    return digest.hexdigest()


def _parts(tuned: Tuned, plan: Plan, unreadable: Collection[str]) -> dict[str, dict[str, int]]:
    paired = plan.tuned or tuned  # its recipes stand under the base's names
    return account.counts(paired, _fates(paired, plan, unreadable))


def _fates(paired: Tuned, plan: Plan, unreadable: Collection[str]) -> dict[str, account.Fate]:
    measured = {change.address.name for change in plan.changes}
    unfit = [name for name in plan.reshaped if name not in measured]
    return account.fates(paired, plan.unmatched, {*unreadable, *unfit}, plan.left_out)


def _adapter(tuned: Tuned) -> dict[str, Any]:
    return _plain(tuned.config, _OF_ADAPTER) if tuned.kind != "full" else {}


def _plain(config: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Return what is set of these, as values that JSON can hold."""
    given = {name: config[name] for name in wanted if config.get(name) is not None}
    held = {
        name: sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        for name, value in given.items()
        if isinstance(value, (str, int, float, bool, list, dict, set, frozenset))
    }
    # Python's JSON has NaN and Infinity, which are no values of anybody else's: their words are
    plain: dict[str, Any] = json.loads(json.dumps(held, default=str), parse_constant=str)
    return plain


def _renamed(plan: Plan) -> bool:
    """Say whether names met by transformers' renames: the model's are not those of the file."""
    return any(note.code == RENAMED for note in plan.notes)


def _unfounded(note: Note | str) -> bool:
    """Say whether a note rests on the names in the base's file being those of the model."""
    return isinstance(note, Note) and note.code == WOULD_NOT_LOAD and bool(note.data["by_name"])
