"""A card's base is replaced where it stands, and nothing else of the front matter is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.errors import BadCall, BadFile
from ftdiff.reports.front_matter import names_base, with_base

#: Front matter, what it says afterwards beside the rest, and what is said of it.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "none": ("license: mit\n", {"base_model": "org/b", "base_model_relation": "adapter"}, ""),
    "another": (
        "base_model: x/y\nlicense: mit\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
    "the same": ("base_model: org/b\n", {"base_model_relation": "adapter"}, ""),
    "a path with a comment": (
        "base_model: ../base # local\ntags:\n- base_model:adapter:../base\n- lora\n",
        {
            "base_model": "org/b",
            "tags": ["base_model:adapter:org/b", "lora"],
            "base_model_relation": "adapter",
        },
        "base_model was ../base, and is org/b",
    ),
    "quoted": (
        "'base_model': \"x/y\"\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
    "empty": (
        "base_model:\nlicense: mit\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model was empty, and is org/b",
    ),
    "a list of one": (
        "base_model:\n- x/y # the only one\nlicense: mit\n",
        {"base_model": ["org/b"], "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
    "a list in a line": (
        "base_model: [x/y]\n",
        {"base_model": ["org/b"], "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
    "an empty list": (
        "base_model: []\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model named none, and is org/b",
    ),
    "a list that has it": ("base_model:\n- x/y\n- org/b\n", {"base_model_relation": "adapter"}, ""),
    "a relation": (
        "base_model_relation: merge\nbase_model: x/y\n",
        {"base_model": "org/b"},
        "base_model was x/y, and is org/b",
    ),
    "braces": (
        "{license: mit, tags: [a, b]}\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "",
    ),
    "braces over lines": (
        "{\n  license: mit, # kept\n  base_model: x/y,\n}\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
    "indented": (
        "  license: mit\n  base_model: x/y\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
    "only a comment": (
        "# nothing yet\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "",
    ),
    "a text in which it stands": (
        "description: |\n  base_model: x/y\n  more\nother: {base_model: z/z}\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "",
    ),
    "anchors": (
        "a: &one [1, 2]\nb: *one\nbase_model: x/y\n",
        {"base_model": "org/b", "base_model_relation": "adapter"},
        "base_model was x/y, and is org/b",
    ),
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", CASES)
def test_the_base_is_named_and_the_rest_stays(name: str, end: str, tmp_path: Path) -> None:
    front, wanted, said = CASES[name]
    text = f"---\n{front}---\n\n# A card\n---\nnot: front matter\n---\n".replace("\n", end)
    edited = with_base(text, "org/b", "lora")
    assert edited.said == said
    before = yaml.safe_load(front) or {}
    (tmp_path / "README.md").write_bytes(edited.text.encode())
    data = ModelCard.load(tmp_path / "README.md").data
    inside = edited.text.split("---")[1]
    assert yaml.safe_load(inside) == {**before, **wanted}
    assert data.base_model == {**before, **wanted}["base_model"]
    assert names_base(edited.text)
    again = with_base(edited.text, "org/b", "lora")
    assert (again.text, again.said) == (edited.text, "")
    assert (end == "\r\n") == ("\n" not in edited.text.replace("\r\n", ""))
    assert edited.text.endswith(text[text.index("# A card") :])
    for line in text.splitlines():  # comments, styles, order: every line without a base stays
        touched = "x/y" in line or "../base" in line or line.strip() in ("}", "base_model: []")
        touched |= line.startswith("{") or line == "base_model:"
        assert touched or line in edited.text.splitlines(), line
    for comment in ("# local", "# the only one", "# kept", "# nothing yet"):
        assert (comment in text) == (comment in edited.text)


@pytest.mark.parametrize(
    ("front", "error", "said"),
    [
        ("base_model: [x/y, z/z]\n", BadCall, "names 2 bases, x/y, z/z, and org/b is none of them"),
        ("base_model: x/y\nbase_model: z/z\n", BadFile, "base_model stands twice"),
        ("base_model: [x\n", BadFile, "the front matter is no YAML"),
        ("a: b: c\n", BadFile, "the front matter is no YAML"),
        ("- base_model\n", BadFile, "no list of names and values"),
        ("a: &x y/z\nbase_model: *x\n", BadFile, "cannot be edited safely"),
        ("license: mit\n...\n", BadFile, "cannot be edited safely"),
    ],
)
def test_what_cannot_be_decided_is_refused_in_a_line(
    front: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        with_base(f"---\n{front}---\n# A card\n", "org/b", "full", "my/README.md")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("my/README.md: ")


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=5,
        ),
        max_size=4,
    ),
    st.booleans() | st.none(),
    st.sampled_from([None, "x/y", ["x/y"]]),
)
def test_any_front_matter_keeps_what_it_says(
    held: dict[str, Any], flow: bool | None, base: Any
) -> None:
    held = {k: v for k, v in held.items() if k not in ("base_model", "base_model_relation", "tags")}
    told = held if base is None else {**held, "base_model": base}
    front = yaml.safe_dump(told, default_flow_style=flow, sort_keys=False, allow_unicode=True)
    if "\n---" in f"\n{front}" or "\n..." in f"\n{front}":
        return
    edited = with_base(f"---\n{front}---\n", "org/b", "full").text
    again = yaml.safe_load(edited.removeprefix("---\n").removesuffix("---\n"))
    wanted = ["org/b"] if isinstance(base, list) else "org/b"
    assert again == {**held, "base_model": wanted, "base_model_relation": "finetune"}
