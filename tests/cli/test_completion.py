"""The shell completes commands, options, paths, metrics, styles, stacks and parts of names."""

from __future__ import annotations

import importlib
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import COMMANDS
from ftdiff.cli import ftdiff as door
from ftdiff.metrics import METRICS, groups
from tests.cases.situations import write_base, write_lora

SHELL = ShellComplete(door, {}, "ftdiff", "_FTDIFF_COMPLETE")


def words(line: str, incomplete: str = "") -> list[str]:
    """Return what is offered after a line."""
    return [item.value for item in SHELL.get_completions(line.split(), incomplete)]


def kinds(line: str, incomplete: str = "") -> set[str]:
    return {item.type for item in SHELL.get_completions(line.split(), incomplete)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    base, lora = write_base(folder / "base"), write_lora(folder / "lora")
    diff = ftdiff.compare(base, lora)
    stacks = ["text" if i % 2 else "vision" for i in range(len(diff.columns["tensor"]))]
    columns = {**diff.columns, "stack": ftdiff.comparison.frame.typed({"stack": stacks})["stack"]}
    return ftdiff.Diff(columns, diff.about).save(folder / "diff.json")


def test_commands_and_options_are_completed() -> None:
    assert words("") == [*COMMANDS]
    assert words("nonsense") == [*COMMANDS]
    assert words("", "ver") == ["verify", "verify-claim"]
    assert "--include" in words("compare", "--") and "--no-progress" in words("card", "--")
    assert words("compare", "--form") == ["--format"]
    assert words("compare --format", "") == ["table", "json", "csv"]


def test_metrics_and_groups_are_completed() -> None:
    every = {*METRICS, *groups()}
    assert {*words("compare -m")} == every and {*words("metrics")} == every
    assert {*words("plot diff.json -m")} == {*METRICS}
    assert words("compare -m", "spec") == [name for name in [*METRICS, *groups()]
                                           if name.startswith("spec")]  # fmt: skip
    assert {*words("metrics --group")} == {*groups()}
    assert "relative_norm" in words("findings x.json -m", "REL")


def test_topics_of_help_are_completed() -> None:
    assert {*COMMANDS, "relative_norm", "depth-trend", "nothing-moved"} <= {*words("help")}
    assert words("help", "DEPTH-T") == ["depth-trend"]


def test_styles_and_parts_of_names_are_completed(saved: Path) -> None:
    assert {"modules", "profile", "similarity", "courses"} <= {*words("plot x.json --style")}
    assert {"attn.q", "mlp.down"} <= {*words(f"plot {saved} --component")}
    assert words(f"plot {saved} --tensor", "lm") == ["lm_head.weight"]
    assert {"attn.q", "vision"} <= {*words(f"report {saved} --include")}
    assert "block" in words(f"plot {saved} --by")


def test_what_cannot_be_read_completes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": "ftdiff.diff/2"')
    for source in (tmp_path / "x.json", tmp_path / "none.json", tmp_path):
        assert words(f"plot {source} --tensor") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_is_completed_as_one(name: str) -> None:
    command = door.get_command(click.Context(door), name)
    assert command is not None
    paths = {"base", "tuned", "merged", "adapters", "candidates", "parents", "checkpoints", "sides",
             "path", "model", "source", "result", "diff", "readme", "claims", "output", "policy",
             "key", "check", "text", "data", "tokenizer", "earlier", "new_key", "against",
             "written"}  # fmt: skip
    for param in command.params:
        if param.name in paths:
            assert isinstance(param.type, click.Path), (name, param.name)
    first = next((p for p in command.params if isinstance(p, click.Argument)), None)
    if first is not None and first.name in paths:
        assert kinds(name, "x") == {"file"}


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_each_shell_gets_its_script(shell: type[ShellComplete]) -> None:
    done = CliRunner().invoke(door, ["completion", shell.name])
    assert done.exit_code == 0 and "_FTDIFF_COMPLETE=" in done.output
    assert "ftdiff" in done.output
    found = shell(door, {}, "ftdiff", "_FTDIFF_COMPLETE")
    item = found.get_completions(["compare"], "--top")[0]
    assert "--top" in found.format_completion(item)


def test_completing_a_command_imports_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(name))
    assert words("", "comp") == ["compare", "completion"]
