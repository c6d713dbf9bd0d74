"""Open what an earlier audit found: an audit as JSON or as SARIF, or the diff that it was of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftdiff.analyses.audit.identity import Baseline
from ftdiff.analyses.audit.result import Audit
from ftdiff.analyses.audit.sarif_log import LEVELS
from ftdiff.analyses.finding import Finding
from ftdiff.comparison.result import Diff
from ftdiff.comparison.saved_kind import kind_of
from ftdiff.errors import BadFile

_SEVERITY = {level: severity for severity, level in LEVELS.items()}
_TAKES = "--baseline takes an audit as JSON or SARIF, or a saved diff"


def opened(path: Path) -> Baseline | Diff:
    """Open a file: what was found then, or the diff that is to be audited first.

    Raises
    ------
    BadFile
        The file is none of these, or cannot be read.
    """
    word = kind_of(path)
    if word == "diff":
        return Diff.load(path)
    if word == "audit":
        found = Audit.load(path)
        return Baseline.of(found.findings, found.about)
    if word:
        raise BadFile(f"{path}: a saved {word}; {_TAKES}")
    try:
        return _of_sarif(json.loads(path.read_bytes()))
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"{path}: no audit of ftdiff; {_TAKES}") from error


def _of_sarif(document: Mapping[str, Any]) -> Baseline:
    """Return what the SARIF of an audit holds.

    Raises
    ------
    ValueError, LookupError, TypeError, AttributeError
        It is of another tool, or no SARIF.
    """
    (run,) = document["runs"]
    if run["tool"]["driver"]["name"] != "ftdiff":
        raise ValueError("another tool")
    found = [
        Finding.of_record(
            {
                **one["properties"],
                "rule": one["ruleId"],
                "severity": _SEVERITY[one["level"]],
                "message": one["message"]["text"],
            }
        )
        for one in run["results"]
    ]
    return Baseline.of(found, run["properties"])
