"""A section in Markdown, HTML, LaTeX and JSON; names from files stay text in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from ftdiff.errors import inert, one_line
from ftdiff.registry import Registry
from ftdiff.reports.escaping import LATEX, MARKDOWN
from ftdiff.reports.escaping import latex as tex
from ftdiff.reports.section import Section
from ftdiff.reports.templates import PAGES

#: A section and the address of its figure ("" for none) become text.
Writer = Callable[[Section, str], str]

#: Rules of a table that need no package.
_RULES: Any = [{"selector": f"{name}rule", "props": ":hline;"} for name in ("top", "mid", "bottom")]


def markdown(section: Section, figure: str = "") -> str:
    """Write it for a model card: headings of the second level, a table, details that fold."""
    template = MARKDOWN.get_template("section.md.jinja")
    return template.render(section=section, figure=Markup(figure))


def as_html(section: Section, figure: str = "") -> str:
    """Write it as a fragment of HTML."""
    return PAGES.get_template("section.html.jinja").render(section=section, figure=figure)


def latex(section: Section, figure: str = "") -> str:
    """Write it for a paper: a table and a figure, with no package but graphicx."""
    written = LATEX.get_template("section.tex.jinja").render(
        section=section,
        figure=Markup(figure),
        comment=lambda text: Markup(one_line(text)),
        table=Markup(_tabular(section)),
    )
    return written.rstrip("\n")


def _tabular(section: Section) -> str:
    """Return the table as pandas writes it."""
    import pandas as pd

    table = pd.DataFrame([*section.rows], columns=[*section.columns])
    caption = " ".join(said for said in (section.sentences[0], section.cut) if said)
    styled = table.style.hide(axis="index").format(tex).format_index(tex, axis=1)
    return styled.set_table_styles(_RULES).to_latex(
        column_format="l" + "r" * (len(section.columns) - 1),
        position_float="centering",
        caption=tex(caption),
    )


def as_json(section: Section, figure: str = "") -> str:
    """Write it as one object of plain values."""
    told = {**section.as_dict(), "figure": figure}
    return inert(json.dumps(told, ensure_ascii=False, indent=1))


WRITERS: Registry[Writer] = Registry(
    "format", {"markdown": markdown, "html": as_html, "json": as_json, "latex": latex}
)
