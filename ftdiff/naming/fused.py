"""What is stored as one tensor in one file and as several in another: the table of `fused.toml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ftdiff.naming.translation import translations

#: One part after the other, and what no table knows.
BLOCKS, UNKNOWN = "blocks", "unknown"


@dataclass(frozen=True)
class Split:
    """The parts of a fused tensor.

    Attributes
    ----------
    parts
        Their names, in the order of the rows.
    layout
        How the rows lie: "blocks", or one of the table's [layouts]; "unknown".
    """

    parts: tuple[str, ...]
    layout: str = BLOCKS


def splits(name: str, model_type: str = "") -> Iterator[Split]:
    """Yield the names that the parts of a tensor may have, if it may have parts.

    Parameters
    ----------
    name
        A tensor of any file.
    model_type
        That file's, where it is known.

    Examples
    --------
    >>> next(splits("model.layers.0.mlp.gate_up_proj.weight")).parts[1]
    'model.layers.0.mlp.up_proj.weight'
    >>> next(splits("model.layers.0.mlp.down_proj.weight"), None) is None
    True
    """
    path, module, param = _cut(name)
    table = _table()
    for row in table["modules"]:
        if module not in row["fused"]:
            continue
        layout = row["layout"]
        if len(row["parts"][0]) > 2:
            layout = table["layouts"].get(model_type, layout)
        for parent in _parents(path, table["parents"]["alike"]):
            for words in row["parts"]:
                yield Split(tuple(f"{parent}{word}.{param}" for word in words), layout)
    for found in translations(name):
        if len(found.names) > 1:
            yield Split(found.names)


def spellings(name: str) -> Iterator[str]:
    """Yield a name, and what it or a part of it is called elsewhere.

    >>> "layers.0.attn.to_q.weight" in spellings("layers.0.attn.to_qkv.weight")
    True
    """
    yield name
    for split in splits(name):
        yield from split.parts
    for one in translations(name):
        yield from one.names


def fused_name(split: Split, parts: Sequence[str], other: str) -> str:
    """Return what a tensor of these parts is called, spelled as they are.

    Parameters
    ----------
    split
        How they are laid out. Only those that lie one after the other have a name by their own
        words: of another layout it is the other file's.
    parts
        Their names, with a common path.
    other
        What another file calls the fused tensor.

    Examples
    --------
    >>> parts = tuple(f"blocks.0.attn.to_{x}.weight" for x in "qkv")
    >>> fused_name(Split(parts), parts, "x.0.attn_qkv.weight")
    'blocks.0.attn.to_qkv.weight'
    """
    cuts = [_cut(name) for name in parts]
    _, module, param = _cut(other)
    if split.layout == BLOCKS and len({path for path, _, _ in cuts}) == 1:
        module = _called().get(tuple(word for _, word, _ in cuts), module)
    path = cuts[0][0].split(".")
    for parent, _, _ in cuts:
        path = [a for a, b in zip(path, parent.split("."), strict=False) if a == b]
    return ".".join([*(word for word in path if word), module, param])


def leaf(name: str) -> str:
    """Return the word of a tensor's module.

    >>> leaf("layers.0.attn.in_proj_weight"), leaf("layers.0.attn.q_proj.bias")
    ('in_proj', 'q_proj')
    """
    return _cut(name)[1]


def _cut(name: str) -> tuple[str, str, str]:
    """Cut a name into its path with the last dot, its module and its parameter."""
    rest, _, param = name.rpartition(".")
    for ending in ("_weight", "_bias"):
        if param.endswith(ending):  # PyTorch's `in_proj_weight`
            return f"{rest}." if rest else "", param.removesuffix(ending), ending[1:]
    path, _, module = rest.rpartition(".")
    return f"{path}." if path else "", module, param


def _parents(path: str, alike: Sequence[str]) -> list[str]:
    """Return a path, and the same under the other words for its last one."""
    above, _, last = path.removesuffix(".").rpartition(".")
    start = f"{above}." if above else ""
    others = [f"{start}{word}." for word in alike if word != last] if last in alike else []
    return [path, *others]


@cache
def _table() -> Mapping[str, Any]:
    import tomllib

    return tomllib.loads((files("ftdiff") / "naming" / "fused.toml").read_text("utf-8"))


@cache
def _called() -> Mapping[tuple[str, ...], str]:
    """Return fused words by the words of their parts."""
    return {
        tuple(parts): called
        for row in reversed(_table()["modules"])
        for parts, called in zip(row["parts"], row.get("called", ()), strict=False)
    }
