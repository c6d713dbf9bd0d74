"""`Policy`: which rules hold, and what is expected, read from TOML and written from a diff."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdiff.analyses.audit.expectation import WORDS, Expectation
from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.finding import SEVERITIES, Severity, layer_spans
from ftdiff.comparison import cut
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.comparison.storage import schema_id, written
from ftdiff.errors import BadCall, BadFile, UnknownName
from ftdiff.formats.written import POLICY, refuse
from ftdiff.metrics import METRICS
from ftdiff.registry import Registry
from ftdiff.tensors import stamp

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "ftdiff.policy/1"
_LARGEST = 4 << 20
#: The schema that is shipped as `ftdiff/schemas/policy-1.schema.json`.
SCHEMA = schema_id("policy", 1)
_KEYS = ("format", "$schema", "rules", "expect", "unlisted")
_OF_EXPECT = ("name", "where", "moves", "min", "max", "severity")
#: A written policy leaves so much room above what was measured.
_ROOM = 1.25


@dataclass(frozen=True)
class Policy:
    """What an audit holds a diff against.

    Attributes
    ----------
    rules
        Severities by built-in rule where they differ from the rule's own; None switches one off.
    expect
        Expectations.
    unlisted
        "may move" or "may not move": tensors that no expectation is about.
    source
        Where it was read.
    """

    rules: Mapping[str, Severity | None] = field(default_factory=dict)
    expect: tuple[Expectation, ...] = ()
    unlisted: str = "may move"
    source: str = "built-in rules"


def read_policy(path: str | Path) -> Policy:
    """Read a policy from TOML.

    Raises
    ------
    BadFile
        The file cannot be read, is not TOML, or says something that no policy says.
    """
    path = Path(path)
    refuse(path, POLICY)
    try:
        if stamp(path)[2] > _LARGEST:
            raise BadFile(f"{path}: too large for a policy")
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: not TOML ({error})") from error
    try:
        return _policy(told, str(path))
    except (UnknownName, _Unfit) as error:
        raise BadFile(f"{path}: {error}") from error


class _Unfit(Exception):
    """What a policy may not say, before the file is named."""


def _policy(told: Mapping[str, Any], source: str) -> Policy:
    _known(told, _KEYS, "key of a policy")
    if told.get("format", FORMAT) != FORMAT:
        raise _Unfit(f"format is {told['format']!r}, this is {FORMAT!r}")
    unlisted = told.get("unlisted", "may move")
    if unlisted not in ("may move", "may not move"):
        raise _Unfit(f"unlisted is {unlisted!r}; it is 'may move' or 'may not move'")
    given = {_spelled(name): value for name, value in _table(told, "rules").items()}
    rules = {name: _severity(name, value) for name, value in given.items()}
    for name in rules:
        AUDIT[name]
    expect = told.get("expect", [])
    if not isinstance(expect, list) or not all(isinstance(one, dict) for one in expect):
        raise _Unfit("expect is a list of tables: [[expect]]")
    found = tuple(_expectation(one, number) for number, one in enumerate(expect, 1))
    return Policy(rules, found, unlisted, source)


def _expectation(told: Mapping[str, Any], number: int) -> Expectation:
    _known(told, _OF_EXPECT, "key of an expectation")
    where = {name: _globs(name, value) for name, value in _table(told, "where").items()}
    _known(where, WORDS, "column")
    moves = told.get("moves")
    if moves is not None and not isinstance(moves, bool):
        raise _Unfit(f"moves is {moves!r}; it is true or false, or left out")
    severity = _severity("severity", told.get("severity", "alarm"))
    if severity is None:
        raise _Unfit("an expectation is not switched off; leave it out")
    return Expectation(
        name=str(told.get("name", f"expectation {number}")),
        where=where,
        moves=moves,
        least=_limits(told, "min"),
        most=_limits(told, "max"),
        severity=severity,
    )


def _spelled(rule: str) -> str:
    """Return a rule's name as it is spelled: under_the_floor is under-the-floor.

    >>> _spelled("under_the_floor")
    'under-the-floor'
    """
    return rule.replace("_", "-")


def _severity(name: str, value: Any) -> Severity | None:
    if value in ("off", False):
        return None
    for severity in SEVERITIES:
        if value == severity:
            return severity
    raise _Unfit(f"{name} is {value!r}; it is 'off', {', '.join(map(repr, SEVERITIES))}")


def _globs(name: str, value: Any) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in given):
        raise _Unfit(f"where.{name} is {value!r}; it is a glob, or a list of them")
    return tuple(str(one) for one in given)


def _limits(told: Mapping[str, Any], key: str) -> dict[str, float]:
    limits = {}
    for name, value in _table(told, key).items():
        METRICS[name]
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            raise _Unfit(f"{key}.{name} is {value!r}; it is a number")
        limits[name] = float(value)
    return limits


def _table(told: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = told.get(key, {})
    if not isinstance(found, dict):
        raise _Unfit(f"{key} is {found!r}; it is a table")
    return found


def _known(told: Mapping[str, Any], names: tuple[str, ...], kind: str) -> None:
    registry = Registry(kind, dict.fromkeys(names))
    for name in told:
        registry[name]


def policy_of(diff: Diff) -> str:
    """Write a policy that this diff fulfils, to be reviewed: TOML.

    What moved may move by a quarter more than it did, component by component, and in its layers
    where the others stood still; nothing else may.

    Raises
    ------
    BadCall
        The diff is of parts of tensors.
    """
    cut.whole(diff, "a policy")
    metric = "relative_norm" if diff.about.get("base") else "rms_change"
    lines = [
        "# What is expected of this fine-tune, written from a diff: review it, then keep it.",
        f'format = "{FORMAT}"',
        f'"$schema" = "{SCHEMA}"',
        'unlisted = "may not move"',
        "",
        "[rules]  # off, note, caution or alarm; an alarm fails the audit",
        *(f'{name} = "{rule.severity}"' for name, rule in AUDIT.items()),
    ]
    moved = diff.frame[diff.frame["status"].isin(MOVED)]
    keys = ["stack", "component", "param"]
    everything = diff.frame.groupby(keys, sort=False)
    for (stack, component, param), rows in moved.groupby(keys, sort=False):
        where = {"stack": stack, "component": component, "param": param}
        globs = ", ".join(f"{name} = {_quoted(_literal(str(x)))}" for name, x in where.items())
        globs += _layers(rows, everything.get_group((stack, component, param)))
        named = " ".join(str(word) for word in (stack, component, param) if word)
        lines += ["", "[[expect]]", f"name = {_quoted(named)}", f"where = {{ {globs} }}"]
        if metric in rows and rows[metric].notna().any():
            lines.append(f"max = {{ {metric} = {_rounded_up(float(rows[metric].max()) * _ROOM)} }}")
    return "\n".join(lines) + "\n"


def save_policy(diff: Diff, path: str | Path) -> Path:
    """Write the policy that a diff fulfils; one that is there may have been reviewed, and stays.

    Raises
    ------
    BadCall
        There is a file of this name, or the diff is of parts of tensors.
    BadFile
        The file cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise BadCall(f"{path}: is there already; a reviewed policy is not overwritten")
    with written(path) as temporary:
        temporary.write_text(policy_of(diff), encoding="utf-8")
    return path


def _layers(moved: pd.DataFrame, whole: pd.DataFrame) -> str:
    """Return the glob of the layers that moved; "" where all did, or where there are none."""
    layers = {*map(int, moved["layer"].dropna())}
    if not layers or len(layers) == whole["layer"].nunique():
        return ""
    spans = layer_spans([*layers]).replace("–", "-").split(", ")
    return f", layer = [{', '.join(map(_quoted, spans))}]"


def _literal(name: str) -> str:
    """Return the glob that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f")


def _rounded_up(value: float) -> str:
    if not value > 0:
        return "0.0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return repr(float(f"{math.ceil(value / step) * step:.3g}"))
