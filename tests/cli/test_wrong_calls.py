"""Each wrong call is one line that begins with ftdiff, names the way out, and exits with 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ftdiff
from tests.cases.situations import write_base, write_lora
from tests.cli.pseudo_terminal import Seen, in_terminal

#: By kind of mistake: the call, in a folder as `home` makes it, and what the line says.
WRONG: tuple[tuple[str, str], ...] = (
    # commands, options and words that do not exist: the near one, whatever the case
    ("comapre base lora", "ftdiff: no command is called 'comapre'; did you mean 'compare'?"),
    ("COMPARE base lora", "no command is called 'COMPARE'; did you mean 'compare'?"),
    ("xyzzy", "no command is called 'xyzzy'; there are compare, inspect"),
    ("diff base lora", "no command is called 'diff'; compare does that"),
    ("help rank", "called 'rank'; there are stable_rank, effective_rank"),
    ("help depth-tren", "called 'depth-tren'; did you mean 'depth-trend'?"),
    ("compare base lora -m lift,rotation", "'lift,rotation': one metric or group a time; repeat"),
    ("compare base lora --metrc x", "compare: there is no option --metrc; did you mean '--metric'"),
    ("compare base lora --METRIC x", "there is no option --METRIC; did you mean '--metric'?"),
    ("compare base lora --format JSON", "--format: 'JSON' is not one of table, json, csv; did you"),
    ("compare base lora -m Relative_Norm", "'Relative_Norm'; did you mean 'relative_norm'?"),
    ("compare base lora -m spectrla", "did you mean 'spectral'"),
    ("plot diff.json --style Modules", "no figure is called 'Modules'; did you mean 'modules'?"),
    ("plot diff.json --normalise Row", "'component', 'row' or 'none'; did you mean 'row'?"),
    ("plot diff.json --style profile --by Blokc", "or 'layer'; did you mean 'block'?"),
    ("metrics Lift", "no metric is called 'Lift'; did you mean 'lift'?"),
    ("metrics --group Spectral", "called 'Spectral'; did you mean 'spectral'?"),
    ("parts base lora 0.self_attn.Q_proj.weight", "did you mean"),
    ("importance base --text t -m Skip", "'Skip' is not one of skip, zero"),
    ("completion Bash", "'Bash' is not one of bash, zsh, fish; did you mean 'bash'"),
    # what is missing, of another type, or contradicts itself
    ("compare", "compare: missing argument [BASE] TUNED [TUNED]... (ftdiff compare --help)"),
    ("drift base lora", "drift: missing option --text"),
    ("compare base lora -j x", "-j / --jobs: 'x' is not a valid integer"),
    ("compare base lora -j 0", "-j 0: at least one thread is needed"),
    ("compare base lora --min-coverage 2", "--min-coverage: 2.0 is not in the range 0<=x<=1"),
    ("compare base lora merged", "several TUNED: only with --facet"),
    ("compare base lora --fresh", "--fresh: only with -o"),
    ("compare base lora --output=", "-o / --output: an empty path: '.' is this folder"),
    ("compare base lora --memory 400", "--memory 400 bytes: any comparison needs"),
    ("card diff.json", "card takes a README to write, or --to FORMAT"),
    ("audit base lora --policy", "option '--policy' requires an argument"),
    # selections
    ("compare base lora --layers 0-", ""),
    ("compare base lora --layers x", "--layers x: layers are numbers and ranges, as 0-7"),
    ("compare base lora --layers 5-2", "--layers 5-2: 5-2 ends before it begins"),
    ("compare base lora --layers 90", "--layers 90 fits none of 39 tensors; layers are 0-3"),
    ("compare base lora --include Q_PROJ", "fits none of 39 tensors; did you mean 'q_proj'?"),
    ("compare base lora --top 0", "--top: 0 is not in the range x>=1"),
    ("plot similarity.json --top 3", "similarity.json: a saved similarity; --top 3 is of a diff"),
    # paths
    ("compare nowhere lora", "nowhere: no such file or folder"),
    ("inspect nowhere", "nowhere: no such file or folder"),
    ("compare bsae lora", "bsae: no such file or folder; did you mean 'base'?"),
    ("lineage lora base", "no weights of its base; ftdiff audit BASE ADAPTER says whether"),
    ("plot nowhere.json", "nowhere.json: No such file or directory"),
    ("compare lora base", "the base is an adapter: are the two swapped?"),
    ("plot base", "base: a folder, not a saved result; ftdiff compare BASE base -o out/"),
    ("plot out", "out: a folder; the saved result in it is out/diff.json"),
    ("compare out", "out/diff.json: a saved diff, and no weights; findings, plot, report, audit"),
    ("audit out", "out/diff.json: a saved diff, and no weights; findings, plot, report, audit"),
    ("compare diff.json", "diff.json: a saved diff, and no weights; findings, plot, report, audit"),
    ("compare empty", "empty: no weights here (looked for"),
    ("compare base", "base: adapter_config.json, README.md and the file's header name no base"),
    ("plot diff.json -o x.gif", "x.gif: a figure is saved as .png, .svg, .pdf"),
    ("compare base lora -o diff.json", "diff.json: a file; -o names a folder"),
    # files of ours where another is meant
    ("compare diff.json lora", "diff.json: a saved diff, and no weights; findings, plot, report"),
    ("inspect diff.csv", "diff.csv: the table of a diff, and no weights; diff.json is the whole"),
    ("plot diff.csv", "diff.csv: the table of a diff; diff.json is the whole"),
    ("report similarity.csv", "similarity.csv: the table of a similarity; similarity.json is"),
    ("findings out/journal.sqlite", "out/journal.sqlite: a journal of what was measured"),
    ("report out/report.html", "out/report.html: a page, as `ftdiff report` writes it"),
    ("plot out/heatmap.svg", "out/heatmap.svg: a picture; plot draws one"),
    ("audit similarity.json", "a saved similarity; audit takes a diff, and a similarity findings"),
    ("card similarity.json --to html", "a saved similarity; card takes a diff"),
    ("attest similarity.json --key k", "a saved similarity; attest takes a diff"),
    ("audit base lora --policy diff.json", "diff.json: a saved diff, not a policy"),
    ("plot policy.toml", "policy.toml: a policy; `ftdiff audit … --policy` takes it"),
    ("plot untagged.toml", "untagged.toml: a policy; `ftdiff audit … --policy` takes it"),
    ("verify-claim diff.json base lora", "diff.json: a saved diff, not claims"),
    ("importance base --text diff.json", "diff.json: a saved diff, not text"),
    ("probe base --data diff.json", "diff.json: a saved diff, not rows of a probe"),
    ("trajectory base lora --append diff.json", "diff.json: a saved diff, not a saved trajectory"),
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    base, lora = write_base(folder / "base"), write_lora(folder / "lora")
    diff = ftdiff.compare(base, lora)
    for where in (folder, folder / "out"):
        diff.save(where / "diff.json")
    diff.save(folder / "diff.csv")
    (folder / "empty").mkdir()
    alike = ftdiff.similarity([lora, write_lora(folder / "other")], base)
    alike.save(folder / "similarity.json")
    alike.save(folder / "similarity.csv")
    (folder / "out" / "journal.sqlite").write_bytes(b"SQLite format 3\0" + bytes(80))
    (folder / "out" / "report.html").write_text("<!doctype html><title>ftdiff: a</title>")
    (folder / "out" / "heatmap.svg").write_text('<?xml version="1.0"?>\n<svg xmlns="x"></svg>')
    (folder / "policy.toml").write_text('format = "ftdiff.policy/1"\n')
    (folder / "untagged.toml").write_text('[rules]\nnothing-moved = "caution"\n')
    return folder


def shown(call: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.chdir(home)
    return in_terminal(call.split(), columns=200, env={"TERM": "dumb"})


@pytest.mark.parametrize(("call", "said"), [one for one in WRONG if one[1]], ids=lambda x: str(x))
def test_a_wrong_call_is_one_line_and_exits_with_two(
    call: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = shown(call, home, monkeypatch)
    line = done.err.decode().replace("\r\n", "\n")
    assert done.code == 2, line
    assert line.startswith("ftdiff: ") and line.count("\n") == 1, line
    assert said in line
    assert done.out == b""


def test_a_defect_is_no_failed_check(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftdiff.analyses import inspection

    def broken(*given: object) -> None:
        raise TypeError("unsupported\noperand")

    monkeypatch.setattr(inspection, "inspect", broken)
    done = shown("inspect lora", home, monkeypatch)
    assert done.code == 70
    line = done.err.decode().strip()
    assert line.startswith("ftdiff: a defect of ftdiff, not of your files: TypeError: unsupported")
    assert "\n" not in line and "test_wrong_calls.py:" in line
    assert "Traceback" in shown("inspect lora -v", home, monkeypatch).err.decode()


def test_a_full_disk_is_one_line_and_two(home: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    line = "ftdiff: standard output: No space left on device\n"
    program = [sys.executable, "-m", "ftdiff"]
    for call in ("metrics", "--help", "compare base lora --format json", "audit base base"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*program, *call.split()], stdout=full, stderr=subprocess.PIPE, text=True,
                cwd=home, env={**os.environ, "PYTHONPATH": str(Path(ftdiff.__file__).parents[1])},
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, line), call


def test_a_file_that_cannot_be_written_is_one_line_and_two(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    from unittest import mock

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for call in ("plot diff.json -o x.png", "report diff.json -o x.html"):
        with mock.patch("os.replace", side_effect=full):
            done = shown(call, home, monkeypatch)
        name = call.split()[-1]
        line = f"ftdiff: {name}: cannot be written (No space left on device)"
        assert (done.code, done.err.decode().strip()) == (2, line)
        assert not [path for path in home.iterdir() if path.name.startswith(".")]
