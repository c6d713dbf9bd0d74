"""Pages from templates in which names from files stay text, and the texts that pages hold."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from importlib.resources import files
from typing import Any

import jinja2

from ftdiff.errors import one_line
from ftdiff.naming.labels import shown
from ftdiff.numbers import number, percent, written


def _inert(value: Any) -> Any:
    """Show what would reorder or break text escaped: names come from files."""
    return one_line(value) if type(value) is str else value


PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("ftdiff", "reports/page"),
    autoescape=True,  # names come from files: a tensor called <script> stays text
    finalize=_inert,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
PAGES.filters |= {
    "written": written,
    "digits": number,
    "percent": percent,
    "short": partial(shown, most=20),
    "pair": lambda finding: (finding, ""),  # without cells to point at
}


def source(name: str) -> str:
    """Return a file that lies beside the templates."""
    return (files("ftdiff") / "reports" / "page" / name).read_text(encoding="utf-8")


def hash_of(text: str) -> str:
    """Name a script or a style as a browser does that runs no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
