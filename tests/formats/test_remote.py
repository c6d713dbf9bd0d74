"""Remote folders and files, against a server that speaks the hub's API, cuts bodies and refuses."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ftdiff.errors import BadFile
from ftdiff.formats.remote import hub, ranges, urls
from ftdiff.tensors import FileTensor, MappedFile
from tests.conftest import llama, write_model
from tests.formats.web_server import COMMIT, Web, serving

NAME = "org/model"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    from huggingface_hub import constants

    write_model(tmp_path / "served", llama(), config={"model_type": "llama"})
    (tmp_path / "served" / "sub").mkdir()
    (tmp_path / "served" / "sub" / "x.json").write_text("{}")
    (tmp_path / "served" / "large.bin").write_bytes(
        np.random.default_rng(0).bytes(3 * ranges.HEAD + 17)
    )
    with serving(Web({NAME: tmp_path / "served"})) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.hub)
        template = served.hub + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        for cached in (hub.open_, ranges._head, ranges._opened):
            cached.cache_clear()
        yield served


def test_a_repository_is_a_folder(web: Web) -> None:
    folder = hub.open_(hub.Repository(NAME))
    assert isinstance(folder, hub.HubFolder) and folder.commit == COMMIT
    assert {*folder.files()} == {"model.safetensors", "config.json", "large.bin"}
    assert folder.folders() == ("sub",) and {*folder.within("sub").files()} == {"x.json"}
    assert folder.within("sub").read("x.json", 100) == b"{}"
    assert folder.read("config.json", 1000) == b'{"model_type": "llama"}'
    with pytest.raises(BadFile, match="too large"):
        folder.read("config.json", 3)
    with pytest.raises(BadFile, match="no y in it"):
        folder.read("y", 3)


@pytest.mark.parametrize("cut", [0, 2, 3])
def test_ranges_are_the_file_s_bytes_though_bodies_are_cut(web: Web, cut: int) -> None:
    web.cut = cut
    source = hub.open_(hub.Repository(NAME)).source("large.bin")
    assert isinstance(source, ranges.RemoteFile)
    raw = (web.repositories[NAME] / "large.bin").read_bytes()
    assert source.size == len(raw)
    size = ranges.HEAD
    for start, stop in (
        (0, 8),
        (5, 300),
        (size, size + 1),
        (7, len(raw)),
        (len(raw) - 3, len(raw)),
    ):
        with source.lend(start, stop) as lent:
            assert bytes(lent) == raw[start:stop]
    again = pickle.loads(pickle.dumps(source))
    assert again == source and again.identity == source.identity and len(pickle.dumps(source)) < 500
    tensor = FileTensor(source, 4, (100, 50), "F32")
    wanted = np.frombuffer(raw, "<f4", 5000, 4).reshape(100, 50)
    assert tensor.read(slice(3, 9)).tobytes() == wanted[3:9].tobytes()


def test_the_header_is_one_request_and_no_range_is_fetched_twice(web: Web) -> None:
    source = hub.open_(hub.Repository(NAME)).source("large.bin")
    for start, stop in ((0, 8), (8, 4000), (4000, ranges.HEAD)):
        with source.lend(start, stop):
            pass
    with source.lend(ranges.HEAD, 2 * ranges.HEAD):
        pass
    assert web.ranges() == [(0, ranges.HEAD), (ranges.HEAD, 2 * ranges.HEAD)]


def test_the_token_is_not_told_to_another_host(web: Web) -> None:
    with hub.open_(hub.Repository(NAME)).source("large.bin").lend(0, 10):
        pass
    assert web.ranges() and not web.tokens


def test_what_is_in_the_cache_is_not_fetched(web: Web) -> None:
    import huggingface_hub as library

    library.hf_hub_download(NAME, "model.safetensors")
    before = len(web.asked)
    source = hub.open_(hub.Repository(NAME)).source("model.safetensors")
    assert isinstance(source, MappedFile)
    with source.lend(0, 100) as lent:
        assert len(lent) == 100
    assert all("resolve" not in path for _, path, _ in web.asked[before:])


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"gated": True}, r"hf://org/model: gated; ask for access on .*/org/model and log in"),
        ({"status": 429}, "too many requests; try again later"),
        ({"status": 500}, "hf://org/model: .*500"),
    ],
)
def test_refusals_are_one_line(web: Web, answers: dict[str, int], words: str) -> None:
    for name, value in answers.items():
        setattr(web, name, value)
    with pytest.raises(BadFile, match=words) as error:
        hub.open_(hub.Repository(NAME))
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_what_is_not_there_is_named(web: Web) -> None:
    with pytest.raises(BadFile, match=r"no such repository, or a private one.*\./org/other"):
        hub.open_(hub.Repository("org/other"))
    with pytest.raises(BadFile, match="hf://org/model@v7: no revision 'v7'"):
        hub.open_(hub.Repository(NAME, "v7"))


@pytest.mark.parametrize("status", [503, 429, 403])
def test_an_answer_that_passes_is_waited_for(
    web: Web, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_WAIT", 0.01)
    source = hub.open_(hub.Repository(NAME)).source("large.bin")
    web.answers = [200, status, 200, 200]
    raw = (web.repositories[NAME] / "large.bin").read_bytes()
    with source.lend(0, 10) as lent:
        assert bytes(lent) == raw[:10]


def test_offline_asks_nobody(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadFile, match="offline, and it is not in the cache"):
        hub.open_(hub.Repository(NAME))
    assert not web.asked


def test_a_file_of_any_web_server(web: Web) -> None:
    folder, file = urls.split(f"{web.files}/{NAME}/large.bin?signature=secret")
    source = folder.source(file)
    raw = (web.repositories[NAME] / "large.bin").read_bytes()
    assert source.size == len(raw) and "secret" not in source.name
    with source.lend(100, ranges.HEAD + 3) as lent:
        assert bytes(lent) == raw[100 : ranges.HEAD + 3]
    assert folder.read("config.json", 1000) == b'{"model_type": "llama"}'
    with pytest.raises(BadFile, match="nothing") as error:
        folder.source("nothing")
    assert "secret" not in str(error.value)
