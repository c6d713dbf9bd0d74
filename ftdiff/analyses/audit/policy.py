"""`Policy`: which rules hold, and what is expected, read from TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftdiff.analyses.audit.expectation import WORDS, Expectation
from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.finding import SEVERITIES, Severity
from ftdiff.comparison.storage import schema_id
from ftdiff.errors import BadFile, UnknownName
from ftdiff.formats.written import POLICY, refuse
from ftdiff.metrics import METRICS
from ftdiff.registry import Registry
from ftdiff.tensors import stamp

FORMAT = "ftdiff.policy/1"
#: What a policy may have: reading TOML takes the square of a line, matching a glob its square.
_BYTES, _LINE, _LETTERS, _EXPECTATIONS, _GLOBS = 512 << 10, 2_000, 250, 1_000, 5_000
#: The schema that is shipped as `ftdiff/schemas/policy-1.schema.json`.
SCHEMA = schema_id("policy", 1)
_KEYS = ("format", "$schema", "rules", "expect", "unlisted")
_OF_EXPECT = ("name", "where", "moves", "min", "max", "severity")


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
        if stamp(path)[2] > _BYTES:
            raise BadFile(f"{path}: too large for a policy")
        return _policy(_table_of(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: not TOML ({error})") from error
    except (UnknownName, _Unfit) as error:
        raise BadFile(f"{path}: {error}") from error


class _Unfit(Exception):
    """What a policy may not say, before the file is named."""


def _table_of(text: str) -> Mapping[str, Any]:
    for number, line in enumerate(text.splitlines(), 1):
        _few(len(line), _LINE, "letters", f"line {number}")
    told = tomllib.loads(text)
    for key, value in _values(told):
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise _Unfit(f"{key} is a number of more than the 64 bits that TOML's have")
    return told


def _values(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a document holds, at any depth, with the key that it is under."""
    left: list[tuple[str, Any]] = [*told.items()]
    while left:
        key, one = left.pop()
        if isinstance(one, dict):
            left += one.items()
        elif isinstance(one, list):
            left += ((key, each) for each in one)
        else:
            yield key, one


def _few(many: int, most: int, what: str, of: str) -> None:
    if many > most:
        raise _Unfit(f"{of} has {many:,} {what}; in a policy at most {most:,}")


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
    _few(len(expect), _EXPECTATIONS, "expectations", "it")
    found = tuple(_expectation(one, number) for number, one in enumerate(expect, 1))
    _few(sum(len(globs) for one in found for globs in one.where.values()), _GLOBS, "globs", "it")
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
    name = str(told.get("name", f"expectation {number}"))
    _few(len(name), _LETTERS, "letters", f"the name of expectation {number}")
    return Expectation(
        name=name,
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
    globs = tuple(map(str, given))
    _few(max(map(len, globs), default=0), _LETTERS, "letters", f"a glob of where.{name}")
    return globs


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
