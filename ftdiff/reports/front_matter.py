"""A card's front matter: YAML, read by a library to decide what to write; the rest stays as it is.

What is written is spliced into the text at the places that the library names, so that comments,
styles and line ends survive; and it is read again before it is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]

from ftdiff.errors import BadCall, BadFile, one_line

# As the Hub reads it: the first line is ---, and the next such line ends it.
_FRONT = re.compile(r"\A(\ufeff?\s*---[ \t]*\r?\n)(.*?)(^---[ \t]*\r?$)", re.DOTALL | re.MULTILINE)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_BASE, _RELATION = "base_model", "base_model_relation"


@dataclass(frozen=True)
class Edited:
    """A card with its base named.

    Attributes
    ----------
    text
        The whole card.
    said
        What of its front matter is another than it was, in a line; "" where nothing was replaced.
    """

    text: str
    said: str = ""


@dataclass(frozen=True)
class _Splice:
    """What stands between two places of a text instead."""

    start: int
    end: int
    text: str


def names_base(text: str) -> bool:
    """Say whether a card's front matter names a base model; one that is no YAML does not."""
    front = _FRONT.match(text)
    try:
        base = _value(_mapping(front[2], ""), _BASE) if front is not None else None
        return base is not None and bool(base.value)
    except BadFile:
        return False


def with_base(text: str, base_model: str, kind: str, name: str = "card") -> Edited:
    """Name the base in a card's front matter, instead of what is there, and add the relation.

    Of a list of one base, that one is replaced; a list that holds it stays. Tags that PEFT made of
    the old name follow. A relation that is there stays.

    Parameters
    ----------
    text
        The card.
    base_model
        The base's name on the Hub.
    kind
        "full", or the adapter's type.
    name
        What the card is called in an error.

    Raises
    ------
    BadCall
        `base_model` is no name on the Hub, or the card names several bases, all of them others.
    BadFile
        The front matter is no YAML, or is written so that it cannot be edited safely.
    """
    if not _HUB_ID.fullmatch(base_model):
        raise BadCall(f"base_model={base_model!r}: a name on the Hub is ORGANISATION/MODEL")
    relation = "finetune" if kind == "full" else "adapter"
    end = "\r\n" if "\r\n" in text else "\n"
    front = _FRONT.match(text)
    if front is None:
        mark, rest = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
        lines = [f"{_BASE}: {_written(base_model)}", f"{_RELATION}: {relation}"]
        return Edited(mark + end.join(["---", *lines, "---", "", ""]) + rest)
    inside, node = front[2], _mapping(front[2], name)
    splices, said = _replaced(node, base_model, name)
    missing = {
        key: value
        for key, value in ((_BASE, _written(base_model)), (_RELATION, relation))
        if _value(node, key) is None
    }
    if missing:
        splices.append(_added(inside, node, missing, end))
    for splice in sorted(splices, key=lambda one: -one.start):
        inside = inside[: splice.start] + splice.text + inside[splice.end :]
    _check(inside, node, base_model, relation, name)
    return Edited(front[1] + inside + text[front.start(3) :], said)


def _written(base_model: str) -> str:
    """Write a name so that YAML reads it as text: `123` and `null` are none."""
    return base_model if "/" in base_model else json.dumps(base_model)


