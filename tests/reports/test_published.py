from __future__ import annotations

import json

import pytest

from ftdiff.comparison.model_names import public_name
from ftdiff.reports.published import published


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


def test_an_address_on_the_net_stays() -> None:
    about = {"base": "https://example.org/a/b.safetensors", "tuned": "s3://bucket/a/b"}
    assert published(about) == about
