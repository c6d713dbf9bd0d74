"""Ways to damage a file: values of JSON replaced, headers that lie, bytes turned."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz import strategies

DEEP = 400


def _deep() -> Any:
    held: Any = []
    for _ in range(DEEP):
        held = [held]
    return held


#: Values that stand where another was meant.
VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", 0, -1, 1, 2, 3, 0.5, 7e-320, 1e308, float("nan"), float("inf")),
    *(10**400, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63), [], {}, [None], [[]], {"": 0}),
    *("../x", "/dev/zero", "\x1b[31mred\x07", "\n\r\0", "<script>alert(1)</script>", "=1+1"),
    *("(a|a)*b", "(", "[", ".*" * 9, "\ud800", "\u202e", "9" * 5000, "a" * 70_000, "1e999"),
    *("NaN", "q_proj", "F32", "I4", "F8_E4M3", "LORA", "all-linear", "int4", [0], [1, 2], [-1, 3]),
    *([2**40, 2**40], {"a": {"b": [1]}}, _deep()),
)
_NUMBERS = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def mutated(good: bytes, kind: str, draw: Random, seed: int = 0) -> bytes:
    """Return a file with damage of its kind, or one of Hypothesis' in its place."""
    if kind in strategies.FILES and (kind not in WAYS or draw.random() < 0.5):
        return draw.choice(strategies.pool(kind, seed))
    return WAYS[kind](good, draw)


def _json(good: bytes, draw: Random) -> bytes:
    if draw.random() < 0.1:
        return _text(good, draw)
    held = json.loads(good)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        held = change(held, draw)
    return json.dumps(held, ensure_ascii=draw.random() < 0.9).encode("utf-8", "surrogatepass")


def value(draw: Random) -> Any:
    """Draw one of `VALUES`, its own copy: it may be changed in its turn."""
    drawn = draw.choice(VALUES)
    return json.loads(json.dumps(drawn)) if isinstance(drawn, list | dict) else drawn


def change(held: Any, draw: Random) -> Any:
    """Change one place of a document, drawn evenly by depth."""
    if not isinstance(held, dict | list) or not held or draw.random() < 0.08:
        return value(draw)
    at = draw.choice(list(held) if isinstance(held, dict) else range(len(held)))
    step = draw.random()
    if step < 0.65:
        held[at] = change(held[at], draw)
    elif step < 0.75:
        del held[at]
    elif step < 0.85:
        other = draw.choice(list(held) if isinstance(held, dict) else range(len(held)))
        held[at], held[other] = held[other], held[at]
    elif isinstance(held, dict):
        name = draw.choice([v for v in VALUES if isinstance(v, str)])
        held[draw.choice((name, at + name, name + at, at[:-1]))] = held[at]
    else:
        held.insert(at, draw.choice((held[at], value(draw))))
    return held


def _lines(good: bytes, draw: Random) -> bytes:
    """Damage a line of JSON, or the document that is in its payload as base64."""
    held = json.loads(good.splitlines()[0])
    if draw.random() < 0.7:
        inner = json.loads(base64.b64decode(held["payload"]))
        for _ in range(draw.choice((1, 1, 2))):
            inner = change(inner, draw)
        held["payload"] = base64.b64encode(json.dumps(inner).encode()).decode()
    else:
        held = change(held, draw)
    return json.dumps(held).encode() + b"\n"


def _rows(good: bytes, draw: Random) -> bytes:
    """Damage the documents on the lines of a file."""
    rows = [json.loads(line) for line in good.splitlines()]
    for _ in range(draw.choice((1, 1, 2, 4))):
        rows = change(rows, draw)
    rows = rows if isinstance(rows, list) else [rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _safetensors(good: bytes, draw: Random) -> bytes:
    """Change the header, its length, or the data behind it."""
    length = int.from_bytes(good[:8], "little")
    header, body = good[8 : 8 + length], good[8 + length :]
    step = draw.random()
    if step < 0.1:
        return draw.choice(_NUMBERS).to_bytes(8, "little") + header + body
    if step < 0.2:
        return good[: draw.randrange(len(good))]
    if step < 0.3:
        return good[: 8 + length] + _bytes(body, draw)
    changed = _text(header, draw) if step < 0.45 else _json(header, draw)
    return len(changed).to_bytes(8, "little") + changed + body


def _zip(good: bytes, draw: Random) -> bytes:
    """Change one member and write the archive anew, with right sums; deflated at times."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(written, "w") as new:
        names = old.namelist()
        harmed = draw.choice([n for n in names if n.endswith("data.pkl")] * 8 + names)
        for name in names:
            raw = old.read(name)
            way = zipfile.ZIP_DEFLATED if draw.random() < 0.02 else zipfile.ZIP_STORED
            new.writestr(name, _bytes(raw, draw) if name == harmed else raw, way)
    return written.getvalue()


def _bytes(good: bytes, draw: Random) -> bytes:
    """Turn, write over, cut, double or drop some bytes; most of them near the beginning."""
    held = bytearray(good)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        if not held:
            break
        reach = len(held) if draw.random() < 0.4 else min(len(held), 600)
        at, step = draw.randrange(reach), draw.random()
        if step < 0.5:
            held[at] = draw.randrange(256)
        elif step < 0.75:
            size = draw.choice((2, 4, 8))
            value = draw.choice(_NUMBERS) % 256**size
            held[at : at + size] = value.to_bytes(size, draw.choice(("little", "big")))
        elif step < 0.8:
            del held[at:]
        elif step < 0.9:
            del held[at : at + draw.randrange(1, 20)]
        else:
            held[at:at] = held[at : at + draw.randrange(1, 200)]
    return bytes(held)


def _text(good: bytes, draw: Random) -> bytes:
    """Change letters that have a meaning in JSON and in tables."""
    held = bytearray(good)
    pieces = (b"[" * 100_000, b'{"a":' * 5000, b"1" * 5000, b"\\ud800", b"\x1b[2J", b"\xff", b"NaN")
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(held) + 1)
        step = draw.random()
        if step < 0.5:
            held[at : at + 1] = bytes([draw.choice(b'019-+.eE"{}[]:,\\\n\0\xff=;\t')])
        elif step < 0.7:
            held[at:at] = draw.choice(pieces)
        elif step < 0.8:
            del held[at:]
        elif step < 0.9:
            del held[at : at + draw.randrange(1, 30)]
        else:
            held[at:at] = held[at : at + draw.randrange(1, 200)]
    return bytes(held)


WAYS: dict[str, Callable[[bytes, Random], bytes]] = {
    "json": _json,
    "lines": _lines,
    "rows": _rows,
    "safetensors": _safetensors,
    "zip": _zip,
    "bytes": _bytes,
    "text": _text,
    "toml": _text,
    "card": _text,
}
