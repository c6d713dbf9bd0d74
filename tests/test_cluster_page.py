"""The page about clusters: its Python runs, its commands have their options, manifests agree."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
import yaml

import ftdiff
from ftdiff.cli import ftdiff as door
from tests.conftest import FIXTURES
from tests.integrations.ray_stub import Ray

PAGE = (Path(__file__).parents[1] / ".docs" / "pages" / "cluster.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for schedulers that are not here: Dask within this process, and Ray."""
    import distributed

    within = partial(distributed.LocalCluster, processes=False, n_workers=1, dashboard_address=None)

    def slurm(*, cores: int, processes: int, memory: str, walltime: str, **more: Any) -> Any:
        assert {*more} == {"job_script_prologue"}
        cluster = within()
        scale = cluster.scale
        cluster.scale = lambda workers=1, *, jobs=4: scale(workers)
        return cluster

    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(FIXTURES / "base")
    (tmp_path / "tuned").symlink_to(FIXTURES / "lora")
    monkeypatch.setattr(distributed, "LocalCluster", lambda **_: within())
    monkeypatch.setitem(sys.modules, "dask_jobqueue", SimpleNamespace(SLURMCluster=slurm))
    monkeypatch.setitem(sys.modules, "ray", Ray(2, running=False))


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
@pytest.mark.usefixtures("clusters")
@pytest.mark.parametrize("code", blocks("python"), ids=range(len(blocks("python"))))
def test_what_is_written_in_python_gives_the_serial_bits(code: str) -> None:
    held: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(code, held)  # noqa: S102
    finally:
        for name in ("client", "cluster"):
            if name in held:
                held[name].close()
    alone = ftdiff.compare("base/", "tuned/").columns
    saved = ftdiff.load("diff.json").columns
    assert np.array_equal(saved["delta_sq"], alone["delta_sq"], equal_nan=True)


def commands() -> list[list[str]]:
    found = [
        shlex.split(line.rstrip("& ")) for block in blocks("sh") for line in block.splitlines()
    ]
    for one in manifests():
        for container in _containers(one):
            found.append([*container["command"], *container.get("args", [])])
    return [words for words in found if words]


def manifests() -> list[dict[str, Any]]:
    (text,) = blocks("yaml")
    return [*yaml.safe_load_all(text)]


def _containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"].get("template", {}).get("spec", {})
    return [*spec.get("containers", [])]


def test_commands_have_the_options_that_they_are_given() -> None:
    seen = []
    for words in commands():
        if "dask" in words:
            name, *options = words[words.index("dask") + 1 :]
            command = importlib.import_module(f"distributed.cli.dask_{name}").main
        elif words[0] == "ftdiff":
            name, *options = words[1:]
            command = door.get_command(click.Context(door), name)
        else:
            continue
        command.make_context(name, options)
        seen.append(name)
    assert seen == ["compare"] * 2 + ["scheduler", "worker", "compare"] * 2


def test_manifests_speak_of_the_same_scheduler_and_image() -> None:
    kinds = {(one["kind"], one["metadata"]["name"]): one for one in manifests()}
    service = kinds["Service", "ftdiff-scheduler"]["spec"]
    scheduler = kinds["Deployment", "ftdiff-scheduler"]["spec"]
    for one in (scheduler, kinds["Deployment", "ftdiff-worker"]["spec"]):
        assert one["selector"]["matchLabels"] == one["template"]["metadata"]["labels"]
    assert service["selector"] == scheduler["selector"]["matchLabels"]
    containers = [held for one in manifests() for held in _containers(one)]
    assert len({held["image"] for held in containers}) == 1
    address = f"tcp://ftdiff-scheduler:{service['ports'][0]['port']}"
    told = [word for words in commands() for word in words if word.startswith("tcp://ftdiff")]
    assert told == [address] * 2
    for one in manifests():
        spec = one["spec"].get("template", {}).get("spec", {})
        mounts = {m["name"] for held in _containers(one) for m in held.get("volumeMounts", [])}
        assert mounts == {volume["name"] for volume in spec.get("volumes", [])}
