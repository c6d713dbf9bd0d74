"""Every file that ftdiff writes is told by its first bytes; nobody else's is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftdiff.analyses.saved import KINDS
from ftdiff.errors import BadFile
from ftdiff.formats.written import TAKEN, refuse, written

_FIRST = b"tensor,stack,layer,sublayer,block,role,component,module,param,expert"


@pytest.mark.parametrize(
    ("name", "head", "what"),
    [
        ("x.json", b'{\n "format": "ftdiff.diff/2",\n', "a saved diff"),
        ("x.json", b'{"format":"ftdiff.merge/1"', "a saved merge"),
        ("x.json", b'{"format": "ftdiff.audit/1"', "a saved audit"),
        ("x.json", b'{"format": "ftdiff.later/9"', "later written by ftdiff"),
        ("c.jsonl", b'{"payload":"eyJf', "claims, as `ftdiff attest` writes them"),
        ("journal.sqlite", b"SQLite format 3\0abc", "a journal of what was measured"),
        ("a.csv", _FIRST + b",status,form,shape,numel\n", "the table of a diff"),
        ("a.csv", _FIRST + b",status,said,form,shape\n", "the table of a verification"),
        ("a.csv", _FIRST + b",status,said,shape,numel\n", "the table of a merge"),
        ("a.csv", _FIRST + b",checkpoint,step,tensors\n", "the table of a trajectory"),
        ("a.csv", _FIRST + b",a,b,tensors,cosine\n", "the table of a similarity"),
        ("a.csv", b"candidate,measured,coverage,tensors\n", "the table of a lineage"),
        ("a.csv", b"model,site,stack,layer,position\n", "the table of a probe"),
        ("a.csv", b"site,stack,layer,position,texts,tokens\n", "the table of a drift"),
        ("p.toml", b'format = "ftdiff.policy/1"\n', "a policy"),
        ("page.html", b"<!doctype html>\n<title>ftdiff: a</title>", "a page, as `ftdiff report`"),
        ("m.png", b"\x89PNG\r\n", "a picture"),
        ("k", b"-----BEGIN PRIVATE KEY-----", "a key"),
        ("README.md", b"# x\n<!-- ftdiff:begin -->\n", "a model card with our section"),
    ],
)
def test_a_file_of_ours_is_told(name: str, head: bytes, what: str) -> None:
    found = written(name, head)
    assert found is not None and found.what.startswith(what) and found.way


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("x.json", b'{"weight_map": {}}'),
        ("m.csv", b"layer,attn.q,attn.k\n0,1,2\n"),
        ("m.csv", b",lora,rslora\nlora,1,0\n"),
        ("m.csv", b"tensor,stack\n"),
        ("README.md", b"# somebody's model\n"),
        ("t.txt", b"ftdiff is a word\n"),
        ("x.toml", b"[project]\n"),
        ("x", b""),
    ],
)
def test_a_file_of_others_is_none_of_ours(name: str, head: bytes) -> None:
    assert written(name, head) is None


def test_every_kind_of_saved_result_says_who_takes_it() -> None:
    assert {*TAKEN} == {*KINDS}


def test_the_whole_beside_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "diff.json").write_text("{}")
    found = written(tmp_path / "diff.csv", _FIRST + b",status,form,shape\n")
    assert found is not None and str(found).startswith("the table of a diff; ")
    assert found.way == f"{tmp_path / 'diff.json'} is the whole, which commands take"


def test_what_is_meant_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('format = "ftdiff.policy/1"\n')
    refuse(path, "a policy")
    refuse(tmp_path / "none", "a policy")
    with pytest.raises(BadFile, match=r"p\.toml: a policy, not text; `ftdiff audit"):
        refuse(path, "text")
