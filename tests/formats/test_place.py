"""What a text means: a path first, a repository only where it can be nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as safetensors

import ftdiff
from ftdiff.errors import BadFile
from ftdiff.formats import place
from ftdiff.formats.folder import LocalFolder
from ftdiff.formats.remote import hub, urls


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "x.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[hub.Repository]:
    found: list[hub.Repository] = []

    def open_(repository: hub.Repository) -> hub.HubFolder:
        found.append(repository)
        held = {"config.json": (2, ""), "sub/model.safetensors": (9, "")}
        return hub.HubFolder(repository, "c0", "", held)

    monkeypatch.setattr(hub, "open_", open_)
    return found


@pytest.mark.parametrize("text", ["runs/a", "./runs", "runs/a/", "runs"])
def test_a_folder(text: str, asked: list[hub.Repository]) -> None:
    found = place.find(text)
    assert found.is_dir() and isinstance(found.folder, LocalFolder) and not asked


def test_a_file(asked: list[hub.Repository], here: Path) -> None:
    for text in ("runs/a/x.safetensors", (here / "runs/a/x.safetensors").as_uri()):
        found = place.find(text)
        assert found.file == found.name == "x.safetensors" and found.source().size == 1
        assert found.parent.files() == [found] and place.find(str(found)) == found


@pytest.mark.parametrize("text", ["Qwen/Qwen2.5-7B", "org/name", "a/b_c.v1"])
def test_a_repository(text: str, asked: list[hub.Repository]) -> None:
    assert place.find(text).is_dir() and asked == [hub.Repository(text)]


@pytest.mark.parametrize(
    "text",
    [
        *("runs/b", "./org/name", "../org/name", "/org/name", "~/name", "org/name/more", "name"),
        *("org/model.safetensors", "org/run.json", "org/ name", "org/", "/", "-org/name", ""),
    ],
)
def test_what_is_never_asked_for(text: str, asked: list[hub.Repository]) -> None:
    if text != "/":
        with pytest.raises(BadFile):
            place.find(text)
    assert not asked
    assert not place.is_repository(text)


def test_a_path_of_python_is_never_a_repository(asked: list[hub.Repository]) -> None:
    with pytest.raises(BadFile, match="no such file or folder"):
        place.find(Path("org/name"))
    assert not asked


def test_a_name_that_is_neither_is_told_both(asked: list[hub.Repository]) -> None:
    with pytest.raises(BadFile, match="no such file or folder, and no repository is asked for"):
        place.find("runs/b")


@pytest.mark.parametrize(
    ("text", "repository", "inside", "file"),
    [
        ("hf://org/name", ("org/name", ""), "", ""),
        ("hf://org/name@v1.0", ("org/name", "v1.0"), "", ""),
        ("hf://org/name@refs%2Fpr%2F1/sub", ("org/name", "refs/pr/1"), "sub", ""),
        ("hf://org/name/sub/model.safetensors", ("org/name", ""), "sub", "model.safetensors"),
        ("https://huggingface.co/org/name", ("org/name", ""), "", ""),
        ("https://huggingface.co/org/name/tree/main/sub", ("org/name", "main"), "sub", ""),
        ("https://huggingface.co/org/name/blob/main/sub/model.safetensors", ("org/name", "main"),
         "sub", "model.safetensors"),
    ],
)  # fmt: skip
def test_addresses_of_the_hub(
    text: str, repository: tuple[str, str], inside: str, file: str, asked: list[hub.Repository]
) -> None:
    found = place.find(text)
    assert asked == [hub.Repository(*repository)]
    assert isinstance(found.folder, hub.HubFolder)
    assert (found.folder.inside, found.file) == (inside, file)
    assert place.find(str(found)) == found


def test_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "_head", lambda url: (9, "") if "x.safetensors" in url else None)
    found = place.find("https://example.org/models/x.safetensors?key=1")
    assert found.folder == urls.UrlFolder("https://example.org/models/?key=1")
    assert found.file == "x.safetensors"
    for text, words in (
        ("https://example.org/models/", "name a file in it"),
        ("https://example.org/models/y.safetensors?key=1", "y.safetensors: there is no such file"),
        ("gopher://example.org/x", "gopher:// are not read"),
        ("hf://name", "is written hf://org/name"),
    ):
        with pytest.raises(BadFile, match=words):
            place.find(text)


def test_the_root_of_a_cached_repository_is_its_snapshot(here: Path) -> None:
    root = here / "models--org--name"
    for commit in ("c1", "c2"):
        (root / "snapshots" / commit).mkdir(parents=True)
        (root / "snapshots" / commit / commit).write_text("")
    with pytest.raises(BadFile, match="with 2 snapshots"):
        place.find(root)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("c2")
    assert {*place.find(root).folder.files()} == {"c2"}


def _nowhere(at: Path) -> None:
    at.symlink_to("missing")


def _circle(at: Path) -> None:
    at.symlink_to(at.name)


def _device(at: Path) -> None:
    at.symlink_to("/dev/zero")


#: What stands in a file's place, and how it is called.
IRREGULAR: dict[str, Callable[[Path], None]] = {
    "a link that leads nowhere (to missing)": _nowhere,
    "a link in a circle": _circle,
    "a device (a link to /dev/zero)": _device,
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("what", IRREGULAR)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "more.safetensors", "config.json", "adapter_config.json"]
)
def test_what_is_no_file_is_refused_by_name(here: Path, what: str, name: str) -> None:
    folder = here / "model"
    folder.mkdir()
    IRREGULAR[what](folder / name)
    if name != "model.safetensors":
        (folder / "model.safetensors").write_bytes(safetensors({"w": np.ones((2, 2))}))
    words = re.escape(f"{folder / name}: {what}, and no file")
    for given in (folder, folder / name):
        with pytest.raises(BadFile, match=words):
            ftdiff.open_tuned(given)


def test_what_is_no_file_and_is_not_asked_for_is_passed_over(here: Path) -> None:
    for number, make in enumerate(IRREGULAR.values()):
        make(here / "runs" / "a" / f"README-{number}.md")
    found = place.find("runs/a")
    assert [file.name for file in found.files()] == ["x.safetensors"]
