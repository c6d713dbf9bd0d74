"""How a text is shown as it is in Markdown, HTML and LaTeX: names come from files.

Each language has one escaper, and templates in which every value passes through it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ftdiff.errors import one_line

# What Markdown, as GitHub and the Hub read it, takes for more than a letter: anywhere, and at the
# beginning of a line, where it would open a list, a heading or a rule.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
_OPENING = re.compile(r"^(?:([-+=])(?=[\s=-]|$)|(\d{1,9})([.)])(?=\s|$))")

_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    **{letter: rf"\({letter}\)" for letter in "<>|"},  # other signs in TeX's old fonts
    **{letter: f"{{{letter}}}" for letter in "[*"},  # after a line's end these would be its options
    "‖": r"\(\Vert\)",
    "Δ": r"\(\Delta\)",
    "α": r"\(\alpha\)",
    "σ": r"\(\sigma\)",
    "Σ": r"\(\Sigma\)",
    "θ": r"\(\theta\)",
    "₁": r"\(_1\)",
    "²": r"\(^2\)",
    "−": r"\(-\)",
    "×": r"\(\times\)",
    "√": r"\(\surd\)",
    "→": r"\(\to\)",
    "–": "--",
    "…": r"\ldots{}",
    "·": r"\(\cdot\)",
}


def html(text: Any) -> str:
    """Escape what HTML would read as more than text.

    >>> html("<b>\\n")
    '&lt;b&gt;\\\\n'
    """
    return str(escape(one_line(text)))


def markdown(text: Any) -> str:
    """Escape what Markdown, or HTML in it, would read as more than text.

    >>> markdown("a|b <script> [x](y) *z*")
    'a\\\\|b &lt;script&gt; \\\\[x\\\\](y) \\\\*z\\\\*'
    >>> markdown("- 1. x"), markdown("12. x")
    ('\\\\- 1. x', '12\\\\. x')
    """
    plain = _SPECIAL.sub(r"\\\1", one_line(text).lstrip())  # an indented line would be code
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _OPENING.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", plain)


def latex(text: Any) -> str:
    r"""Escape what TeX would read as more than text, and name letters that no font may have.

    >>> latex("[50%] a_b <é> 日")
    '{[}50\\%] a\\_b \\(<\\)é\\(>\\) \\texttt{U+65E5}'
    """
    return "".join(_LATEX.get(letter) or _letter(letter) for letter in one_line(text))


def _letter(letter: str) -> str:
    known = letter.isascii() or "À" <= letter <= "ÿ"
    return letter if known else rf"\texttt{{U+{ord(letter):04X}}}"


def _templates(escaper: Callable[[Any], str], **syntax: str) -> jinja2.Environment:
    """Return templates whose every value passes through an escaper, but for what is markup."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ftdiff", "reports/page"),
        finalize=lambda value: value if isinstance(value, Markup) else escaper(value),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        **syntax,  # type: ignore[arg-type]
    )


MARKDOWN = _templates(markdown)
LATEX = _templates(
    latex,
    block_start_string="<%",
    block_end_string="%>",
    variable_start_string="<<",
    variable_end_string=">>",
    comment_start_string="<#",
    comment_end_string="#>",
)