def _mapping(inside: str, name: str) -> yaml.MappingNode | None:
    """Return the front matter's node, None of an empty one.

    Raises
    ------
    BadFile
        It is no YAML, no mapping, or names its base twice.
    """
    try:
        node = yaml.compose(inside, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        told = f"{one_line(error.problem, 200)}, line {line}"
        raise BadFile(f"{name}: the front matter is no YAML ({told})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadFile(f"{name}: the front matter is no YAML ({one_line(error, 200)})") from error
    if node is None:
        return None
    if not isinstance(node, yaml.MappingNode):
        raise BadFile(f"{name}: the front matter is no list of names and values")
    for key in (_BASE, _RELATION):
        if sum(one.value == key for one, _ in node.value) > 1:
            raise BadFile(f"{name}: {key} stands twice in the front matter")
    return node


def _value(node: yaml.MappingNode | None, key: str) -> yaml.Node | None:
    """Return the value of a key that has one."""
    for one, value in node.value if node is not None else ():
        if one.value == key:
            found: yaml.Node = value
            return found
    return None


def _replaced(
    node: yaml.MappingNode | None, base_model: str, name: str
) -> tuple[list[_Splice], str]:
    """Return what replaces the bases that are named, and a line that says so.

    Raises
    ------
    BadCall
        Several are, all of them others.
    """
    value = _value(node, _BASE)
    if value is None:
        return [], ""
    held = value.value if isinstance(value, yaml.SequenceNode) else [value]
    names = [str(one.value) for one in held]
    if base_model in names:
        return [], ""
    if len(held) > 1:
        told = ", ".join(names)
        raise BadCall(
            f"{name}: the card names {len(held)} bases, {one_line(told, 200)}, and {base_model} is "
            "none of them; which it is instead of, only you know: edit base_model by hand"
        )
    if not held:  # an empty list
        splices = [_Splice(value.start_mark.index, value.end_mark.index, _written(base_model))]
        return splices, f"base_model named none, and is {base_model}"
    (old,) = held
    splices = [_instead(old, _written(base_model))]
    if old.value:
        splices += _tags(node, str(old.value), base_model)
    was = f"was {old.value}" if old.value else "was empty"
    return splices, f"base_model {was}, and is {base_model}"


def _instead(node: yaml.Node, text: str) -> _Splice:
    """Replace a node; one that is empty stands right behind its colon."""
    start, end = node.start_mark.index, node.end_mark.index
    return _Splice(start, end, text if end > start else f" {text}")


def _tags(node: yaml.MappingNode | None, old: str, new: str) -> Iterator[_Splice]:
    """Replace the old base in tags such as `base_model:adapter:OLD`."""
    tags = _value(node, "tags")
    for one in tags.value if isinstance(tags, yaml.SequenceNode) else ():
        if isinstance(one, yaml.ScalarNode) and re.fullmatch(
            rf"base_model:(\w+:)?{re.escape(old)}", one.value
        ):
            yield _instead(one, one.value.removesuffix(old) + new)


def _added(
    inside: str, node: yaml.MappingNode | None, missing: dict[str, str], end: str
) -> _Splice:
    """Add keys at the end of a mapping, in its own style."""
    if node is not None and node.flow_style:
        close = node.end_mark.index - 1
        before = inside[node.start_mark.index + 1 : close].rstrip()
        comma = ", " if before and not before.endswith(",") else " " if before else ""
        pairs = ", ".join(f"{key}: {value}" for key, value in missing.items())
        return _Splice(close, close, comma + pairs)
    indent = " " * node.value[0][0].start_mark.column if node is not None and node.value else ""
    lines = "".join(f"{indent}{key}: {value}{end}" for key, value in missing.items())
    return _Splice(len(inside), len(inside), lines)


def _check(
    inside: str, node: yaml.MappingNode | None, base_model: str, relation: str, name: str
) -> None:
    """Read what was written again: the base and the relation are there, all else is as it was.

    Raises
    ------
    BadFile
        It is not so.
    """
    unsafe = BadFile(f"{name}: the front matter cannot be edited safely; add base_model by hand")
    try:
        again = _mapping(inside, name)
    except BadFile as error:
        raise unsafe from error
    ours = (_BASE, _RELATION, "tags")
    base, held = _value(again, _BASE), _value(again, _RELATION)
    named = [base] if isinstance(base, yaml.ScalarNode) else base.value if base else []
    was = _value(node, _RELATION)
    kept = _tree(node, ours) == _tree(again, ours)
    kept &= held is not None and held.value == (relation if was is None else was.value)
    if not kept or base_model not in [one.value for one in named]:
        raise unsafe


def _tree(node: yaml.MappingNode | None, without: tuple[str, ...]) -> list[Any]:
    """Return what a mapping holds as plain values, without some keys."""
    seen: dict[int, int] = {}

    def plain(one: Any) -> Any:
        if id(one) in seen:  # an alias
            return ("*", seen[id(one)])
        seen[id(one)] = len(seen)
        if isinstance(one, yaml.MappingNode):
            return [(plain(key), plain(value)) for key, value in one.value]
        if isinstance(one, yaml.SequenceNode):
            return [plain(item) for item in one.value]
        return (one.tag, one.value)

    pairs = node.value if node is not None else ()
    return [(plain(key), plain(value)) for key, value in pairs if key.value not in without]
