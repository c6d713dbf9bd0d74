"""What two folders say otherwise: settings, generation, chat templates, tokenizers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ftdiff.comparison.beside import vocabularies
from ftdiff.comparison.beside.configurations import config_fields, id_fields
from ftdiff.comparison.beside.fields import differing, plain, same
from ftdiff.comparison.beside.kinds import note
from ftdiff.errors import BadFile, one_line
from ftdiff.formats.beside import SideFiles
from ftdiff.formats.note import Note

#: Fields of generation_config.json that say who wrote it.
_WRITER = ("transformers_version", "_from_model_config")
#: What a field of it is where it is missing, so that some versions leave it out.
_DEFAULTS = {
    "do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50, "num_beams": 1,
    "repetition_penalty": 1.0, "max_length": 20, "use_cache": True,
}  # fmt: skip


def differing_files(
    base: SideFiles,
    tuned: SideFiles,
    configs: tuple[Mapping[str, Any], ...],
    *,
    rows: int | None,
    layers: Collection[tuple[int, int]] = (),
) -> list[Note]:
    """Return notes on what differs; nothing where one side lacks everything, or both are one.

    Parameters
    ----------
    base, tuned
        What lies beside the weights.
    configs
        Both models' configurations.
    rows
        How many rows the fine-tune's embedding of tokens has, where that is known.
    layers
        Counts of layers of both sides of which it is said already that they differ.
    """
    if base.folder is not None and base.folder == tuned.folder:
        return []
    try:
        return [
            *_config(*configs, layers=layers),
            *_generation(base, tuned),
            *_templates(base, tuned),
            *_tokenizer(base, tuned, configs, rows),
        ]
    except RecursionError:
        return [note("beside-unreadable", file="a file of settings", why="nested too deeply")]


def _config(
    base: Mapping[str, Any], tuned: Mapping[str, Any], *, layers: Collection[tuple[int, int]]
) -> Iterator[Note]:
    found = config_fields(base, tuned)
    deciding = [
        one
        for one in found.deciding
        if one["field"].rpartition(".")[2] != "num_hidden_layers"
        or (one.get("base"), one.get("tuned")) not in layers
    ]
    kinds = {"config-differs": deciding, "config-dtype": found.dtype}
    for code, fields in {**kinds, "config-fields": found.others}.items():
        if fields:
            yield note(code, fields=[*fields])


def _generation(base: SideFiles, tuned: SideFiles) -> Iterator[Note]:
    sides = [side.settings.get("generation_config.json") for side in (base, tuned)]
    if None in sides:
        return
    held = [{k: v for k, v in (side or {}).items() if _of_generation(k)} for side in sides]
    fields = [
        one
        for one in differing(*held)
        if len(one) == 3 or one.get("base", one.get("tuned")) != _DEFAULTS.get(one["field"], ...)
    ]
    if fields:
        yield note("generation-differs", fields=fields)


def _of_generation(name: str) -> bool:
    return name not in _WRITER and not name.endswith("_token_id")


def _templates(base: SideFiles, tuned: SideFiles) -> Iterator[Note]:
    for name in dict.fromkeys([*base.templates, *tuned.templates]):
        one, other = base.templates.get(name), tuned.templates.get(name)
        called = plain(name)
        if one is None or other is None:
            side, lacking = ("tuned", base) if one is None else ("base", tuned)
            if (
                "tokenizer_config.json" in lacking.settings
            ):  # where there is none, nothing is missing
                yield note("chat-template-one-sided", called=called, side=side)
        elif one != other:
            yield note("chat-template-differs", called=called, **_first_line(one, other))


def _first_line(one: str, other: str) -> dict[str, Any]:
    lines = [[*text.split("\n"), ""] for text in (one, other)]
    pairs = enumerate(zip(*lines, strict=False), 1)
    number, pair = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
    return {"line": number, "base": plain(pair[0]), "tuned": plain(pair[1])}


def _tokenizer(
    base: SideFiles, tuned: SideFiles, configs: tuple[Mapping[str, Any], ...], rows: int | None
) -> Iterator[Note]:
    if base.folder is None or tuned.folder is None:
        return
    data: dict[str, Any] = {}
    try:
        data = vocabularies.tokenizer_data(base.folder, tuned.folder)
    except (BadFile, OSError) as error:
        yield note("beside-unreadable", file="a tokenizer", why=one_line(error, 300))
    lists = [side.settings.get("tokenizer_config.json") is not None for side in (base, tuned)]
    if all(lists) and not any(map(vocabularies.has_json, (base.folder, tuned.folder))):
        data |= vocabularies.added_data(base, tuned)
    cutting = [*vocabularies.cutting_fields(base, tuned)]
    data |= {"fields": cutting} if cutting else {}
    if data:
        yield note("tokenizer-differs", **data)
    special = [*vocabularies.special_fields(base, tuned)]
    told = [_told(side, config) for side, config in zip((base, tuned), configs, strict=True)]
    fields = [*special, *_id_fields(*told)]
    if fields:
        yield note("special-tokens-differ", fields=fields)
    if data or fields:
        yield from _against_each_other(base, tuned, told, rows)


def _told(side: SideFiles, config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    generation = side.settings.get("generation_config.json", {})
    return {"config.json": config, "generation_config.json": generation}


def _id_fields(
    base: Mapping[str, Mapping[str, Any]], tuned: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for file in base:
        if base[file] and tuned[file]:
            for one in differing(dict(id_fields(base[file])), dict(id_fields(tuned[file]))):
                yield {**one, "field": f"{one['field']} ({file})"}


def _against_each_other(
    base: SideFiles, tuned: SideFiles, told: list[dict[str, Mapping[str, Any]]], rows: int | None
) -> Iterator[Note]:
    """Hold the fine-tune's own files against each other: what the base has too is not its doing."""
    assert base.folder is not None and tuned.folder is not None
    mine = vocabularies.read_or_why(tuned.folder)
    if isinstance(mine, str):
        return
    largest = max(mine.tokens, default=-1)
    before = vocabularies.read_or_why(base.folder)
    older = {} if isinstance(before, str) else before.tokens
    if rows is not None and largest >= rows and largest > max(older, default=-1):
        yield note("tokens-without-rows", largest=largest, rows=rows)
    # an adapter's folder has no settings of the model: those of the base hold
    ours = {file: held or told[0][file] for file, held in told[1].items()}
    places = _places(ours, tuned, mine.tokens)
    elsewhere = _places(told[0], base, older)
    for token, ids in places.items():
        if vocabularies.disagreeing(ids) and not same(ids, elsewhere.get(token)):
            yield note(
                "token-ids-disagree", token=token, places={k: plain(v) for k, v in ids.items()}
            )


def _places(
    told: Mapping[str, Mapping[str, Any]], side: SideFiles, tokens: Mapping[int, str]
) -> dict[str, dict[str, Any]]:
    """Return, by special token, its ids in the settings and in the tokenizer."""
    by_text = {token: number for number, token in tokens.items()}
    found = vocabularies.identifiers(told)
    for name, text in vocabularies.special(side).items():
        if isinstance(text, str) and text in by_text and name in found:
            found[name]["the tokenizer"] = by_text[text]
    return found
