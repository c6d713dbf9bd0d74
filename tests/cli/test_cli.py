from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import COMMANDS
from ftdiff.cli import ftdiff as door
from tests.conftest import FIXTURES, llama, nudge, write_model

BASE, LORA, FULL = (str(FIXTURES / name) for name in ("base", "lora", "full"))
WRITTEN = {"diff.json", "diff.csv", "heatmap.png", "heatmap.svg", "report.html"}


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the real program in a process of its own."""
    command = [sys.executable, "-m", "ftdiff", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_compare_says_how_far_what_and_above_which_floor() -> None:
    done = run("compare", BASE, FULL)
    assert done.returncode == 0
    assert done.stderr == ""  # quiet when piped
    assert done.stdout.splitlines()[1].startswith("100.0% of the parameters compared")
    overall = ftdiff.compare(BASE, FULL).overall
    assert f"relative_norm {overall['relative_norm']:.4g}" in done.stdout
    assert f"precision_floor {overall['precision_floor']:.4g}" in done.stdout
    for component in ("attn.q", "mlp.gate", "norm.input"):
        assert component in done.stdout


def test_compare_writes_everything_or_nothing(tmp_path: Path) -> None:
    done = run("compare", BASE, LORA, "-o", tmp_path / "out")
    assert done.returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*WRITTEN, "journal.sqlite"}
    loaded = ftdiff.Diff.load(tmp_path / "out" / "diff.json")
    assert loaded.overall == ftdiff.compare(BASE, LORA).overall
    assert (tmp_path / "out" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (tmp_path / "out" / "report.html").read_text()


def test_the_formats_on_standard_output_paste() -> None:
    document = json.loads(run("compare", BASE, LORA, "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(run("compare", BASE, LORA, "--format", "csv").stdout)))
    assert len(document["tensors"]) == len(rows) == 338
    assert rows[0]["tensor"] == document["tensors"][0]["tensor"]


def test_without_a_base_an_adapter_gives_absolute_norms() -> None:
    done = run("compare", "-", LORA)
    assert done.returncode == 0
    assert "rms_change" in done.stdout
    assert "Without a base" in done.stdout


def test_a_low_coverage_exits_with_one(tmp_path: Path) -> None:
    base, tuned = llama(), nudge(llama())
    del tuned["lm_head.weight"]
    b, t = write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned)
    assert run("compare", b, t).returncode == 0
    done = run("compare", b, t, "--min-coverage", "0.999")
    assert done.returncode == 1
    assert "of the parameters were compared, 99.9% are asked for" in done.stderr


def test_a_tensor_that_cannot_be_read_exits_with_two_and_keeps_the_rest(tmp_path: Path) -> None:
    import peft
    from safetensors.torch import load_file, save_file

    assert peft
    state = load_file(Path(LORA) / "adapter_model.safetensors")
    state.pop("base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight")
    save_file(state, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text((Path(LORA) / "adapter_config.json").read_text())
    done = run("compare", BASE, tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert re.search(r"layers\.3\.self_attn\.q_proj.*lora_A \(4×36\).*no lora_B", done.stderr)
    assert "the rest is kept" in done.stderr
    diff = ftdiff.Diff.load(tmp_path / "out" / "diff.json")
    assert (diff.frame["status"] == "changed").sum() == 195


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "nowhere", FULL), "nowhere: no such file or folder"),
        (("compare", BASE, FULL, "-m", "relativ_norm"), "did you mean 'relative_norm'"),
        (("compare", BASE, FULL, "-j", "0"), "at least one thread"),
        (("compare", BASE, FULL, "--processes", "0"), "at least one process"),
        (("compare", BASE, FULL, "-j", "2", "--dask", "tcp://127.0.0.1:1"), "not both"),
        (("compare",), "missing argument [BASE] TUNED"),
        (("compare", BASE), "name no base; give it: ftdiff compare BASE"),
        (("compare", BASE, FULL, "--format", "xml"), "'xml' is not one of"),
        (("inspect", "nowhere"), "nowhere: no such file or folder"),
        (("plot", "nowhere.json"), "nowhere.json"),
        (("nonsense",), "no command is called 'nonsense'"),
    ],
)
def test_a_wrong_call_is_told_without_a_traceback(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_hostile_name_stays_on_its_line(tmp_path: Path) -> None:
    name = "model.layers.0.\x1b[31mq_proj\n.weight"
    write_model(tmp_path / "b", {name: torch.ones(3, 2)})
    write_model(tmp_path / "t", {name: torch.ones(4, 5)})
    done = run("compare", tmp_path / "b", tmp_path / "t")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


def test_hostile_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    names = ["a.\x1b[2J.weight", "b.[red]bold[/].weight", "c.\n.weight"]
    write_model(tmp_path / "b", {name: torch.ones(3, 2) for name in names})
    write_model(tmp_path / "t", {name: 2 * torch.ones(3, 2) for name in names[:1]})
    done = run("compare", tmp_path / "b", tmp_path / "t")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "[red]bold[/]" in done.stdout


def test_inspect_reads_headers_alone_and_says_the_scale() -> None:
    done = run("inspect", FIXTURES / "rslora")
    assert done.returncode == 0
    for said in ("rslora", "../base", "28 (0–27)", "α/√r = 6/√4, use_rslora", "8 × 28"):
        assert said in done.stdout
    assert "qwen2" in run("inspect", BASE).stdout


def test_plot_redraws_a_saved_diff_without_the_weights(tmp_path: Path) -> None:
    saved = ftdiff.compare(BASE, LORA).save(tmp_path / "diff.json")
    for ending in ("png", "svg", "pdf"):
        done = run("plot", saved, "-m", "rotation", "-o", tmp_path / f"x.{ending}")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"x.{ending}").stat().st_size > 1000


def test_metrics_teaches_every_metric() -> None:
    done = run("metrics")
    for name in ftdiff.metrics.METRICS:
        assert re.search(rf"^{name}  ", done.stdout, re.MULTILINE)


def test_every_command_has_help_with_an_example() -> None:
    for name in COMMANDS:
        shown = CliRunner().invoke(door, [name, "--help"])
        command = door.get_command(click.Context(door), name)
        assert shown.exit_code == 0
        assert command is not None and command.help
        examples = name == "metrics" or f"ftdiff {name} " in shown.output
        assert examples, f"{name} has no example"
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, option.name


def test_an_interrupt_leaves_no_half_written_file(tmp_path: Path) -> None:
    big = {"model.layers.0.mlp.up_proj.weight": torch.zeros(20_000, 2_000, dtype=torch.bfloat16)}
    b, t = write_model(tmp_path / "b", big), write_model(tmp_path / "t", big)
    command = [sys.executable, "-m", "ftdiff", "compare", str(b), str(t), "-o", str(tmp_path / "o")]
    for delay in (0.3, 0.8, 1.3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if process.returncode == 0:
            continue  # it was done already
        assert process.returncode in (130, -signal.SIGINT), said
        written = (
            {path.name for path in (tmp_path / "o").glob("*")}
            if (tmp_path / "o").exists()
            else set()
        )
        assert {name for name in written if not name.startswith("journal.")} <= WRITTEN


def test_a_closed_pipe_is_not_an_error() -> None:
    command = f"{sys.executable} -m ftdiff compare {BASE} {LORA} --format json | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_a_terminal_of_few_letters_is_no_traceback() -> None:
    done = run("compare", BASE, LORA, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "relative_norm" in done.stdout
