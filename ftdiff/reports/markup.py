"""A section in Markdown, HTML, LaTeX and JSON; names from files stay text in each."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Sequence

from ftdiff.errors import inert, one_line
from ftdiff.registry import Registry
from ftdiff.reports.section import Section

#: A section and the address of its figure ("" for none) become text.
Writer = Callable[[Section, str], str]

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


def markdown(section: Section, figure: str = "") -> str:
    """Write it for a model card: headings of the second level, a table, details that fold."""
    lines = [f"## {_md(section.heading)}", "", _md(section.sentences[0]), ""]
    if section.sentences[1:]:
        lines += [*(f"- {_md(said)}" for said in section.sentences[1:]), ""]
    if figure and section.alt:
        lines += [f"![{_md(section.alt)}]({figure})", ""]
    if section.rows:
        lines += [
            _line(section.columns),
            _line(["---", *["---:"] * (len(section.columns) - 1)], str),
            *map(_line, section.rows),
            "",
        ]
    lines += ["<details><summary>How it was made</summary>", ""]
    lines += [f"- {_md(name)}: {_md(value)}" for name, value in section.made]
    return "\n".join([*lines, "", "</details>"])


def as_html(section: Section, figure: str = "") -> str:
    """Write it as a fragment of HTML."""
    body = [f"<h2>{html.escape(section.heading)}</h2>"]
    body += [f"<p>{html.escape(one_line(said))}</p>" for said in section.sentences]
    if figure and section.alt:
        body.append(f'<img src="{html.escape(figure)}" alt="{html.escape(one_line(section.alt))}">')
    if section.rows:
        body += ["<table>", _tr("th", section.columns), *(_tr("td", r) for r in section.rows)]
        body.append("</table>")
    made = "".join(f"<li>{html.escape(f'{n}: {v}')}</li>" for n, v in section.made)
    return "\n".join(
        [*body, f"<details><summary>How it was made</summary><ul>{made}</ul></details>"]
    )


def latex(section: Section, figure: str = "") -> str:
    """Write it for a paper: a table and a figure, with no package but graphicx."""
    spec = "l" + "r" * (len(section.columns) - 1)
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in section.rows]
    caption = _tex(section.sentences[0])
    lines = ["% " + ", ".join(f"{one_line(n)}: {one_line(v)}" for n, v in section.made)]
    if figure and section.alt:
        lines += [
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{{figure}}}",
        ]
        lines += [rf"\caption{{{_tex(section.alt)}}}", r"\end{figure}"]
    lines += [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{spec}}}", r"\hline"]
    lines += [" & ".join(map(_tex, section.columns)) + r" \\", r"\hline", *rows, r"\hline"]
    return "\n".join([*lines, r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}"])


def as_json(section: Section, figure: str = "") -> str:
    """Write it as one object of plain values."""
    told = {**section.as_dict(), "figure": figure}
    return inert(json.dumps(told, ensure_ascii=False, indent=1))


WRITERS: Registry[Writer] = Registry(
    "format", {"markdown": markdown, "html": as_html, "json": as_json, "latex": latex}
)


def _md(text: str) -> str:
    """Escape what Markdown or HTML would read as more than text.

    >>> _md("a|b <script> [x](y) *z*")
    'a\\\\|b &lt;script&gt; \\\\[x\\\\](y) \\\\*z\\\\*'
    """
    escaped = html.escape(one_line(text).replace("\\", "\\\\"), quote=False)
    return re.sub(r"([`*_\[\]|~$])", r"\\\1", escaped)


def _line(cells: Iterable[str], escape: Callable[[str], str] = _md) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"


def _tr(tag: str, cells: Sequence[str]) -> str:
    made = "".join(f"<{tag}>{html.escape(one_line(cell))}</{tag}>" for cell in cells)
    return f"<tr>{made}</tr>"


def _tex(text: str) -> str:
    r"""Escape what TeX would read as more than text, and name letters that no font may have.

    >>> _tex("[50%] a_b <é> 日")
    '{[}50\\%] a\\_b \\(<\\)é\\(>\\) \\texttt{U+65E5}'
    """
    return "".join(_LATEX.get(letter) or _letter(letter) for letter in one_line(text))


def _letter(letter: str) -> str:
    known = letter.isascii() or "À" <= letter <= "ÿ"
    return letter if known else rf"\texttt{{U+{ord(letter):04X}}}"
