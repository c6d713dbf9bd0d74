"""What a model is called in public: of a path of this machine, the last part only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ftdiff.errors import one_line

_HUB = re.compile(r"hf://(?:models/|datasets/)?([\w.-]+/[\w.-]+)")
# The hub's cache: the repository is in the folder's name.
_CACHED = re.compile(r"(?:models|datasets)--([\w.-]+?)--([\w.-]+)(?:/snapshots/[^/]+)?(/.*)?$")
# Files that are called alike in every folder: what tells them apart is the folder.
_USUAL = re.compile(
    r"(adapter_model|model|pytorch_model|pytorch_lora_weights|diffusion_pytorch_model|consolidated)"
    r"\b.*"
)

_ENDING = re.compile(r"\.(safetensors|gguf|bin|pth?|ckpt)$")


def named(source: Any) -> str:
    """Name a model for the public, by its last word alone unless it is the hub's.

    >>> named("/home/me/secret/my-lora/"), named("org/model"), named("hf://org/model")
    ('my-lora', 'model', 'org/model')
    >>> named("/hf/models--org--model/snapshots/1a2b")
    'org/model'
    """
    text = one_line(source)
    return _repository(text) or PurePath(text).name or text


def public_name(source: object) -> str:
    """Name a model for the public: of a path of this machine the last folder only.

    A file that is called as all such files are is named by its folder.

    >>> public_name("/home/me/secret/my-lora/"), public_name("../my-lora"), public_name("org/model")
    ('my-lora', 'my-lora', 'org/model')
    >>> public_name("hf://org/model"), public_name("/m/my-lora/adapter_model.safetensors")
    ('org/model', 'my-lora')
    """
    text = str(source)
    if found := _repository(text):
        return found
    if not re.match(r"[\\/~]|\.\.?[\\/]|[A-Za-z]:[\\/]", text):
        return text
    parts = re.split(r"[\\/]+", text.rstrip("\\/"))
    usual = len(parts) > 1 and parts[-2] and _ENDING.search(parts[-1])
    return parts[-2] if usual and _USUAL.fullmatch(parts[-1]) else parts[-1]


def _repository(text: str) -> str:
    """Return the repository of the hub that an address, or a folder of its cache, is of; or ""."""
    if found := _HUB.match(text):
        return found[1]
    found = _CACHED.search(text)
    return f"{found[1]}/{found[2]}" if found else ""


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
