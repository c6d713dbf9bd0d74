"""Defaults of the working folder: how a command runs and shows, never what is demanded."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from ftdiff.cli import COMMANDS, settings
from ftdiff.cli import ftdiff as door
from ftdiff.cli.settings import SETTABLE
from ftdiff.errors import BadCall
from tests.cases.situations import write_base, write_lora
from tests.cli.pseudo_terminal import Seen, in_terminal


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base"), write_lora(tmp_path / "lora")

    def call(toml: str, call: str, below: str = ".") -> Seen:
        (tmp_path / "pyproject.toml").write_text(toml)
        (tmp_path / below).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / below)
        return in_terminal(call.split(), columns=200, env={"TERM": "dumb"})

    return call


def test_a_default_is_taken_and_what_the_call_says_goes_before(run) -> None:  # type: ignore[no-untyped-def]
    toml = '[tool.ftdiff]\njobs = 1\n[tool.ftdiff.compare]\nformat = "json"\nmetric = "rotation"\n'
    assert run(toml, "compare base lora").out.startswith(b'{\r\n "format"')
    assert b'"rotation":' in run(toml, "compare base lora").out
    assert run(toml, "compare base lora --format table").out.startswith(b"base ")
    done = run(toml, "compare base lora -v")
    said = "pyproject.toml: metric = ('rotation',), jobs = 1, format = 'json'"
    assert said in done.err.decode()
    assert b"format" not in run(toml, "compare base lora -v --format csv").err
    assert b"pyproject" not in run(toml, "compare base lora").err


def test_only_the_file_of_the_working_folder_is_read(run) -> None:  # type: ignore[no-untyped-def]
    toml = '[tool.ftdiff]\nformat = "json"\n'
    assert run(toml, "compare ../base ../lora", below="below").out.startswith(b"..")


def test_other_peoples_files_are_no_concern(run) -> None:  # type: ignore[no-untyped-def]
    for toml in ("[tool.other]\nx = 1\n", "this is no TOML", "[project]\nname = 'ftdiff'\n", ""):
        assert run(toml, "inspect lora").code == 0


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[tool.ftdiff]\nmin-coverage = 0.1\n", "[tool.ftdiff] cannot set 'min-coverage'; it is"),
        ("[tool.ftdiff.compare]\nstrict = false\n", "cannot set 'strict'; it is given in the call"),
        ("[tool.ftdiff.audit]\npolicy = 'x'\n", "cannot set 'policy'; it is given in the call"),
        ("[tool.ftdiff]\nkey = 'k'\n", "cannot set 'key'; it is given in the call"),
        ("[tool.ftdiff]\noutput = '/etc'\n", "cannot set 'output'; it is given in the call"),
        ("[tool.ftdiff]\nlayers = '0'\n", "cannot set 'layers'; it is given in the call"),
        ("[tool.ftdiff.plot]\ncmap = 'viridis'\n", "cannot set 'cmap'; it is given in the call"),
        ("[tool.ftdiff]\nmin_coverage = 1\n", "cannot set 'min_coverage'; it is given in the"),
        ("[tool.ftdiff]\nxyzzyq = 1\n", "[tool.ftdiff] cannot set 'xyzzyq': it is no option"),
        ("[tool.ftdiff]\nFormat = 'csv'\n", "cannot set 'Format'; did you mean 'format'?"),
        ("[tool.ftdiff]\nmax_text = 3\n", "cannot set 'max_text'; did you mean 'max-texts'?"),
        ("[tool.ftdiff.comapre]\njobs = 1\n", "no command is called 'comapre'"),
        ("[tool.ftdiff.inspect]\njobs = 1\n", ""),
        ("[tool.ftdiff.compare]\nstyle = 'x'\n", "sets style, and compare has no --style"),
        ("[tool.ftdiff]\njobs = 'many'\n", "pyproject.toml: jobs: 'many' is not a valid integer"),
        ("[tool.ftdiff]\nformat = 'JSON'\n", "format: 'JSON' is not one of table, json, csv; did"),
        ("[tool.ftdiff]\nquiet = 3\n", "quiet: 3 is neither true nor false"),
        ("[tool]\nftdiff = 3\n", "tool.ftdiff is no table"),
        ("[tool.ftdiff\n", "pyproject.toml: "),
    ],
)
def test_what_may_not_be_set_is_one_line(run, toml: str, said: str) -> None:  # type: ignore[no-untyped-def]
    if not said:
        assert run(toml, "compare base lora").code == 0  # another command's table
        return
    done = run(toml, "compare base lora")
    line = done.err.decode().replace("\r\n", "\n")
    assert done.code == 2 and line.startswith("ftdiff: pyproject.toml: ") and line.count("\n") == 1
    assert said in line and done.out == b""


def test_what_is_said_can_be_set(run) -> None:  # type: ignore[no-untyped-def]
    assert b"wrote a.key" in run("", "attest --new-key a.key").err
    done = run("[tool.ftdiff]\nquiet = true\n", "attest --new-key b.key")
    assert done.code == 0 and done.err == b""


def test_every_name_that_may_be_set_is_an_option_and_of_others_the_call_is_named() -> None:
    known = {
        word.removeprefix("--")
        for name in COMMANDS
        if (command := door.get_command(click.Context(door), name)) is not None
        for param in (*command.params, *door.params)
        for word in (*param.opts, *param.secondary_opts)
        if word.startswith("--")
    }
    assert known >= SETTABLE
    for name in known - SETTABLE:
        said = f"cannot set '{name}'; it is given in the call"
        with click.Context(door), pytest.raises(BadCall, match=said):
            settings._check(name, "[tool.ftdiff]")
