"""The README is held to what the project does: snippets run, pictures and blocks are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})  # noqa: S102


def test_there_are_snippets_and_each_shell_block_is_run_by_ci() -> None:
    assert SNIPPETS
    blocks = re.findall(r"(.*)\n```sh\n", README)
    assert {re.sub(r"<!-- run: (\w+) -->", r"\1", block) for block in blocks} == {
        "setup",
        "tests",
        "shell",
        "hub",
    }


def test_every_linked_file_is_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / ".docs" / "pages").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_every_command_is_shown() -> None:
    from ftdiff.cli import COMMANDS

    for name in COMMANDS:
        assert f"ftdiff {name}" in README, name


def test_nothing_is_named_that_a_reader_does_not_have() -> None:
    assert "shared/" not in README
    assert "BENCH_TABLE" not in README
