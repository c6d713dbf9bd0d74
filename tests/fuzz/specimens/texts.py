"""What is given beside models: policies, texts, labelled answers, model cards, and live models."""

from __future__ import annotations

import shutil
from pathlib import Path

import ftdiff
from ftdiff.analyses.audit import policy_of
from tests.fuzz.specimens import Add

ROWS = '{"text": "a b c d"}\n{"prompt": "x ", "answer": "y z"}\n{"input_ids": [1, 2, 3, 4]}\n'


def write(root: Path, add: Add) -> None:
    """Write one of each."""
    policy = policy_of(ftdiff.compare(root / "base", root / "tuned1"))
    held = (("audit", "{root}/diff.json", "--policy", "{}/p.toml"),)
    add("policy", "toml", "p.toml", held, lambda at: (at / "p.toml").write_text(policy))
    card = "---\ntags:\n- lora\nlicense: mit\n---\n# A model\n\n## Use\n"
    add(
        "model card",
        "card",
        "README.md",
        (("card", "{root}/diff.json", "{}/README.md"),),
        lambda at: (at / "README.md").write_text(card),
    )
    measured = (("importance", "{root}/tiny", "--text", "{}/t.jsonl", "--batch", "1"),)
    drifted = (("drift", "{root}/tiny", "{root}/other", "--text", "{}/t.jsonl"),)
    add("texts", "rows", "t.jsonl", measured, lambda at: (at / "t.jsonl").write_text(ROWS))
    add("texts, bytes", "text", "t.jsonl", drifted, lambda at: (at / "t.jsonl").write_text(ROWS))
    answers = root / "answers.jsonl"
    probed = (("probe", "{root}/tiny", "--data", "{}/t.jsonl", "--permutations", "100"),)
    add("answers", "rows", "t.jsonl", probed, lambda at: shutil.copy(answers, at / "t.jsonl"))
    live = (("importance", "{}/m", "--text", "{root}/text.jsonl"),)
    names = "m/config.json m/tokenizer.json m/tokenizer_config.json"
    add("live model", "json", names, live, lambda at: shutil.copytree(root / "tiny", at / "m"))
