"""A text is shown as it is in each language, as others' parsers read it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ftdiff.errors import one_line
from ftdiff.reports import escaping
from ftdiff.reports.escaping import LATEX, MARKDOWN, html, latex, markdown

COMMONMARK = MarkdownIt("commonmark").enable(["table", "strikethrough"])
ODD = (
    *("- x", "+ x", "1. x", "9) y", "===", "---", "# x", "> x", "a|b", "~~x~~", "*x* _y_ `z`"),
    *("[a](b)", "![a](b)", "<b>x</b>", "&lt;", "\\*", "\\", "x\n- y", "$x$", "    code", "-0.5"),
    *("0.17", "a\x1b[2J", "<!-- ftdiff:end -->", "http://x.y/<z>", "x  ", "1.", "-"),
)


class Seen(HTMLParser):
    """The tags and the text of a fragment."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def plain(text: str) -> str:
    return " ".join(one_line(text).split())


def _examples(test):  # type: ignore[no-untyped-def]
    for text in ODD:
        test = example(text)(test)
    return test


@_examples
@given(st.text(min_size=1))
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    if not plain(text):
        return
    cell = Seen(COMMONMARK.render(f"| a |\n| --- |\n| {markdown(text)} |\n"))
    item = Seen(COMMONMARK.render(f"- {markdown(text)}\n"))
    assert {*cell.tags} <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert item.tags == ["ul", "li"]
    assert " ".join(item.text.split()) == plain(text)
    assert " ".join(cell.text.split()) == f"a {plain(text)}"


@_examples
@given(st.text(min_size=1))
def test_html_shows_a_text_as_it_is(text: str) -> None:
    seen = Seen(f"<p>{html(text)}</p>")
    assert (seen.tags, seen.text) == (["p"], one_line(text))
    assert Seen(f'<p title="{html(text)}">').tags == ["p"]


@_examples
@given(st.text(min_size=1))
def test_latex_leaves_no_command_of_a_text(text: str) -> None:
    written = latex(text)
    known = r"\\\(\^2\\\)|\\\(_1\\\)|\\(textbackslash|textasciitilde|textasciicircum"
    known += r"|textasciigrave|ldots|Vert|Delta|alpha|sigma|Sigma|theta|times|surd"
    known += r"|to|cdot)\b|\\texttt\{U\+[0-9A-F]+\}|\\[()&%$#_{}]"
    left = re.sub(known, "", written)
    assert not re.search(r"[\\&%$#~^`]", left)
    assert all(letter.isascii() or "À" <= letter <= "ÿ" for letter in left)


@pytest.mark.parametrize(("templates", "marked"), [(MARKDOWN, "{{ x }}"), (LATEX, "<< x >>")])
def test_every_value_of_a_template_is_escaped(templates: object, marked: str) -> None:
    escaper = markdown if templates is MARKDOWN else latex
    assert templates.from_string(marked).render(x="a_*b*") == escaper("a_*b*")  # type: ignore[attr-defined]


def test_there_is_one_escaper_of_each_language() -> None:
    from pathlib import Path

    package = Path(escaping.__file__).parents[1]
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert "html.escape" not in text and "\nimport html\n" not in text, path
        if path.name != "escaping.py":
            assert "textbackslash" not in text, path
