"""The kinds of what is said of files beside the weights: a code, and the sentence of its data.

A rule of an audit makes its sentence anew from the data; a diff that was saved has no notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ftdiff.comparison.beside.fields import said
from ftdiff.formats.note import Note

#: What a code's data says.
Data = Mapping[str, Any]
_MOST = 4
_WHOSE = {"base": "the base", "tuned": "the fine-tune", "": "the folder"}


def note(code: str, **data: Any) -> Note:
    """Make the note of a kind."""
    kind = {"code": code}
    return Note(kind["code"], sentence({**kind, **data}), **data)


def sentence(record: Data) -> str:
    """Say in words what a record of a kind holds.

    >>> sentence({"code": "pickle-beside", "files": ["optimizer.pt"]})
    '1 pickle lies beside the weights (optimizer.pt): unpickling can run code, it was not opened'
    """
    return SENTENCES[str(record["code"])](record)


def listed(names: list[str], most: int = _MOST) -> str:
    """Name the first few."""
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _config(data: Data) -> str:
    count = len(data["fields"])
    which = "1 field that decides" if count == 1 else f"{count} fields that decide"
    return f"config.json differs in {which} what the same weights compute: {said(data['fields'])}"


def _fields_of(what: str) -> Callable[[Data], str]:
    return lambda data: f"{what}: {said(data['fields'])}"


def _tokenizer(data: Data) -> str:
    parts = [_vocabulary(data)] if "tokens" in data else []
    if "extra" in data:
        sizes = data["extra"]
        parts.append(
            f"{sizes['base']} → {sizes['tuned']} added tokens ({listed(data['names'], 5)})"
        )
    if "merges" in data:
        sizes = data["merges"]
        apart = [sizes[side] - sizes["shared"] for side in ("base", "tuned")]
        how = f"{apart[0]:,} and {apart[1]:,} of one side only" if any(apart) else "another order"
        parts.append(f"merges {sizes['base']:,} → {sizes['tuned']:,} ({how})")
    parts += [f"other {listed(data['parts'])}"] if "parts" in data else []
    parts += [f"other bytes of {listed(data['files'])}"] if "files" in data else []
    parts += [said(data["fields"])] if "fields" in data else []
    return f"the tokenizers differ: {'; '.join(parts)}"


def _vocabulary(data: Data) -> str:
    sizes = data["tokens"]
    count = f"{sizes['base']:,} → {sizes['tuned']:,} tokens"
    changes = {"added": data["added"], "removed": data["removed"]}
    told = [f"{number:,} {word}" for word, number in changes.items() if number]
    told += [f"{data['moved']:,} under another id"] if data["moved"] else []
    named = f": {listed(data['names'], 5)}" if data["names"] else ""
    return f"{count} ({', '.join(told)}{named})"


def _rows(data: Data) -> str:
    return (
        f"the fine-tune's tokenizer has ids up to {data['largest']:,}, the embedding "
        f"{data['rows']:,} rows: tokens from {data['rows']:,} on have none"
    )


def _ids(data: Data) -> str:
    told = ", ".join(f"{value} in {place}" for place, value in data["places"].items())
    return f"{data['token']} has no id that all files agree on: {told}"


def _template(data: Data) -> str:
    return (
        f"the chat templates differ{_named(data)}, first in line {data['line']}: "
        f"{data['base']!r} → {data['tuned']!r}"
    )


def _one_template(data: Data) -> str:
    other = _WHOSE["base" if data["side"] == "tuned" else "tuned"]
    return f"{_WHOSE[data['side']]} has a chat template{_named(data)}, {other} has none"


def _named(data: Data) -> str:
    return f" called {data['called']}" if data.get("called", "default") != "default" else ""


def _twice(data: Data) -> str:
    whose = _WHOSE[data.get("side", "")]
    return (
        f"two files of {whose} hold different chat templates: chat_template.jinja is the one used"
    )


def _code(data: Data) -> str:
    files, named = [*data["files"]], [*data["auto_map"]]
    parts = []
    if files:
        lie = "1 file of code lies" if len(files) == 1 else f"{len(files)} files of code lie"
        parts.append(f"{lie} beside the weights ({listed(files)})")
    if named:
        parts.append(f"auto_map names {listed(named)}")
    end = "it would run with trust_remote_code" if named else "nothing here names it"
    return f"{'; '.join(parts)}: {end}; it was not run"


def _same_code(data: Data) -> str:
    return f"{_code(data)}, and is the base's"


def _pickles(data: Data) -> str:
    files = [*data["files"]]
    lie, be = (
        ("1 pickle lies", "it was not")
        if len(files) == 1
        else (f"{len(files)} pickles lie", "none was")
    )
    return f"{lie} beside the weights ({listed(files)}): unpickling can run code, {be} opened"


def _mapping(data: Data) -> str:
    return (
        f"adapter_config.json names the class {data['class']} of {data['library']}: AutoPeftModel "
        "imports that module"
    )


def _revision(data: Data) -> str:
    return f"the adapter names revision {data['named']} of its base, this is {data['given']}"


def _unread(data: Data) -> str:
    return f"{data['file']} of {_WHOSE[data.get('side', '')]} could not be read: {data['why']}"


#: By code, what says its data.
SENTENCES: Mapping[str, Callable[[Data], str]] = {
    "config-differs": _config,
    "config-fields": _fields_of(
        "config.json differs, in nothing that decides what weights compute"
    ),
    "config-dtype": _fields_of("config.json names another dtype"),
    "generation-differs": _fields_of("generation_config.json differs"),
    "tokenizer-differs": _tokenizer,
    "tokens-without-rows": _rows,
    "special-tokens-differ": _fields_of("special tokens differ"),
    "token-ids-disagree": _ids,
    "chat-template-differs": _template,
    "chat-template-one-sided": _one_template,
    "chat-template-twice": _twice,
    "code-beside": _code,
    "code-as-base": _same_code,
    "pickle-beside": _pickles,
    "auto-mapping": _mapping,
    "base-revision": _revision,
    "beside-unreadable": _unread,
}
