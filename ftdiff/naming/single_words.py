"""Block and role of a module in a layer by single words, where no family has its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ftdiff.naming.module_paths import DEEPEST, Path, Siblings

_NORM = re.compile(
    r"_?(layer|rms|group|batch)?_?(normali[sz]ation|norms?|layrnorm)(_layer|2d)?|(?<![a-z])ln(?![a-z])"
)


@dataclass(frozen=True)
class SingleWords:
    """The tables of `single_words.toml`."""

    bare: frozenset[str]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    hints: Mapping[str, re.Pattern[str]]
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
        words = module.lower().split(".")[-DEEPEST:]
        if own and len(words) > 1 and self._normalises(words[-2]):
            words.pop()  # a norm's own parameter is of the norm
        end = len(words)
        while end and (words[end - 1] in self.bare or words[end - 1].isdecimal()):
            end -= 1
        path = Path(container.lower(), words, end, siblings)
        block = self._block(path)
        role = self._role(block, path)
        if not role or (own and words[-1] in ("query", "key", "value")):
            return block, ""
        if role == "o" and "to_qkv_mlp_proj" in path.beside:
            return "mlp", "o_down"
        return block, self.kind(block, container, module, siblings) + role

    def kind(self, block: str, container: str, module: str, siblings: Siblings) -> str:
        """Return how the roles begin of a block of its own kind: "cross_"; mostly ""."""
        words = module.lower().split(".")[-DEEPEST:]
        around = container.lower().rpartition(".")[2]
        named = [*words, *([around] if self._of_word(around) == block else [])]
        for kind, hints in self.kinds.get(block, {}).items():
            if any(hint in word for word in named for hint in hints):
                return f"{kind}_"
        for n, word in enumerate(words if block == "attn" else ()):
            if not siblings.beside(words[: n + 1]).isdisjoint(self._firsts(word)):
                places = (container.lower(), *words)
                over_time = any(hint in one for one in places for hint in self.over_time)
                return "second_" if over_time else "cross_"
        return ""

    def _firsts(self, word: str) -> list[str]:
        """Return what an attention is the second beside: `audio_attn1` of `audio_attn2`."""
        return [
            word.removesuffix(second) + first
            for second, first in self.second.items()
            if word.endswith(second)
        ]

    def agree(self, component: str, above: Sequence[str]) -> bool:
        """Whether no word above a name's end tells another block: an attention's `output.dense`."""
        block = component.partition(".")[0]
        if block not in ("attn", "mlp"):
            return True
        words = [word.lower() for word in above]
        told = next((b for b in map(self._of_word, reversed(words)) if b), block)
        return told == block and not any(map(self._normalises, words))

    def is_elsewhere(self, lists: Sequence[str], module: str, siblings: Siblings) -> bool:
        """Whether a module is a norm that has no attention to be before or after.

        It is of a list of convolutions, or has a number and no attention beside it.
        """
        words = module.lower().split(".")
        if not self._hinted(words[-1], "norm"):
            return False
        if any(self._hinted(path.lower().rpartition(".")[2], "conv") for path in lists):
            return True
        numbered = re.fullmatch(r"norm_?[0-9]", words[-1]) is not None
        return numbered and not any(self._hinted(one, "attn") for one in siblings.beside(words))

    def _block(self, path: Path) -> str:
        """Return the block that the last word tells, or the innermost word that tells one."""
        leaf, above = path.leaf, path.above
        told = self._told_beside(path)
        if told == "other" or any(self._hinted(word, "cond") for word in path.words):
            return told if told == "other" else "cond"
        if self._hinted(leaf, "norm"):
            return "cond" if path.words[-1] == "linear" else "norm"
        if any(map(self._normalises, above[1:])):
            return "cond"
        innermost = next((b for b in map(self._of_word, reversed(above)) if b), "")
        if leaf in self.roles.get(innermost, {}):
            return innermost
        alone = next((self.alone[stem] for stem in self._stems(leaf) if stem in self.alone), "")
        if alone == "cond" or (alone and innermost in ("", "ssm") and self._usual(above)):
            return alone
        if block := self._of_word(leaf) or innermost or told:
            return block
        if any(self._hinted(word, "experts") for word in (leaf, *above)):
            return "mlp"
        convolution = any(self._hinted(word, "conv") for word in (*above, *path.words))
        return "conv" if convolution else "other"

    def _told_beside(self, path: Path) -> str:
        """Return the block that what stands beside a module tells; of experts, their gate's."""
        last = next((n for n, w in enumerate(reversed(path.words)) if not w.isdecimal()), 0)
        beside = path.siblings.beside(path.words[: len(path.words) - last])
        for block, telling in self.beside.items():
            if not beside.isdisjoint(telling) and (block != "mlp" or path.leaf == "gate"):
                return block
        return ""

    def _usual(self, words: Sequence[str]) -> bool:
        """Whether none of these takes its usual meaning from what is inside it."""
        return not any(hint in word for word in words for hint in self.apart)

    def _normalises(self, word: str) -> bool:
        """Whether a module is a norm, and not more: `norm_attn_norm` has an attention in it."""
        return self._hinted(word, "normalises") and not self._of_word(word)

    def _of_word(self, word: str) -> str:
        blocks = ("head", "attn", "mlp", "ssm", "embed")
        return next((block for block in blocks if self._hinted(word, block)), "")

    def _hinted(self, word: str, block: str) -> bool:
        return self.hints[block].search(word) is not None

    def _role(self, block: str, path: Path) -> str:
        leaf, roles = path.leaf, self.roles.get(block, {})
        if block == "norm":
            return self._of_norm(path)
        if block == "mlp":
            if not self._usual(path.above[1:]) or "adapter" in leaf or "lora" in leaf:
                return ""
            if role := _of_several(path):
                return role
        last = next((word for word in reversed(path.words) if not word.isdecimal()), "")
        if last != leaf and last in roles:
            return roles[last]
        stems = self._stems(leaf.removeprefix("conv_") if block == "conv" else leaf)
        if role := next((roles[stem] for stem in stems if stem in roles), ""):
            # `proj_out` is that of a whole transformer, unless a q of its own stands beside it
            return "o" if role == "proj_out" and "q" in path.beside else role
        bare = [word for word in path.words[path.end :] if word in self.bare]
        if block == "attn":
            return "o" if bare and self._hinted(leaf, "attn") else ""
        if block == "conv":
            return _number(leaf, bare)
        return "modulation" if block == "cond" else ""

    def _of_norm(self, path: Path) -> str:
        """Return what the name of a norm says besides that it is one: what it is before or after.

        A norm in one (`norm1.norm`) is that one.
        """
        said = _NORM.sub("", path.leaf).strip("_")
        if not said and self._hinted(path.above[-1], "norm"):
            said = _NORM.sub("", path.above[-1]).strip("_")
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


