"""What the project promises of itself: light at the door, documented, small."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ftdiff

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ftdiff"


def _loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import ftdiff",
        "import ftdiff.__main__",
        "import ftdiff as f; f.open_tuned('fixtures/lora', f.open_checkpoint('fixtures/base'))",
    ],
)
def test_nothing_heavy_is_loaded_at_the_door(code: str) -> None:
    heavy = {"torch", "peft", "transformers", "matplotlib", "seaborn", "pandas", "scipy"}
    assert not _loaded(code) & heavy


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ("inspect fixtures/lora", []),
        ("compare fixtures/base fixtures/lora", ["llvmlite"]),
        ("compare fixtures/base fixtures/full", ["llvmlite"]),
        ("compare fixtures/base fixtures/lora --format csv", ["llvmlite"]),
        ("audit fixtures/base fixtures/lora", ["llvmlite", "pandas"]),
        ("trajectory fixtures/base fixtures/run", ["llvmlite", "pandas"]),
        (
            "similarity --base fixtures/base fixtures/lora fixtures/rslora",
            ["llvmlite", "pandas", "scipy"],
        ),
    ],
    ids=str,
)
def test_a_command_loads_no_library_that_it_does_not_use(call: str, allowed: list[str]) -> None:
    loaded = _loaded(
        "from ftdiff.cli import ftdiff as f\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as printed, "
        "contextlib.suppress(SystemExit):\n"
        f"    f({call.split()!r}, standalone_mode=False)\n"
        "assert printed.getvalue().strip()"
    )
    assert "ftdiff" in loaded
    heavy = {"torch", "peft", "matplotlib", "seaborn", "pandas", "scipy", "jinja2", "llvmlite"}
    assert not (loaded & heavy).difference(allowed)


def test_help_loads_less_than_pandas() -> None:
    from_pandas = _loaded("import pandas")
    from_help = _loaded(
        "from ftdiff.cli import ftdiff as f\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    f(['--help'], standalone_mode=False)"
    )
    assert "numpy" not in from_help
    assert len(from_help) < len(from_pandas)


def test_the_front_door_is_what_is_public() -> None:
    assert ftdiff.__all__ == sorted(ftdiff.__all__)
    assert dir(ftdiff) == ftdiff.__all__
    for name in ftdiff.__all__:
        assert inspect.getdoc(getattr(ftdiff, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ftdiff.nonsense


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_a_file_is_one_idea(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert text.startswith('"""'), "a module opens with one sentence that says what it is"
    assert path.stem not in {"utils", "util", "common", "core", "helpers", "types", "misc"}


def test_heavy_libraries_are_named_in_extras() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    core = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert core
    for heavy in ("torch", "peft", "transformers", "distributed", "pyarrow", "gguf"):
        assert f'"{heavy}' not in core[1]


def test_a_missing_extra_is_one_line_with_the_command() -> None:
    code = "import sys; sys.modules['distributed'] = None; from ftdiff.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", "a", "b", "--dask", "tcp://x:1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "ftdiff: --dask needs distributed: pip install 'ftdiff[dask]'\n"
