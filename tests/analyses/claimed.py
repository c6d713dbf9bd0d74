"""Signed claims about small pairs, and what changes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from securesystemslib.dsse import Envelope

import ftdiff
from ftdiff.analyses.claims import keys
from tests.cases.situations import CONFIG, merged, state
from tests.conftest import write_model

Payload = dict[str, Any]


def keypair(folder: Path, name: str = "my.key") -> tuple[Path, Path]:
    """Make a key."""
    return keys.new_key(folder / name)


def written_pair(folder: Path) -> tuple[Path, Path]:
    """Write a base and a full fine-tune of it, both in bfloat16."""
    sides = {"base": state(), "tuned": merged()}
    held = {side: {n: W.bfloat16() for n, W in tensors.items()} for side, tensors in sides.items()}
    base, tuned = (write_model(folder / side, held[side], config={**CONFIG}) for side in held)
    return base, tuned


def reshard(source: Mapping[str, torch.Tensor], folder: Path, count: int) -> Path:
    """Write tensors as so many shards with an index, in another order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(source, reverse=True)
    shards = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    for i, shard in enumerate(shards):
        save_file({name: source[name] for name in names[i::count]}, folder / shard)
    where = {name: shards[i % count] for i, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def claimed(base: Path, tuned: Path, key: Path, path: Path, **options: Any) -> Path:
    """Compare, attest, and write the claim."""
    diff = ftdiff.compare(str(base), str(tuned), **options)
    assert ftdiff.attest(diff, key).append(path)
    return path


def payload_of(line: str) -> Payload:
    """Return the statement of a line."""
    found: Payload = json.loads(base64.b64decode(json.loads(line)["payload"]))
    return found


def changed(line: str, change: Callable[[Payload], Any], key: Path | None = None) -> str:
    """Return a line whose statement is changed; with a key signed anew."""
    statement = payload_of(line)
    change(statement)
    text = json.dumps(statement).encode()
    envelope = json.loads(line)
    if key is None:
        envelope["payload"] = base64.b64encode(text).decode()
    else:
        made = Envelope(text, envelope["payloadType"], {})
        made.sign(keys.signer(key))
        envelope = made.to_dict()
    return json.dumps(envelope)


def checked(folder: Path) -> ftdiff.ClaimCheck:
    """Return the check of a claim that holds."""
    base, tuned = written_pair(folder / "pair")
    key, public = keypair(folder)
    return ftdiff.verify_claim(claimed(base, tuned, key, folder / "c.jsonl"), base, tuned, public)
