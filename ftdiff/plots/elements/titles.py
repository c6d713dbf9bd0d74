"""What stands above a figure: what was compared with what, unless a title is given or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ftdiff.comparison.model_names import against, told
from ftdiff.plots.elements.labels import shown

#: A text; None for the figure's own; False for none.
Title: TypeAlias = str | Literal[False] | None
# Letters of each of the two models.
_MOST = 90


def own_title(about: Mapping[str, Any], *parts: str) -> str:
    """Return a figure's own title: what against what, and the part of it that is shown."""
    return " · ".join(part for part in (shown(against(about), _MOST), *parts) if part)


def of_base(count: int, what: str, about: Mapping[str, Any]) -> str:
    """Return the title of a figure of several fine-tunes.

    >>> of_base(3, "fine-tunes", {"base": "/m/base"}), of_base(2, "checkpoints", {})
    ('3 fine-tunes of base', '2 checkpoints')
    """
    base = about.get("base")
    joined = "from" if what == "checkpoints" else "of"
    return f"{count} {what} {joined} {shown(told(base))}" if base else f"{count} {what}"


def titled(title: Title, own: str) -> str:
    """Return the title that is drawn.

    >>> titled(None, "a against b"), titled("mine", "a against b"), titled(False, "a against b")
    ('a against b', 'mine', '')
    """
    if title is False:
        return ""
    return own if title is None else title
