"""Every command in terminals of any width, without colour, of few letters, and into `head`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

import ftdiff
from ftdiff.cli import COMMANDS
from tests.analyses.claimed import claimed, keypair
from tests.analyses.probed_models import labelled, written_model, written_rows
from tests.cases.situations import CONFIG, merged, write_base, write_lora
from tests.cli.pseudo_terminal import Seen, in_terminal, into_head
from tests.conftest import write_model

#: By command, its arguments in a folder as `home` makes it, and its exit code.
CALLS: dict[str, tuple[str, int]] = {
    "compare": ("base lora", 0),
    "inspect": ("lora --base base", 0),
    "parts": ("base lora", 0),
    "audit": ("base base", 1),
    "verify": ("base lora merged", 0),
    "recover": ("base merged", 0),
    "attest": ("diff.json --key my.key -o again.jsonl", 0),
    "verify-claim": ("claims.jsonl base lora --key my.key.pub", 0),
    "similarity": ("lora merged --base base", 0),
    "trajectory": ("base lora merged --order given", 0),
    "lineage": ("lora_merged base other", 0),
    "merge-of": ("merged base other", 0),
    "importance": ("tiny --text answers.jsonl --max-texts 2 --max-tokens 8 -m skip", 0),
    "probe": ("tiny --data answers.jsonl --position -1 --layer 0 --permutations 100", 0),
    "drift": ("tiny tiny --text answers.jsonl --max-texts 2 --max-tokens 8", 0),
    "findings": ("diff.json", 0),
    "plot": ("diff.json -o x.svg --bare", 0),
    "report": ("diff.json -o x.html", 0),
    "card": ("diff.json --to markdown", 0),
    "help": ("depth-trend", 0),
    "metrics": ("", 0),
    "completion": ("bash", 0),
}
#: What a matrix drawn in characters, or a table, has and a sentence has not.
ALIGNED = re.compile(r"(\S {2,}\S+){3}|[░▒▓█]{3}")
#: Colours show what shades do without them.
SHADES = str.maketrans("░▒▓█", "    ")
Seeing: TypeAlias = Callable[..., Seen]
COLOUR = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9\d|10\d)[;m]")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    base, lora = write_base(folder / "base"), write_lora(folder / "lora")
    for name in ("merged", "lora_merged"):
        write_model(folder / name, merged(), config=CONFIG)
    other = {name: 2 * tensor for name, tensor in merged().items()}
    write_model(folder / "other", other, config=CONFIG)
    written_model(folder / "tiny")
    written_rows(labelled(30), folder / "answers.jsonl")
    ftdiff.compare(base, lora).save(folder / "diff.json")
    key, public = keypair(folder)
    claimed(base, lora, key, folder / "claims.jsonl")
    key.rename(folder / "my.key")
    public.rename(folder / "my.key.pub")
    return folder


@pytest.fixture(scope="module")
def seen(home: Path) -> Seeing:
    """Return what a command shows: `seen(command, columns, encoding, **env)`."""

    @cache
    def found(command: str, columns: int, encoding: str = "utf-8", env: str = "") -> Seen:
        arguments = [command, "--no-progress", *CALLS[command][0].split()]
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(home)
            (home / "again.jsonl").unlink(missing_ok=True)
            named = dict([env.split("=")]) if env else {}
            return in_terminal(arguments, columns=columns, encoding=encoding, env=named)

    return found


def test_every_command_is_called() -> None:
    assert set(CALLS) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_aligned_fits_at_any_width_and_the_verdict_is_the_same(
    command: str, seen: Seeing
) -> None:
    for columns, env in ((200, "TERM=dumb"), (80, ""), (60, "NO_COLOR=1")):
        shown = seen(command, columns, env=env)
        assert shown.code == CALLS[command][1], shown.err
        assert (shown.out + shown.err).strip()
        for line in plain(shown.text).splitlines():
            assert len(line) <= columns or not ALIGNED.search(line), line


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("card", "completion")])
def test_sentences_are_broken_between_words(command: str, seen: Seeing) -> None:
    """But for what is to be pasted: a card, a shell's script."""
    for columns, env in ((80, ""), (60, "NO_COLOR=1")):
        for line in plain(seen(command, columns, env=env).text).splitlines():
            assert len(line) <= columns or " " not in line.strip(), line


@pytest.mark.parametrize("command", COMMANDS)
def test_no_colour_where_none_is_wanted_and_no_escape_on_a_dumb_terminal(
    command: str, seen: Seeing
) -> None:
    without, dumb = seen(command, 60, env="NO_COLOR=1"), seen(command, 200, env="TERM=dumb")
    assert not COLOUR.search(without.out + without.err)
    assert b"\x1b" not in dumb.out + dumb.err


@pytest.mark.parametrize("command", ["compare", "inspect", "metrics"])
def test_the_same_is_said_with_and_without_colour(command: str, seen: Seeing) -> None:
    for env in ("NO_COLOR=1", "TERM=dumb"):
        without = plain(seen(command, 80, env=env).text)
        assert without.translate(SHADES) == plain(seen(command, 80).text).translate(SHADES)
    assert COLOUR.search(seen("compare", 80).out)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_of_few_letters_spells_the_others(command: str, seen: Seeing) -> None:
    shown, whole = seen(command, 80, "ascii"), seen(command, 80)
    assert shown.code == whole.code
    assert (shown.out + shown.err).isascii()
    assert b"Traceback" not in shown.err
    letters = [line for line in plain(shown.text).splitlines() if "???" in line]
    assert not letters  # a picture of question marks shows nothing


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_leaves_changes_no_exit_code(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "again.jsonl").unlink(missing_ok=True)
    shown = into_head([command, "-q", *CALLS[command][0].split()])
    assert shown.code == CALLS[command][1]
    assert shown.out.count(b"\n") <= 1
    assert (
        b"Error" not in shown.err and b"Traceback" not in shown.err and b"Broken" not in shown.err
    )


def plain(text: str) -> str:
    """Return text without what steers a terminal."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
