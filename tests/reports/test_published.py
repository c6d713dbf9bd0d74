from __future__ import annotations

import json

import pytest

from ftdiff.analyses.audit import Audit
from ftdiff.analyses.finding import Finding
from ftdiff.comparison.model_names import public_name
from ftdiff.comparison.result import Diff
from ftdiff.reports import text as spoken
from ftdiff.reports.published import published
from tests.plots.drawings import diff_of, rows


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/me/secret/my-lora", "my-lora"),
        ("/home/me/secret/my-lora/adapter_model.safetensors", "my-lora"),
        ("/home/me/secret/my-lora.safetensors", "my-lora.safetensors"),
        ("~/loras/one", "one"),
        ("./one", "one"),
        ("..\\loras\\one", "one"),
        ("C:\\Users\\me\\one", "one"),
        ("C:/Users/me/one", "one"),
        ("org/model", "org/model"),
        ("fixtures/base", "fixtures/base"),
        ("hf://models/org/model@main", "org/model"),
        ("/c/hub/models--meta-llama--Llama-3/snapshots/0e9e39f", "meta-llama/Llama-3"),
        ("/c/hub/models--org--m/snapshots/0e9e/model.safetensors", "org/m"),
    ],
)
def test_of_a_path_the_last_folder_is_named(source: str, name: str) -> None:
    assert public_name(source) == name


def test_no_path_of_the_machine_is_left_anywhere() -> None:
    about = {
        "base": "/home/me/base",
        "tuned": "/home/me/my loras/one",
        "notes": ["the config of /home/me/my loras/one is odd (/home/me/base/config.json)"],
        "adapter": {"base_model_name_or_path": "/data/me/base", "r": 4, "of": "W/ΔW and a/b"},
        "sources": {"base": [{"source": "/home/me/base", "files": [{"path": "a/b.safetensors"}]}]},
        "config": {"base": {"_name_or_path": "C:\\Users\\me\\base"}},
    }
    text = json.dumps(published(about, tuned="org/one"), ensure_ascii=False)
    assert "/home" not in text and "/data" not in text and "Users" not in text
    assert '"tuned": "org/one"' in text and "W/ΔW and a/b" in text and "a/b.safetensors" in text
    assert "the config of org/one is odd (base/config.json)" in text


@pytest.mark.parametrize("format_", ["markdown", "sarif", "junit", "github"])
def test_an_audit_that_is_published_names_no_path(format_: str) -> None:
    about = {"base": "/home/me/secret/base", "tuned": "/home/me/secret/my-lora", "kind": "lora"}
    odd = Finding("embeddings", "caution", "/home/me/secret/base has 3 tokens, not 4")
    found = Audit((odd,), "/home/me/secret/release.toml", about)
    text = spoken.audit(found, format_)
    assert "/home" not in text and "base has 3 tokens, not 4" in text
    if format_ in ("markdown", "sarif"):
        assert "my-lora" in text
    assert "/home/me/secret/base" in spoken.audit(found, "json")  # the record of where it was


def test_findings_in_markdown_name_no_path() -> None:
    made = diff_of(rows(9))
    diff = Diff(made.columns, {**made.about, "base": "/home/me/b", "tuned": "/home/me/secret/t"})
    said = [Finding("x", "note", "/home/me/secret/t is odd")]
    text = spoken.findings(diff, said, "/home/me/b → /home/me/secret/t", "markdown")
    assert "/home" not in text and text.startswith("## b → t") and "| t is odd |" in text


def test_an_address_on_the_net_stays() -> None:
    about = {"base": "https://example.org/a/b.safetensors", "tuned": "s3://bucket/a/b"}
    assert published(about) == about