def _of_several(path: Path) -> str:
    """Return the role of a projection whose number or whose neighbours tell it: w1, linear_2, 0."""
    if path.leaf == "gate":
        if not path.beside.isdisjoint(("up", "up_proj")):
            return "gate"
        return "router" if "experts" in path.beside else ""
    if numbered := re.fullmatch(r"(w|linear_?|fc_?)([123])", path.leaf):
        stem, number = numbered.groups()
        if f"{stem}3" in path.beside:
            return {"1": "gate", "2": "down", "3": "up"}[number]
        if "out_projection" in path.beside and number != "3":
            return {"1": "gate", "2": "up"}[number]
        return {"1": "up", "2": "down"}.get(number, "")
    if numbered := re.fullmatch(r"(conv|dense|lin|layer|ffw_layer)_?([12])", path.leaf):
        return {"1": "up", "2": "down"}[numbered[2]]
    if path.leaf == "net":
        return {"0": "up", "2": "down"}.get(path.number, "")
    if path.number:
        beside = path.siblings.beside(path.words[: path.end + 1])
        numbers = {word for word in beside if word.isdecimal()}
        if len(numbers) == 2 and "0" in numbers:
            return "up" if path.number == "0" else "down"
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
        hints={
            block: re.compile("|".join(map(_hint, hints)))
            for block, hints in tables["hints"].items()
        },
        alone=_by_word(tables["alone"]),
        beside=tables["beside"],
        apart=tables["apart"]["words"],
        kinds=tables["kinds"],
        second=tables["second"],
        over_time=tables["over_time"]["words"],
        roles={block: _by_word(table) for block, table in tables["roles"].items()},
    )


def _hint(hint: str) -> str:
    """Return the pattern of a hint."""
    word = re.escape(hint.strip("="))
    before = r"(?<![^_\d])" if hint[0] == "=" else ""
    return before + word + (r"(?![^_\d])" if "=" in hint else "")


def _by_word(table: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
    return {word: meaning for meaning, words in table.items() for word in words}
