"""Claims at the shell: made, verified, and a card held to one; codes 0, 1 and 2, a line each."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ftdiff
from ftdiff.analyses.claims.predicate import decoded
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall, BadFile
from tests.analyses.claimed import Payload, changed, written_pair


def _run(*args: object) -> Result:
    return CliRunner().invoke(door, [*map(str, args)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair, its diff, a key, the claim in the fine-tune's folder, and a card there."""
    at = tmp_path_factory.mktemp("claims")
    base, tuned = written_pair(at)
    ftdiff.compare(str(base), str(tuned)).save(at / "diff.json")
    made = _run("attest", at / "diff.json", "--new-key", at / "my.key", "-o", tuned / "c.jsonl")
    assert made.exit_code == 0, made.exception
    again = _run("attest", at / "diff.json", "--key", at / "my.key", "-o", tuned / "c.jsonl")
    assert "nothing was added" in again.output
    assert _run("card", at / "diff.json", tuned / "README.md").exit_code == 0
    return at


def test_a_claim_is_made_in_one_command_and_verified(folder: Path) -> None:
    assert stat.S_IMODE((folder / "my.key").stat().st_mode) == 0o600
    call = ("verify-claim", folder / "tuned" / "c.jsonl", folder / "base", folder / "tuned")
    done = _run(*call, "--key", folder / "my.key.pub")
    assert done.exit_code == 0 and done.output.startswith("verified\n")
    assert "tuned: the same tensors, and other files: README.md" in done.output  # the card's since
    assert "c.jsonl" not in done.output.partition("other files")[2]
    told = json.loads(_run(*call, "--format", "json").output)
    assert told["verdict"] == "recomputed" and told["format"] == "ftdiff.claim/1"
    assert _run(*call, "--sample", 2, "--format", "csv").output.count(",equal,") == 2


def test_what_does_not_hold_is_one_line_and_1(folder: Path, tmp_path: Path) -> None:
    def change(statement: Payload) -> None:
        statement["predicate"]["rows"][2][17] = "0x1.0p+0"

    path = tmp_path / "c.jsonl"
    path.write_text(changed((folder / "tuned" / "c.jsonl").read_text(), change))
    done = _run("verify-claim", path, folder / "base", folder / "tuned")
    assert done.exit_code == 1 and done.output.count("\n") == 1
    assert done.output.startswith("other numbers: ")
    assert "base_sq is 0x1p+0 (1) in the claim and 0x" in done.output
    path.write_text("what?")
    done = _run("verify-claim", path, folder / "base", folder / "tuned")
    assert isinstance(done.exception, BadFile)  # which the door prints in a line, with 2


def test_help_teaches_with_an_example() -> None:
    for command in ("attest", "verify-claim", "card"):
        text = _run(command, "--help").output
        assert f"ftdiff {command} " in text.partition("Options:")[0].partition("\n\n")[2]
        assert "--key" in text


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("attest", "takes a diff.json and a --key"),
        ("attest diff.json", "needs --key KEY; ftdiff attest --new-key"),
        ("card --check README.md diff.json --to json", "writes nothing"),
        ("card diff.json README.md --key k", "--key is for --check"),
        ("card --check tuned/README.md diff.json --key my.key.pub", "which nobody signs"),
    ],
)
def test_a_call_that_contradicts_itself_is_one_line(
    call: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    error = _run(*call.split()).exception
    assert isinstance(error, BadCall) and said in str(error)


def test_a_card_is_held_to_a_claim_or_a_diff(folder: Path) -> None:
    card, claims = folder / "tuned" / "README.md", folder / "tuned" / "c.jsonl"
    for more in ([folder / "diff.json"], [claims], [claims, "--key", folder / "my.key.pub"]):
        done = _run("card", "--check", card, *more)
        assert done.exit_code == 0 and "every number is that of" in done.output, done.output
    assert "unsigned" in _run("card", "--check", card, claims).output


def _card_numbers(text: str) -> list[tuple[str, str, str]]:
    """Return changes of a card: what is there, what is put, and what is said of it."""
    row = next(line for line in text.splitlines() if line.startswith("| attn.q"))
    cell = row.split("|")[2].strip()
    whole = text.partition("‖ΔW‖/‖W‖ = ")[2].split(" ")[0]
    sha = text.partition("header sha256 ")[2][:16]
    return [
        (row, row.replace(cell, f"{cell}1"), "the table: 'attn.q', ‖ΔW‖/‖W‖ is"),
        (row + "\n", "", "the table: 'attn.q' is in the claim, and not in the card"),
        (row, f"{row}\n{row}", "the table: a row stands in it twice"),
        (row, row.replace("attn.q", "attn.k2"), "'attn.q' is in the claim"),
        (f"= {whole} ", f"= 1{whole} ", f"1{whole} in the card is {whole} in the claim"),
        (sha, f"0000{sha[4:]}", f"{sha} in the claim"),
        ("100.0%", "99.0%", "99.0% in the card is 100.0% in the claim"),
        ("largest 0.", "largest 1.", "the figure: 1."),
    ]


@pytest.mark.parametrize("at", range(8))
def test_a_changed_number_of_a_card_is_named(at: int, folder: Path, tmp_path: Path) -> None:
    text = (folder / "tuned" / "README.md").read_text()
    old, new, said = _card_numbers(text)[at]
    assert text.count(old), old
    card = tmp_path / "README.md"
    card.write_text(text.replace(old, new, 1))
    for source in (folder / "diff.json", folder / "tuned" / "c.jsonl"):
        done = _run("card", "--check", card, source)
        assert (done.exit_code, done.output.count("\n")) == (1, 1)
        assert said in done.output, done.output


def test_other_words_of_a_card_are_not_its_numbers(folder: Path, tmp_path: Path) -> None:
    text = (folder / "tuned" / "README.md").read_text()
    card = tmp_path / "README.md"
    card.write_text(
        "# Mine\n\n7 of 8.\n" + text.replace("would give", "gives").replace("\n", "\r\n")
    )
    assert _run("card", "--check", card, folder / "diff.json").exit_code == 0
    card.write_text("# Mine\n")
    error = _run("card", "--check", card, folder / "diff.json").exception
    assert isinstance(error, BadFile) and "no section of ftdiff's" in str(error)
    error = _run("card", "--check", tmp_path / "none.md", folder / "diff.json").exception
    assert isinstance(error, BadFile) and "no such card" in str(error)


def test_a_card_held_to_a_damaged_claim_is_1(folder: Path, tmp_path: Path) -> None:
    line = (folder / "tuned" / "c.jsonl").read_text()
    path = tmp_path / "c.jsonl"
    path.write_text(line[:-30])
    done = _run("card", "--check", folder / "tuned" / "README.md", path)
    assert done.exit_code == 1 and "cut short" in done.output
    path.write_text(changed(line, lambda s: s["predicate"]["about"].update(coverage=1.0)))
    done = _run("card", "--check", folder / "tuned" / "README.md", path, "--key",
                folder / "my.key.pub")  # fmt: skip
    assert done.exit_code == 1 and "changed since it was signed" in done.output


def test_a_number_in_hexadecimal_is_read_as_it_was_written() -> None:
    for value in (0.1, -2.5e-310, 1e308, 0.0, float("-inf")):
        assert decoded(value.hex()) == value
    for wrong in ("1.5", "0x", "0x1.8", "0x1.8p+99999", "nan", " 0x1.0p+0", None, 3):
        with pytest.raises(ValueError, match="no number in hexadecimal"):
            decoded(wrong)  # type: ignore[arg-type]
