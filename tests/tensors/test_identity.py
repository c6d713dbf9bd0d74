"""A file's content is the same for its copy, and another where its bytes are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ftdiff.formats.remote.ranges import RemoteFile
from ftdiff.formats.remote.urls import UrlFile
from ftdiff.tensors import MappedFile, PreadFile, content, stamp
from ftdiff.tensors.identity import HEAD, PAGE, TAIL, sampled

SIZE = 3 << 20


def of(path: Path) -> str:
    return content(MappedFile(str(path), stamp(path)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x"
    file.write_bytes(bytes(range(256)) * (SIZE // 256))
    return file


def test_a_copy_of_another_time_has_the_same_content(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    os.utime(copy, ns=(1, 1))
    assert of(copy) == of(path) == content(PreadFile(str(path), stamp(path)))


@pytest.mark.parametrize(
    ("at", "length"), [(0, 1), (HEAD - 1, 1), (HEAD, 1 << 20), (SIZE - TAIL, 1), (SIZE - 1, 1)]
)
def test_other_bytes_in_what_is_sampled_are_another_content(
    path: Path, at: int, length: int
) -> None:
    before = of(path)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"other" * length)
        file.truncate(SIZE)
    assert of(path) != before


def test_another_length_is_another_content(path: Path) -> None:
    before = of(path)
    os.truncate(path, SIZE - 1)
    assert of(path) != before


@pytest.mark.parametrize("size", [0, 1, PAGE, HEAD, HEAD + 1, HEAD + TAIL, SIZE, 1 << 40])
def test_what_is_sampled_is_in_order_inside_and_little(size: int) -> None:
    spans = [*sampled(size)]
    ends = [end for span in spans for end in span]
    assert ends == sorted(ends) and ends[0] == 0 and ends[-1] == size
    assert sum(stop - start for start, stop in spans) <= HEAD + TAIL + 64 * PAGE


def test_of_a_remote_file_its_version_tells_and_nothing_is_fetched() -> None:
    url = UrlFile("https://example.org/x?signature=1")
    assert content(RemoteFile(url, 5, "sha256:ab")) == "sha256:ab"
    assert content(RemoteFile(url, 5, '"tag"')) == 'https://example.org/x 5 "tag"'
