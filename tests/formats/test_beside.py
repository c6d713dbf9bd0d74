"""What lies beside weights, of one folder: which files count, and how much of them is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftdiff.formats import beside
from ftdiff.formats.beside import SideFiles, side_files


def test_files_of_code_and_pickles_are_told_by_their_endings(tmp_path: Path) -> None:
    for name in (
        "a.py",
        "B.PY",
        "c.so",
        "d.pt",
        "e.BIN",
        "f.bin",
        "f.xml",
        "g.txt",
        "h.safetensors",
    ):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deep.py").touch()
    found = side_files(tmp_path)
    assert found.code == ("B.PY", "a.py", "c.so") and found.pickles == ("d.pt", "e.BIN")


def test_a_file_speaks_for_its_folder_where_a_configuration_is_there(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    file.touch()
    (tmp_path / "other.pt").touch()
    assert side_files(file).pickles == ("other.pt",)  # of all the weights here, the only ones
    (tmp_path / "two.safetensors").touch()
    assert side_files(file) == side_files(tmp_path / "gone") == SideFiles()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert side_files(file).pickles == ("other.pt",)


def test_templates_of_every_age_are_one_table(tmp_path: Path) -> None:
    records = [{"name": "default", "template": "old"}, {"name": "rag", "template": "r\r\n"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": records}))
    assert side_files(tmp_path).templates == {"default": "old", "rag": "r"}
    (tmp_path / "chat_template.jinja").write_text("new\n")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool.jinja").write_text("t")
    found = side_files(tmp_path)
    assert found.templates == {"default": "new", "rag": "r", "tool": "t"} and found.twice
    (tmp_path / "chat_template.jinja").write_text("old")
    assert not side_files(tmp_path).twice


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 32)
    found = side_files(tmp_path)
    assert {*found.unread} == {"tokenizer_config.json", "chat_template.jinja"}
    assert all("too large" in why for why in found.unread.values())


def test_a_folder_of_very_many_files_is_looked_at_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_MOST", 5)
    for i in range(20):
        (tmp_path / f"{i}.py").touch()
    assert len(side_files(tmp_path).code) == 5
