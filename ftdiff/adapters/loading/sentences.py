"""What is said of how an adapter loads: what is not filled, and what is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ftdiff.adapters.loading.keys import PREFIX, WRAPPERS
from ftdiff.adapters.loading.outcome import Loading, Misfit
from ftdiff.adapters.loading.parts import Sides
from ftdiff.adapters.loading.refusals import NO_TARGETS
from ftdiff.formats.note import Note

#: The code of a note on modules that would not be filled; its data say which, how many and why.
WOULD_NOT_LOAD = "would-not-load"
#: All would be filled, but keys of the file are passed over: its data are the `keys`.
LEAVES_OUT = "load-leaves-out"
#: All would be filled once the model has more `rows` of a vocabulary.
AFTER_RESIZING = "load-resized"
#: Reasons that rest on names alone.
_BY_NAME = frozenset({"absent", "astray", "unknown", "unwanted"})
_FRACTIONS = (2, 4, 8, 16, 32)
_SHOWN = 3


def notes(loading: Loading | None) -> tuple[Note, ...]:
    """Return what is to be said of how PEFT loads an adapter; nothing where it loads all."""
    if loading is None:
        return ()
    if loading.refused or loading.misfits or len(loading.live) < len(loading.states):
        return (_not_loaded(loading),)
    found = []
    if loading.ignored:
        text = (
            f"PEFT passes over {_counted(len(loading.ignored), 'key')} of the file, for which its "
            f"model has no place: {_listed(loading.ignored)}"
        )
        found.append(Note(LEAVES_OUT, text, keys=list(loading.ignored)))
    if loading.grown:
        key, rows = next(iter(loading.grown.items()))
        text = (
            f"{key} has {rows} rows of a vocabulary, more than the base: PEFT loads it once the "
            f"model is resized (resize_token_embeddings({rows}))"
        )
        found.append(Note(AFTER_RESIZING, text, rows=dict(loading.grown)))
    return tuple(found)


def _not_loaded(loading: Loading) -> Note:
    live, of = len(loading.live), len(_counted_once(loading))
    if loading.refused:
        codes = {"refused": f"it refuses the adapter: {loading.refused}"}
    elif loading.misfits:
        code, text = _of_shapes(loading.misfits, len(loading.states))
        codes = {code: f"it refuses shapes (size mismatch): {text}"}
    else:
        codes = _of_states(loading)
    found, expected = _example(loading)
    why = "; ".join(codes.values())
    text = f"PEFT would load {live} of {_counted(of, 'module')}: {why}"
    lost = [loading.names.get(path, path) for path in loading.states if path not in loading.live]
    absent = [loading.names.get(path, path) for path in loading.of("absent")]
    return Note(
        WOULD_NOT_LOAD,
        text,
        loader="PEFT",
        live=live,
        of=of,
        reasons=[*codes],
        why=why,
        found=found,
        expected=expected,
        lost=lost,
        absent=absent,
        ignored=list(loading.ignored),
        by_name=_BY_NAME.issuperset(codes) or loading.refused.startswith(NO_TARGETS),
    )


def _counted_once(loading: Loading) -> Sequence[str]:
    """Return the modules to count: what is absent may be in the file under a name of no target."""
    return loading.promised if loading.of("absent") else [*loading.states]


def _example(loading: Loading) -> tuple[str, str]:
    """Return one key as it is in the file, and as it is looked for."""
    for state in ("astray", "half", "absent", "unwanted"):
        for path in loading.of(state):
            if path in loading.keys:
                return loading.keys[path]
    misfit = next(iter(loading.misfits), None)
    return (misfit.key, misfit.key) if misfit is not None else ("", "")


def _of_states(loading: Loading) -> dict[str, str]:
    """Say why modules are not filled, by what became of them."""
    said: dict[str, str] = {}
    astray, half = loading.of("astray"), loading.of("half")
    absent, unwanted = loading.of("absent"), loading.of("unwanted")
    if astray:
        found, expected = loading.keys[astray[0]]
        said["astray"] = (
            f"it looks for {expected}, and the file has {found}{_cause(found, expected, loading)}"
        )
    if half:
        said["half"] = (
            f"{_counted(len(half), 'module')} {_are(half)} there in part: "
            f"{loading.keys[half[0]][1]} is missing"
        )
    if absent:
        said["absent"] = _of_absent(loading, absent)
    for code, paths in {
        "unknown": [path for path in unwanted if path not in loading.names],
        "unwanted": [path for path in unwanted if path in loading.names],
    }.items():
        if paths:
            said[code] = _of_passed_over(loading, paths)
    return said


def _of_passed_over(loading: Loading, paths: Sequence[str]) -> str:
    """Say what becomes of modules of the file that are no target."""
    key, near = loading.keys[paths[0]]
    count = _counted(len(paths), "module")
    if paths[0] in loading.names:
        return f"adapter_config.json does not target {count} of the file, so PEFT drops them: {key}"
    nearest = f" (nearest: {near})" if near else ""
    return f"the base has no place for {count} of the file: {key}{nearest}"


def _cause(found: str, expected: str, loading: Loading) -> str:
    """Say what put a key astray, where it shows, and that it is measured all the same."""
    words, wanted = found.split("."), expected.split(".")
    around = [word for word in words if word in WRAPPERS and word not in wanted]
    if around:
        why = f"{around[0]}. is what {WRAPPERS[around[0]]} puts around a model; matched without it"
    elif found.count(PREFIX) > 1:
        why = f"{PREFIX} twice: PEFT was put over a PEFT model; matched without it"
    elif PREFIX not in found:
        why = f"without {PREFIX}"
    elif loading.headless:
        why = f"without {loading.headless} it fits the model without its head alone"
    else:
        return ""
    return f" ({why})"


def _of_absent(loading: Loading, absent: Sequence[str]) -> str:
    promised = loading.promised
    gone = _layers(absent)
    others = _layers(path for path in promised if path not in {*absent})
    where = f": {_listed(absent)}"
    if gone and others and not gone & others:
        one = len(gone) == 1
        where = f": layer{'' if one else 's'} {_runs(gone)} {'is' if one else 'are'} missing"
    return (
        f"adapter_config.json targets {_counted(len(promised), 'module')} of the base, and the "
        f"file has {len(promised) - len(absent)}{where}, which PEFT leaves without effect"
    )


def _layers(paths: Iterable[str]) -> set[int]:
    """Return the layers of modules; empty where one is in none."""
    found = [next((w for w in path.split(".") if w.isdecimal()), None) for path in paths]
    return set() if None in found else {int(number) for number in found if number is not None}


def _runs(layers: set[int]) -> str:
    """Write layers as runs: 2 and 3, or 4 to 27 and 30.

    >>> _runs({2, 3}), _runs({4, 5, 6, 30})
    ('2 and 3', '4 to 6 and 30')
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    shown = [
        one
        for run in runs
        for one in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(layer) for layer in run])
    ]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _of_shapes(misfits: Sequence[Misfit], of: int) -> tuple[str, str]:
    """Say what is wrong with shapes, as one thing where it is one."""
    first = misfits[0]
    empty = [misfit for misfit in misfits if 0 in misfit.found]
    if empty:
        have = "is" if len(empty) == 1 else "are"
        return "empty", (
            f"{_counted(len(empty), 'tensor')} {have} empty ({empty[0].key}): shards were not "
            "gathered before they were saved (ZeRO-3)"
        )
    ranks = {_other_rank(misfit) for misfit in misfits}
    if None not in ranks:
        (rank, *more) = sorted(rank for rank in ranks if rank is not None)
        found = f"rank {rank}" if not more else f"ranks {rank} to {more[-1]}"
        return "rank", (
            f"adapter_config.json says r = {first.rank}, and the factors have {found} "
            f"({first.key} is {times(first.found)})"
        )
    parts = {_fraction(misfit) for misfit in misfits}
    if None not in parts and len(parts) == 1:
        (part,) = parts
        modules = len({misfit.key.rpartition(".lora_")[0] for misfit in misfits})
        names = (
            f"all {of} names fit, no shape does" if modules == of else "names fit, shapes do not"
        )
        return "shard", (
            f"{names}: {first.key} is {times(first.found)} where {times(first.wanted)} is wanted, "
            f"and every such side is 1/{part} of the base's; were tensor-parallel shards gathered?"
        )
    return "shape", (
        f"{_counted(len(misfits), 'shape')} {'does' if len(misfits) == 1 else 'do'} not fit: "
        f"{first.key} is {times(first.found)} where {times(first.wanted)} is wanted"
    )


