"""How a result shows itself in a notebook: a verdict, its sentences, a few rows, as inert HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ftdiff.errors import one_line
from ftdiff.numbers import MISSING, written

if TYPE_CHECKING:
    import jinja2

# A cell's output is read at a glance; the frame holds the rest.
_ROWS, _SENTENCES = 40, 12
_HTML = """<p><b>{{ title }}</b></p>
{%- macro more(count) %}{% if count > 0 %}<p>… and {{ "{:,}".format(count) }} more</p>{% endif %}
{%- endmacro %}
{%- macro line(tag, cells) %}<tr>
{%- for cell in cells %}<{{ tag }}{% if loop.first %} style="text-align: left"{% endif %}>
{{- cell }}</{{ tag }}>{% endfor %}</tr>
{%- endmacro %}
{%- if sentences %}<ul>{% for said in sentences %}<li>{{ said }}</li>{% endfor %}</ul>
{{- more(more_sentences) }}{% endif %}
{%- if names %}<table>{{ line("th", names) }}
{%- for row in rows %}{{ line("td", row) }}{% endfor %}</table>
{{- more(more_rows) }}{% endif %}"""


def shown(title: str, sentences: Iterable[str] = (), rows: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return a fragment of HTML in which names from files are text.

    Parameters
    ----------
    title
        What it is, in a line.
    sentences
        What is to be said; of many, the first.
    rows
        A table, all rows with the same columns; what is missing is a dash, and a column that is
        empty throughout is left out.

    >>> shown("a <b>", ["c"])
    '<p><b>a &lt;b&gt;</b></p><ul><li>c</li></ul>'
    """
    said, held = list(sentences), list(rows)
    names = [name for name in (held[0] if held else ()) if any(not _missing(r[name]) for r in held)]
    return _template().render(
        title=title,
        sentences=said[:_SENTENCES],
        more_sentences=len(said) - _SENTENCES,
        names=names,
        rows=[[_written(row[name]) for name in names] for row in held[:_ROWS]],
        more_rows=len(held) - _ROWS,
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    made = jinja2.Environment(autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined)
    return made.from_string(_HTML)


def _shown(value: Any) -> Any:
    """Show what would reorder or break text escaped: names come from files."""
    return one_line(value) if type(value) is str else value


def _written(value: Any) -> str:
    return MISSING if _missing(value) else written(value)


def _missing(value: Any) -> bool:
    return value is None or str(value) in ("", "<NA>", "nan")  # pandas' NA compares with nothing
