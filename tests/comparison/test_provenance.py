"""What a result was made from: files told apart, and a time that can be fixed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import ftdiff
from tests.conftest import FIXTURES


def test_base_and_fine_tune_have_one_header_and_other_pages() -> None:
    sources = ftdiff.compare(FIXTURES / "base", FIXTURES / "merged").about["sources"]
    files = [sources[side][0]["files"] for side in ("base", "tuned")]
    for base, tuned in zip(*files, strict=True):
        assert base["bytes"] == tuned["bytes"] and base["header_sha256"] == tuned["header_sha256"]
        assert base["pages_sha256"] != tuned["pages_sha256"]
        assert Path(base["path"]).is_file() and "sha256" not in base


def test_a_digest_of_pages_sees_the_ends_and_reads_little(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    W = np.zeros((1024, 512), np.float32)
    save_file({"w": W}, tmp_path / "base.safetensors")
    digests = set()
    for place in ((0, 0), (-1, -1), (512, 0)):
        changed = W.copy()
        changed[place] = 1
        save_file({"w": changed}, tmp_path / "tuned.safetensors")
        about = ftdiff.compare(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors").about
        digests.add(about["sources"]["tuned"][0]["files"][0]["pages_sha256"])
        digests.add(about["sources"]["base"][0]["files"][0]["pages_sha256"])
    assert len(digests) == 3  # base, first page, last page; the entry between no page was missed


def test_a_file_is_hashed_whole_where_it_is_asked_for() -> None:
    sources = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora", hash=True).about["sources"]
    for side in ("base", "tuned"):
        for file in sources[side][0]["files"]:
            assert file["sha256"] == hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest()


def test_what_is_in_memory_has_no_files() -> None:
    W = {"h.0.q_proj.weight": np.ones((2, 2), np.float32)}
    about = ftdiff.compare(W, W).about
    assert about["sources"]["base"] == [{"source": "dict in memory", "files": []}]


def test_the_time_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    about = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora").about
    assert about["created"] == "1970-01-02T00:00:00+00:00"
    for odd in ("", "soon", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", odd)
        assert ftdiff.compare(None, FIXTURES / "lora").about["created"] > "2020"
