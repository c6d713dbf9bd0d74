"""Block and role of a module in a layer by single words, where no family has its name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

# More words than these tell no role: hostile names stay linear.
_DEEPEST = 12
_PART = re.compile(r"[_\d]+")
_NORM = re.compile(
    r"_?(layer|rms|group|batch)?_?(normali[sz]ation|norms?|layrnorm)(_layer|2d)?|(?<![a-z])ln(?![a-z])"
)


@dataclass(frozen=True)
class Siblings:
    """The modules of a list of blocks, lower case, to ask what stands beside one of them."""

    modules: Collection[str]

    @cached_property
    def _children(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        for module in self.modules:
            words = module.split(".")[-_DEEPEST:]
            for n, word in enumerate(words):
                found.setdefault(".".join(words[:n]), set()).add(word)
        return found

    def beside(self, path: Sequence[str]) -> set[str]:
        """Return the words that stand where the last word of a path does."""
        return self._children.get(".".join(path[:-1]), set())


@dataclass(frozen=True)
class SingleWords:
    """The tables of `single_words.toml`."""

    bare: frozenset[str]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    hints: Mapping[str, Sequence[str]]
    alone: Mapping[str, str]
    beside: Mapping[str, Sequence[str]]
    apart: Sequence[str]
    kinds: Mapping[str, Mapping[str, Sequence[str]]]
    second: Mapping[str, str]
    over_time: Sequence[str]
    roles: Mapping[str, Mapping[str, str]]

    def label(
        self, container: str, module: str, siblings: Siblings, *, own: bool = False
    ) -> tuple[str, str]:
        """Return block and role of a module, "" for a role that no word tells.

        Parameters
        ----------
        container
            The list of blocks that it is in: `mid_block.attentions`.
        module
            Its path inside the block.
        siblings
            All modules of that list.
        own
            Whether it is a parameter of its own: a learned query is no projection to queries.
        """
        path = module.lower().split(".")[-_DEEPEST:]
        around = container.lower().rpartition(".")[2]
        last = len(path) - 1
        while last >= 0 and (path[last] in self.bare or path[last].isdecimal()):
            last -= 1
        block = self._block(around, path, last, siblings)
        role = self._role(block, around, path, last, siblings)
        if not role or (own and path[-1] in ("query", "key", "value")):
            return block, ""
        if role == "o" and "to_qkv_mlp_proj" in siblings.beside(path[: last + 1]):
            return "mlp", "o_down"
        return block, self.kind(block, container, module, siblings) + role

    def agree(self, component: str, above: Sequence[str]) -> bool:
        """Whether no word above a name's end tells another block: an attention's `output.dense`."""
        block = component.partition(".")[0]
        if block not in ("attn", "mlp"):
            return True
        words = [word.lower() for word in above]
        told = next((b for b in map(self._of_word, reversed(words)) if b), block)
        return told == block and not any(self._hinted(word, "normalises") for word in words)

    def is_elsewhere(self, around: str, module: str, siblings: Siblings) -> bool:
        """Whether a module is a norm that has no attention to be before or after.

        It is of a list of convolutions (`around` is the innermost list), or has a number and no
        attention beside it.
        """
        path = module.lower().split(".")
        if not self._hinted(path[-1], "norm"):
            return False
        if self._hinted(around.lower().rpartition(".")[2], "conv"):
            return True
        numbered = re.fullmatch(r"norm_?[0-9]", path[-1]) is not None
        return numbered and not any(self._hinted(one, "attn") for one in siblings.beside(path))

    def _block(self, around: str, path: Sequence[str], last: int, siblings: Siblings) -> str:
        """Return the block that the last word tells, or the innermost word that tells one."""
        leaf = path[last] if last >= 0 else self._convolution(around)
        above = [around, *path[: max(last, 0)]]
        end = next((n for n in range(len(path), 0, -1) if not path[n - 1].isdecimal()), 0)
        told = self._beside(leaf, siblings.beside(path[:end]))
        if told == "other" or any(self._hinted(word, "cond") for word in path):
            return told if told == "other" else "cond"
        if self._hinted(leaf, "norm"):
            return "cond" if path[-1] == "linear" else "norm"
        if any(self._hinted(word, "normalises") for word in above[1:]):
            return "cond"
        innermost = next((b for b in map(self._of_word, reversed(above)) if b), "")
        if leaf in self.roles.get(innermost, {}):
            return innermost
        alone = next((self.alone[stem] for stem in self._stems(leaf) if stem in self.alone), "")
        if alone == "cond" or (alone and innermost in ("", "ssm") and self._free(above)):
            return alone
        if block := self._of_word(leaf) or innermost or told:
            return block
        if any(self._hinted(word, "experts") for word in (leaf, *above)):
            return "mlp"
        convolution = any(self._hinted(word, "conv") for word in (*above, *path))
        return "conv" if convolution else "other"

    def _convolution(self, around: str) -> str:
        """Return the name of a list of bare convolutions, which then tells what they are."""
        return around if self._hinted(around, "conv") else ""

    def _beside(self, leaf: str, words: Collection[str]) -> str:
        """Return the block that what stands beside a word tells; of experts, that of their gate."""
        for block, telling in self.beside.items():
            if not set(telling).isdisjoint(words) and (block != "mlp" or leaf == "gate"):
                return block
        return ""

    def _free(self, above: Sequence[str]) -> bool:
        """Whether nothing around a word takes its usual meaning from it."""
        return not any(word in one for one in above for word in self.apart)

    def _of_word(self, word: str) -> str:
        blocks = ("head", "attn", "mlp", "ssm", "embed")
        return next((block for block in blocks if self._hinted(word, block)), "")

    def _hinted(self, word: str, block: str) -> bool:
        parts = _PART.split(word)
        return any(_is_hint(hint, word, parts) for hint in self.hints[block])

    def _role(
        self, block: str, around: str, path: Sequence[str], last: int, siblings: Siblings
    ) -> str:
        leaf = path[last] if last >= 0 else self._convolution(around)
        roles = self.roles.get(block, {})
        if block == "norm":
            return self._of_norm(path, last)
        if block == "mlp" and not (self._free(path[: max(last, 0)]) and _plain(leaf)):
            return ""
        if block == "mlp" and (role := _of_several(path, last, siblings)):
            return role
        end = next((word for word in reversed(path) if not word.isdecimal()), "")
        if end != leaf and end in roles:
            return roles[end]
        stems = self._stems(leaf.removeprefix("conv_") if block == "conv" else leaf)
        if role := next((roles[stem] for stem in stems if stem in roles), ""):
            # the last projection of a whole attention module, unless its own q stands beside it
            own = role == "proj_out" and "q" in siblings.beside(path[: last + 1])
            return "o" if own else role
        if block == "cond":
            return "modulation"
        bare = [word for word in path[last + 1 :] if word in self.bare]
        if block == "attn":
            return "o" if bare and self._hinted(leaf, "attn") else ""
        return _number(leaf, bare) if block == "conv" else ""

    def _of_norm(self, path: Sequence[str], last: int) -> str:
        """Return what the name of a norm says besides that it is one: what it is before or after.

        A norm in one (`norm1.norm`) is that one.
        """
        names = [_NORM.sub("", word).strip("_") for word in path[max(last - 1, 0) : last + 1]]
        said = names[-1] or (names[0] if self._hinted(path[last - 1], "norm") else "")
        return self.roles["norm"].get(said, said)

    def _stems(self, word: str) -> Iterator[str]:
        """Yield a word, and what is left of it without what may stand around it."""
        yield word
        for _ in range(2):
            for suffix in self.suffixes:
                word = word.removesuffix(suffix)
            yield word
            for prefix in self.prefixes:
                word = word.removeprefix(prefix)
            yield word

    def kind(self, block: str, container: str, module: str, siblings: Siblings) -> str:
        """Return how the roles begin of a block of its own kind: "cross_"; mostly ""."""
        path = module.lower().split(".")[-_DEEPEST:]
        for kind, hints in self.kinds.get(block, {}).items():
            if any(hint in word for word in path for hint in hints):
                return f"{kind}_"
        if block == "attn":
            for n, word in enumerate(path):
                if self.second.get(word) in siblings.beside(path[: n + 1]):
                    around = (container.lower(), *path)
                    over_time = any(hint in one for one in around for hint in self.over_time)
                    return "second_" if over_time else "cross_"
        return ""


def _plain(leaf: str) -> bool:
    return "adapter" not in leaf and "lora" not in leaf


def _is_hint(hint: str, word: str, parts: Sequence[str]) -> bool:
    if hint[0] == "=":
        return hint[1:] in parts
    if hint[-1] == "=":
        return any(part.endswith(hint[:-1]) for part in parts)
    return hint in word


def _of_several(path: Sequence[str], last: int, siblings: Siblings) -> str:
    """Return the role of a projection whose number or whose neighbours tell it: w1, linear_2, 0."""
    beside = siblings.beside(path[: last + 1])
    leaf = path[last] if last >= 0 else ""
    if leaf == "gate":
        return "gate" if beside & {"up", "up_proj"} else "router" if "experts" in beside else ""
    if numbered := re.fullmatch(r"(w|linear_?|fc_?)([123])", leaf):
        stem, number = numbered.groups()
        if f"{stem}3" in beside:
            return {"1": "gate", "2": "down", "3": "up"}[number]
        if "out_projection" in beside and number != "3":
            return {"1": "gate", "2": "up"}[number]
        return {"1": "up", "2": "down"}.get(number, "")
    if numbered := re.fullmatch(r"(conv|dense|lin|layer|ffw_layer)_?([12])", leaf):
        return {"1": "up", "2": "down"}[numbered[2]]
    if path[last + 1 : last + 2] and path[last + 1].isdecimal():
        if leaf == "net":
            return {"0": "up", "2": "down"}.get(path[last + 1], "")
        numbers = {word for word in siblings.beside(path[: last + 2]) if word.isdecimal()}
        if len(numbers) == 2 and "0" in numbers:
            return "up" if path[last + 1] == "0" else "down"
    return ""


def _number(leaf: str, bare: Sequence[str]) -> str:
    """Return the role of a convolution: its number, "conv" for one without."""
    if found := re.fullmatch(r"conv[a-z]*_?([0-9])", leaf):
        return found[1]
    return "conv" if any("conv" in word for word in bare) else ""


@cache
def read_single_words() -> SingleWords:
    """Read the tables, once and when first needed."""
    import tomllib

    path = files("ftdiff") / "naming" / "single_words.toml"
    tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    return SingleWords(
        bare=frozenset(tables["bare"]),
        prefixes=tuple(tables["prefixes"]),
        suffixes=tuple(tables["suffixes"]),
        hints=tables["hints"],
        alone=_by_word(tables["alone"]),
        beside=tables["beside"],
        apart=tables["apart"]["words"],
        kinds=tables["kinds"],
        second=tables["second"],
        over_time=tables["over_time"]["words"],
        roles={block: _by_word(table) for block, table in tables["roles"].items()},
    )


def _by_word(table: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
    return {word: meaning for meaning, words in table.items() for word in words}
