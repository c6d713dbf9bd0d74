"""Records of files beside the weights, for the rules on them: one of each kind, and its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

import ftdiff

_FIELD = {"field": "rope_theta", "base": 10000.0, "tuned": 500000.0}
#: By code: data, and a part of its sentence.
RECORDS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "config-differs": (
        {"fields": [_FIELD]},
        "1 field that decides what the same weights compute: rope_theta 10000.0 → 500000.0",
    ),
    "config-fields": (
        {"fields": [{"field": f"x{i}", "base": True} for i in range(6)]},
        "x0 true in the base only; x1 true in the base only; x2 true in the base only; x3 true in "
        "the base only and 2 more",
    ),
    "config-dtype": (
        {"fields": [{"field": "dtype", "base": "float32", "tuned": "bfloat16"}]},
        "dtype float32 → bfloat16",
    ),
    "generation-differs": (
        {"fields": [{"field": "top_p", "tuned": 0.9}]},
        "top_p 0.9 in the fine-tune only",
    ),
    "tokenizer-differs": (
        {
            "tokens": {"base": 1000, "tuned": 1002},
            "added": 3,
            "removed": 1,
            "moved": 2,
            "names": ["<a>"],
            "merges": {"base": 9, "tuned": 8, "shared": 7},
            "parts": ["normalizer"],
            "files": ["tokenizer.model"],
        },
        "1,000 → 1,002 tokens (3 added, 1 removed, 2 under another id: <a>); merges 9 → 8 (2 and 1 "
        "of one side only); other normalizer; other bytes of tokenizer.model",
    ),
    "tokens-without-rows": (
        {"largest": 32_002, "rows": 32_000},
        "ids up to 32,002, the embedding 32,000 rows: tokens from 32,000 on have none",
    ),
    "special-tokens-differ": (
        {"fields": [{"field": "eos_token", "base": "</s>", "tuned": "<|im_end|>"}]},
        "eos_token </s> → <|im_end|>",
    ),
    "token-ids-disagree": (
        {"token": "eos_token", "places": {"config.json": 2, "the tokenizer": 7}},
        "eos_token has no id that all files agree on: 2 in config.json, 7 in the tokenizer",
    ),
    "chat-template-differs": (
        {"called": "tool", "line": 3, "base": "a", "tuned": "b"},
        "differ called tool, first in line 3: 'a' → 'b'",
    ),
    "chat-template-one-sided": (
        {"called": "default", "side": "tuned"},
        "the fine-tune has a chat template, the base has none",
    ),
    "chat-template-twice": ({"side": "tuned"}, "two files of the fine-tune hold different chat"),
    "code-beside": (
        {"files": ["a.py", "b.py"], "auto_map": ["AutoModel: a.X (config.json)"]},
        "2 files of code lie beside the weights (a.py, b.py); auto_map names AutoModel: a.X "
        "(config.json): it would run with trust_remote_code; it was not run",
    ),
    "code-as-base": (
        {"files": ["a.py"], "auto_map": []},
        "1 file of code lies beside the weights (a.py): nothing here names it; it was not run, and "
        "is the base's",
    ),
    "pickle-beside": ({"files": ["a.pt", "b.pt"]}, "2 pickles lie beside the weights (a.pt, b.pt)"),
    "auto-mapping": ({"class": "X", "library": "their.module"}, "the class X of their.module"),
    "base-revision": ({"named": "main", "given": "v2"}, "revision main of its base, this is v2"),
    "beside-unreadable": (
        {"file": "generation_config.json", "why": "not JSON"},
        "generation_config.json of the folder could not be read: not JSON",
    ),
}


@cache
def _measured() -> ftdiff.Diff:
    base = {"model.layers.0.mlp.up_proj.weight": np.ones((2, 2), "f4")}
    return ftdiff.compare(base, {name: 2 * W for name, W in base.items()})


def _diff(records: list[Mapping[str, Any]]) -> ftdiff.Diff:
    diff = _measured()
    return ftdiff.Diff(diff.frame, {**diff.about, "reasons": records})


#: By rule: what triggers it, and what the same without the fault is.
CASES: dict[str, tuple[Callable[[], ftdiff.Diff], Callable[[], ftdiff.Diff]]] = {
    code: (
        partial(_diff, [{"code": code, **data}]),
        partial(_diff, [{"code": "scales-in-metadata"}]),
    )
    for code, (data, _) in RECORDS.items()
}
