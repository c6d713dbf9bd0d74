"""What stands above a figure: what was compared with what, unless a title is given or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ftdiff.comparison.model_names import against
from ftdiff.plots.elements.labels import shown

#: A text; None for the figure's own; False for none.
Title: TypeAlias = str | Literal[False] | None
# Letters of each of the two models.
_MOST = 90


def own_title(about: Mapping[str, Any], *parts: str) -> str:
    """Return a figure's own title: what against what, and the part of it that is shown."""
    return " · ".join(part for part in (shown(against(about), _MOST), *parts) if part)


def titled(title: Title, own: str) -> str:
    """Return the title that is drawn.

    >>> titled(None, "a against b"), titled("mine", "a against b"), titled(False, "a against b")
    ('a against b', 'mine', '')
    """
    if title is False:
        return ""
    return own if title is None else title
