"""JSON Schemas of what is written and read, as they lie in `ftdiff/schemas/`.

A file names its schema as `$schema`, which is the schema's `$id`.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from ftdiff.registry import Registry

#: By what it describes, the file of its schema: of the newest version of each.
SCHEMAS = Registry(
    "schema",
    {
        "diff": "diff-2.schema.json",
        "audit": "audit-1.schema.json",
        "policy": "policy-1.schema.json",
    },
)


def schema(name: str) -> dict[str, Any]:
    """Return a JSON Schema (2020-12): of a diff.json, an audit.json or a policy.

    Raises
    ------
    UnknownName
        There is no such schema.

    Examples
    --------
    >>> schema("policy")["$id"]
    'urn:ftdiff:schema:policy:1'
    """
    text = (files("ftdiff") / "schemas" / SCHEMAS[name]).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
