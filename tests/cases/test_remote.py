"""Models on the hub, against a server that speaks its API: what is asked, and the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import ftdiff
from ftdiff.analyses.inspection import inspect
from ftdiff.errors import BadCall, BadFile
from ftdiff.formats import place
from ftdiff.formats.remote import hub, ranges, urls
from tests.formats.web_server import Web, serving


@pytest.fixture
def web(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    from huggingface_hub import constants

    names = {f"org/{name}": fixtures / name for name in ("base", "full", "merged", "lora")}
    with serving(Web(names)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.hub)
        template = served.hub + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for cached in (hub.open_, ranges._head, ranges._opened, urls._head):
            cached.cache_clear()
        monkeypatch.chdir(tmp_path)
        yield served


def weights(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def same(one: ftdiff.Diff, other: ftdiff.Diff) -> None:
    pd.testing.assert_frame_equal(one.frame, other.frame, check_exact=True)


def test_inspect_takes_headers_only(web: Web, fixtures: Path) -> None:
    found = inspect("org/base")
    assert found.facts["layers"] == "28 (0–27)" and found.facts["source"] == "hf://org/base"
    assert found.components == inspect(fixtures / "base").components
    assert len(web.ranges()) == 1 and web.sent < 1_000_000


@pytest.mark.parametrize("cut", [0, 20])
def test_a_comparison_fetches_each_byte_once(web: Web, fixtures: Path, cut: int) -> None:
    web.cut = cut
    diff = ftdiff.compare("org/base", "hf://org/full@main")
    same(diff, ftdiff.compare(fixtures / "base", fixtures / "full"))
    whole = weights(fixtures / "base") + weights(fixtures / "full")
    assert web.sent <= 1.05 * whole
    assert diff.about["sources"]["base"][0]["files"][0]["path"] == "hf://org/base/model.safetensors"
    assert len(diff.about["sources"]["base"][0]["files"][0]["sha256"]) == 64


def test_an_adapter_asks_its_base_for_its_targets(web: Web, fixtures: Path) -> None:
    diff = ftdiff.compare("org/base", fixtures / "attention")
    same(diff, ftdiff.compare(fixtures / "base", fixtures / "attention"))
    frame = diff.frame
    targets = frame[frame.status == "changed"].numel.sum() * 2
    asked = sum(stop - start for start, stop in web.ranges())
    assert asked <= targets + 2 * ranges.HEAD
    frame = ftdiff.compare("org/base", "org/lora").frame  # a remote adapter
    assert (frame.status == "changed").sum() == 196


def test_files_of_one_hash_are_the_same_and_not_fetched(web: Web, fixtures: Path) -> None:
    web.repositories["org/copy"] = fixtures / "base"
    diff = ftdiff.compare("org/base", "org/copy")
    assert set(diff.frame.status) == {"identical"} and diff.about["coverage"] == 1.0
    assert set(diff.frame.relative_norm.fillna(0)) == {0.0} and not diff.frame.base_sq.notna().any()
    assert len(web.ranges()) == 2  # the header of each


def test_a_fine_tune_names_its_base(
    web: Web, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ftdiff.base_of(fixtures / "lora") == str(fixtures / "base")  # "../base"
    adapter = tmp_path / "lora"
    adapter.mkdir()
    save_file(
        load_file(fixtures / "lora/adapter_model.safetensors"),
        adapter / "adapter_model.safetensors",
    )
    config = json.loads((fixtures / "lora/adapter_config.json").read_text())
    config |= {"base_model_name_or_path": "org/base", "revision": "main"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert ftdiff.base_of(adapter) == "hf://org/base@main"
    config |= {"base_model_name_or_path": "base"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BadCall, match="names 'base' as its base, which is no folder here"):
        ftdiff.base_of(adapter)
    (tmp_path / "base").symlink_to(fixtures / "base")
    assert place.find(ftdiff.base_of(adapter)).is_dir()
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(BadFile, match="no weights here"):
        ftdiff.base_of(model)
    save_file({"w": np.zeros(2)}, model / "model.safetensors")
    with pytest.raises(BadCall, match="name no base; give it: ftdiff compare BASE"):
        ftdiff.base_of(model)
    (model / "README.md").write_text("---\nbase_model:\n- org/merged\n---\n# A model\n")
    assert ftdiff.base_of(model) == "hf://org/merged"


def shell(web: Web, cache: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "HF_ENDPOINT": web.hub, "HF_HOME": str(cache), **env}
    call = [sys.executable, "-m", "ftdiff", *words]
    return subprocess.run(call, capture_output=True, text=True, env=told, timeout=120)


def test_the_shell_says_who_is_asked(web: Web, fixtures: Path, tmp_path: Path) -> None:
    done = shell(web, tmp_path / "home", "compare", "org/base", str(fixtures / "lora"))
    assert done.returncode == 0 and "hf://org/base → " in done.stdout
    assert done.stderr == "asking 127.0.0.1 for org/base\n"
    alone = shell(web, tmp_path / "home", "compare", str(fixtures / "lora"))
    assert alone.returncode == 0 and "as adapter_config.json names it" in alone.stderr
    asked = len(web.asked)
    off = shell(web, tmp_path / "home", "--offline", "inspect", "org/base")
    assert off.returncode == 2 and len(web.asked) == asked
    assert "offline, and it is not in the cache; a folder is written ./org/base" in off.stderr
    gone = shell(web, tmp_path / "home", "inspect", "org/nothing")
    assert gone.returncode == 2 and gone.stderr.count("\n") == 2
    assert "no such repository, or a private one" in gone.stderr
    cut = shell(web, tmp_path / "home", "inspect", f"{web.files}/org/full/nothing.safetensors")
    assert cut.returncode == 2 and "nothing.safetensors: there is no such file" in cut.stderr


def test_a_file_at_an_address(web: Web, fixtures: Path) -> None:
    address = f"{web.files}/org/base/model.safetensors?signature=secret"
    diff = ftdiff.compare(address, fixtures / "full")
    same(diff, ftdiff.compare(fixtures / "base" / "model.safetensors", fixtures / "full"))
    assert "secret" not in json.dumps(diff.about)


def test_an_interrupt_does_not_wait_for_the_server(web: Web, tmp_path: Path) -> None:
    web.stall = 30.0
    told = {**os.environ, "HF_ENDPOINT": web.hub, "HF_HOME": str(tmp_path / "home")}
    call = [sys.executable, "-m", "ftdiff", "compare", "org/base", "org/full"]
    child = subprocess.Popen(call, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=told)
    with child:
        until = time.monotonic() + 60
        while not any(start for start, _ in web.ranges()) and time.monotonic() < until:
            time.sleep(0.05)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
        assert child.returncode == 130, said
        assert said.endswith(b"ftdiff: interrupted\n")
        assert time.monotonic() - begun < 10


def test_files_of_any_file_system_that_fsspec_knows(fixtures: Path) -> None:
    import fsspec

    for name in ("base/model.safetensors", "base/config.json", "lora/adapter_model.safetensors",
                 "lora/adapter_config.json"):  # fmt: skip
        fsspec.filesystem("memory").pipe_file(f"/models/{name}", (fixtures / name).read_bytes())
    here = ftdiff.compare(fixtures / "base", fixtures / "lora")
    same(ftdiff.compare("memory://models/base", "memory://models/lora"), here)
    same(ftdiff.compare("memory://models/base/model.safetensors", fixtures / "lora"), here)
    with pytest.raises(ftdiff.FtdiffError, match="memory://models/none: there is no such"):
        ftdiff.compare("memory://models/none", fixtures / "lora")


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_headers_of_torch_files_take_few_requests(web: Web, tmp_path: Path) -> None:
    import torch
    import torch.distributed.checkpoint as dcp

    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(12)]
    state = {name: torch.randn(256, 300) for name in names}
    for kind in ("zip", "dcp"):
        (tmp_path / kind).mkdir()
        web.repositories[f"org/{kind}"] = tmp_path / kind
    torch.save(state, tmp_path / "zip" / "pytorch_model.bin")
    dcp.save(state, checkpoint_id=str(tmp_path / "dcp"), no_dist=True)
    for kind, most in (("zip", 8), ("dcp", 14)):
        before, sent = len(web.ranges()), web.sent
        found = inspect(f"org/{kind}")
        assert found.facts["tensors"] == "12"
        assert len(web.ranges()) - before <= most and web.sent - sent < 600_000
        diff = ftdiff.compare(tmp_path / kind, f"org/{kind}")
        assert set(diff.frame.status) == {"identical"} and diff.about["coverage"] == 1.0


@pytest.mark.parametrize("address", ["s3://", "s3://a b", "http://[", "https://x:y/z.safetensors"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(ftdiff.FtdiffError, match="no address"):
        ftdiff.compare(address, address)


def test_a_server_of_whole_files_is_said(web: Web) -> None:
    source = place.find(f"{web.hub}/org/base/resolve/main/config.json").source()
    said = pytest.raises(ftdiff.FtdiffError, match="gives whole files only; download it")
    with said, source.lend(0, 8):
        pass


def test_a_server_that_goes_on_refusing_ends_the_run(
    web: Web, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_WAIT", 0.05)
    ftdiff.open_checkpoint("org/base"), ftdiff.open_checkpoint("org/full")  # the headers
    web.answers = [*([200] * 10), *([403] * 2000)]
    begun = time.monotonic()
    diff = ftdiff.compare("org/base", "org/full")
    assert time.monotonic() - begun < 20 and diff.about["unreadable"]
    assert all("403" in why for why in diff.about["unreadable"].values())
    ranges._GIVEN_UP.clear()


def test_a_file_that_changes_on_its_server_is_named(web: Web, tmp_path: Path) -> None:
    tensors = load_file(web.repositories["org/base"] / "model.safetensors")
    web.repositories["org/moving"] = tmp_path / "moving"
    (tmp_path / "moving").mkdir()
    save_file(tensors, tmp_path / "moving" / "model.safetensors")
    opened = ftdiff.open_checkpoint(f"{web.files}/org/moving/model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 2
    save_file(tensors, tmp_path / "moving" / "model.safetensors")
    with pytest.raises(ftdiff.FtdiffError, match="changed since it was opened"):
        opened.tensors["model.layers.20.mlp.up_proj.weight"].read()


def test_every_command_fetches_neighbours_together(web: Web, fixtures: Path) -> None:
    alike = ftdiff.similarity(["org/full", "org/merged"], base="org/base")
    here = [fixtures / name for name in ("full", "merged")]
    there = ftdiff.similarity(here, base=fixtures / "base")
    assert alike.matrix.to_numpy().tolist() == there.matrix.to_numpy().tolist()
    assert len(web.ranges()) < 400