def _differing(misfit: Misfit) -> list[tuple[int, int]]:
    """Return found and wanted sizes of the sides that differ; empty where there is no such pair."""
    wanted = tuple(side for side in misfit.wanted or () if side is not ...)
    if len(wanted) > len(misfit.found):
        return []
    pairs = zip(misfit.found, wanted, strict=False)
    return [(a, b) for a, b in pairs if isinstance(b, int) and a != b]


def _other_rank(misfit: Misfit) -> int | None:
    """Return the rank of factors that have another than the configuration says."""
    sides = _differing(misfit)
    return sides[0][0] if len(sides) == 1 and sides[0][1] == misfit.rank else None


def _fraction(misfit: Misfit) -> int | None:
    sides = _differing(misfit)
    if len(sides) != 1:
        return None
    found, wanted = sides[0]
    return next((part for part in _FRACTIONS if found * part == wanted), None)


def times(sides: Sides) -> str:
    """Return a shape as it is read.

    >>> times((4, None)), times((16, 4096))
    ('4×?', '16×4096')
    """
    shown = ["…" if side is ... else "?" if side is None else str(side) for side in sides or ()]
    return "×".join(shown) or "scalar"


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def _are(paths: Sequence[str]) -> str:
    return "is" if len(paths) == 1 else "are"


def _listed(names: Sequence[str], most: int = _SHOWN) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
