"""What a model is called in public: of a path of this machine, the last part only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ftdiff.errors import one_line

# Files that are called alike in every folder: what tells them apart is the folder.
_USUAL = re.compile(
    r"(adapter_model|model|pytorch_model|pytorch_lora_weights|diffusion_pytorch_model)\b.*"
)

_ENDING = re.compile(r"\.(safetensors|gguf|bin|pth?|ckpt)$")


def named(source: Any) -> str:
    """Name a model for the public.

    >>> named("/home/me/secret/my-lora/"), named("org/model"), named("hf://org/model")
    ('my-lora', 'model', 'org/model')
    """
    text = one_line(source)
    found = re.match(r"hf://(?:models/)?([\w.-]+/[\w.-]+)", text)
    return found[1] if found else PurePath(text).name or text


def against(about: Mapping[str, Any]) -> str:
    """Say what was compared with what, for the title of a picture; "" where nothing says it.

    >>> against({"base": "/m/base.gguf", "tuned": "runs/my-lora"}), against({"tuned": "my-lora"})
    ('my-lora against base', 'my-lora, no base')
    >>> against({"base": "a/model.safetensors", "tuned": "b/model.safetensors"})
    'b/model.safetensors against a/model.safetensors'
    """
    base, tuned = about.get("base"), about.get("tuned")
    if not tuned:
        return ""
    if not base:
        return f"{told(tuned)}, no base"
    names = told(tuned), told(base)
    if names[0] == names[1]:
        names = _longer(tuned), _longer(base)
    return f"{names[0]} against {names[1]}"


def told(source: Any) -> str:
    """Name a model without its file's ending; of a file that is called as all are, its folder."""
    name = named(source)
    return _longer(source) if _USUAL.fullmatch(name) else _ENDING.sub("", name)


def _longer(source: Any) -> str:
    parts = PurePath(one_line(source)).parts[-2:]
    return "/".join(part for part in parts if part != "/") or named(source)
