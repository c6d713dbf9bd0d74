"""Claims: attested from the files, verified to the bit, and refuted in one line that names why."""

from __future__ import annotations

import hashlib
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.analyses import claims
from ftdiff.analyses.claims import envelope, keys
from ftdiff.analyses.claims.predicate import ROW, decoded
from ftdiff.errors import BadCall, BadFile, Mismatch
from tests.analyses.claimed import (
    Payload,
    changed,
    claimed,
    keypair,
    payload_of,
    reshard,
    written_pair,
)
from tests.cases.situations import factors, state, write_base, write_lora

Q = "model.layers.1.self_attn.q_proj.weight"
K = "model.layers.1.self_attn.k_proj.weight"
SCHEMA = Path(claims.__file__).with_name("predicate.schema.json")


class Pair(NamedTuple):
    base: Path
    tuned: Path
    claims: Path
    key: Path
    public: Path

    @property
    def line(self) -> str:
        return self.claims.read_text().strip()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("full")
    base, tuned = written_pair(folder)
    key, public = keypair(folder)
    return Pair(base, tuned, claimed(base, tuned, key, folder / "claims.jsonl"), key, public)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("lora")
    base, tuned = write_base(folder / "base"), write_lora(folder / "lora")
    key, public = keypair(folder)
    return Pair(base, tuned, claimed(base, tuned, key, folder / "claims.jsonl"), key, public)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("another machine is asked"))


def _check(pair: Pair, **more: Any) -> ftdiff.ClaimCheck:
    return ftdiff.verify_claim(pair.claims, pair.base, pair.tuned, pair.public, **more)


def _same_tensors(pair: Pair, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write the fine-tune again, with its tensors changed."""
    tensors = load_file(pair.tuned / "model.safetensors")
    change(tensors)
    folder.mkdir()
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_bytes((pair.tuned / "config.json").read_bytes())
    return folder


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_claim_is_verified(name: str, request: pytest.FixtureRequest) -> None:
    pair: Pair = request.getfixturevalue(name)
    found = _check(pair)
    assert (found.verdict, found.exit_code, {*found.frame["check"]}) == ("verified", 0, {"equal"})
    assert "signed with" in found.sentences[0] and "equal to the bit" in found.sentences[0]
    assert found.about["files"] == {"base": [], "tuned": []}
    assert ftdiff.findings(found)[0].severity == "note"
    assert _check(pair, files=True).ok


def test_without_a_key_nobody_has_signed(full: Pair) -> None:
    found = ftdiff.verify_claim(full.claims, full.base, full.tuned)
    assert (found.verdict, found.exit_code) == ("recomputed", 0)
    assert "unsigned by anyone you named" in found.sentences[0]
    assert "verified" not in " ".join(found.sentences)
    assert ftdiff.findings(found)[0].severity == "caution"


def test_a_statement_is_what_its_schema_says(full: Pair, lora: Pair) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for pair in (full, lora):
        statement = payload_of(pair.line)
        jsonschema.validate(statement["predicate"], schema)
        assert statement["predicate"]["schema"] == schema["$id"]
        assert statement["predicateType"] == envelope.PREDICATE
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert str(pair.base.parent) not in pair.line + json.dumps(statement)  # no path of mine


def test_digests_are_those_that_the_page_describes(full: Pair) -> None:
    """Made again from the page, with other people's reader."""
    subject = payload_of(full.line)["subject"][1]
    files = sorted(path.name for path in full.tuned.iterdir())
    held = [hashlib.sha256((full.tuned / name).read_bytes()).digest() for name in files]
    assert subject["digest"]["sha256"] == hashlib.sha256(b"".join(held)).hexdigest()
    leaves = []
    with safe_open(full.tuned / "model.safetensors", "pt") as file:
        for name in sorted(file.keys(), key=str.encode):
            tensor = file.get_tensor(name)
            raw = tensor.view(torch.int16).numpy().tobytes()
            sides = ",".join(map(str, tensor.shape))
            parts = (name.encode(), b"BF16", sides.encode(), hashlib.sha256(raw).digest())
            leaves.append(hashlib.sha256(b"\0".join(parts)).digest())
    root = hashlib.sha256(b"".join(leaves)).hexdigest()
    assert subject["digest"]["ftdiffTensorsV1"] == root


def test_numbers_are_those_of_the_diff_to_the_bit(full: Pair) -> None:
    said = payload_of(full.line)["predicate"]
    diff = ftdiff.compare(str(full.base), str(full.tuned))
    at = {name: i for i, name in enumerate(ROW)}
    for row, sums in zip(said["rows"], diff.columns["delta_sq"].tolist(), strict=True):
        assert decoded(row[at["delta_sq"]]) == sums
    assert decoded(said["overall"]["relative_norm"]) == diff.overall["relative_norm"]
    assert [one["rule"] for one in said["findings"]] == [one.rule for one in diff.findings()]
    again = ftdiff.attest(diff, full.key).diff()
    assert again.overall == diff.overall


def test_threads_change_no_bit(full: Pair, lora: Pair) -> None:
    with ThreadPoolExecutor(3) as pool:  # two were made by one for each core
        for pair in (full, lora):
            assert _check(pair, executor=pool).verdict == "verified"
        diff = ftdiff.compare(str(full.base), str(full.tuned), executor=pool)
        first = payload_of(ftdiff.attest(diff, full.key, pool).line)["predicate"]
    assert first["rows"] == payload_of(full.line)["predicate"]["rows"]
    assert first["sides"]["tuned"]["tensors"] == payload_of(full.line)["predicate"]["sides"][
        "tuned"
    ]["tensors"]  # fmt: skip


def test_other_shards_hold_the_same_claim(full: Pair, tmp_path: Path) -> None:
    tensors = {
        side: load_file(getattr(full, side) / "model.safetensors") for side in full._fields[:2]
    }
    three = reshard(tensors["base"], tmp_path / "base", 3)
    two = reshard(tensors["tuned"], tmp_path / "tuned", 2)
    found = ftdiff.verify_claim(full.claims, three, two, full.public)
    assert found.verdict == "verified"
    assert any("the same tensors, and other files" in said for said in found.sentences)
    one = ftdiff.verify_claim(full.claims, full.base / "model.safetensors", two, full.public)
    assert one.verdict == "verified"
    wanted = ftdiff.verify_claim(full.claims, three, two, full.public, files=True)
    assert (wanted.verdict, wanted.exit_code) == ("other_files", 1)
    assert "model.safetensors: in the claim, not in the folder" in wanted.sentences[0]


def test_a_fresh_process_verifies_it(full: Pair) -> None:
    call = [sys.executable, "-m", "ftdiff", "verify-claim", full.claims, full.base, full.tuned]
    more = ["--key", full.public, "-j", "1", "--sample", "3", "--seed", "7"]
    done = subprocess.run([*call, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("verified\n") and "seed 7" in done.stdout


def test_a_sample_reads_no_more_than_it_draws(full: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    taken = claims.digests.of_tensors
    monkeypatch.setattr(
        claims.digests, "of_tensors", lambda held, *more: read.extend(held) or taken(held, *more)
    )
    found = _check(full, sample=3, seed=11)
    drawn = [*found.frame["tensor"][found.frame["check"] == "equal"]]
    assert found.verdict == "verified" and len(drawn) == 3 and sorted(read) == sorted(drawn * 2)
    names = [row[0] for row in payload_of(full.line)["predicate"]["rows"]]
    lots = sorted(names, key=lambda name: hashlib.sha256(f"11:{name}".encode()).digest())
    assert sorted(drawn) == sorted(lots[:3])
    seeds = {_check(full, sample=1).about["seed"] for _ in range(2)}
    assert len(seeds) == 2  # whoever signed cannot know which
    assert _check(full, sample=1000, seed=1).verdict == "verified"


def test_numbers_can_be_recomputed_whole_with_few_digests(
    full: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    taken = claims.digests.of_tensors
    monkeypatch.setattr(
        claims.digests, "of_tensors", lambda held, *more: read.extend(held) or taken(held, *more)
    )
    found = _check(full, digests=2, seed=5)
    assert found.verdict == "verified" and {*found.frame["check"]} == {"equal"}
    assert len(read) == 4 and "digests of 2 tensors a side, drawn with seed 5" in found.sentences[0]
    other = _same_tensors(full, tmp_path / "other", _bits(Q))
    for seed in range(3):  # drawn or not, its numbers are others
        found = ftdiff.verify_claim(full.claims, full.base, other, digests=1, seed=seed)
        assert not found.ok and Q in found.sentences[0]


def test_a_sample_of_an_adapter_hashes_its_factors(lora: Pair) -> None:
    assert _check(lora, sample=2, seed=1).verdict == "verified"


@pytest.mark.parametrize("kind", ["delta", "grown"])
def test_other_kinds_of_change_are_claimed_too(kind: str, full: Pair, tmp_path: Path) -> None:
    tuned, options = full.tuned, {"tuned_is_delta": kind == "delta"}
    if kind == "grown":  # an adapter that saves a longer embedding beside its factors
        rows = torch.cat([state()["model.embed_tokens.weight"], torch.ones(3, 32)])
        saved = {"base_model.model.model.embed_tokens.weight": rows}
        tuned = write_lora(tmp_path / "lora", {**factors(), **saved})
    path = claimed(full.base, tuned, full.key, tmp_path / "claims.jsonl", **options)
    for some in ({}, {"sample": 1, "seed": 3}, {"digests": 1}):
        assert ftdiff.verify_claim(path, full.base, tuned, full.public, **some).ok


def _bits(name: str) -> Callable[[dict[str, Any]], Any]:
    def change(tensors: dict[str, Any]) -> None:
        raw = tensors[name].view(torch.int16)
        raw[-1, -1] ^= 1

    return change


def _swap(tensors: dict[str, Any]) -> None:
    tensors[Q], tensors[K] = tensors[K], tensors[Q]


#: How the fine-tune's files can be changed, and what is named.
OF_FILES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "bit": (_bits(Q), f"tuned: {Q}: its bytes are others"),
    "a norm": (lambda t: t["model.norm.weight"].add_(1), "tuned: model.norm.weight: its bytes"),
    "rows in another order": (lambda t: t.update({Q: t[Q].flip(0)}), f"{Q}: its bytes"),
    "two swapped": (_swap, f"{K}: its bytes"),
    "name": (lambda t: t.update({f"{Q}s": t.pop(Q)}), f"{Q}: in the claim, not in the file"),
    "dtype": (lambda t: t.update({Q: t[Q].half()}), f"{Q}: dtype is BF16 in the claim and F16"),
    "shape": (lambda t: t.update({Q: t[Q][:-1]}), f"{Q}: shape is 32×32 in the claim and 31×32"),
    "missing": (lambda t: t.pop(Q), f"{Q}: in the claim, not in the file"),
    "added": (lambda t: t.update(new=torch.ones(2)), "new: in the file, not in the claim"),
    "nan": (lambda t: t[Q].fill_(torch.nan), f"{Q}: its bytes"),
}


@pytest.mark.parametrize("name", [*OF_FILES])
def test_changed_files_are_named(name: str, full: Pair, tmp_path: Path) -> None:
    change, said = OF_FILES[name]
    other = _same_tensors(full, tmp_path / "other", change)
    for key in (full.public, None):
        found = ftdiff.verify_claim(full.claims, full.base, other, key)
        assert (found.verdict, found.exit_code) == ("other_tensors", 1)
        assert said in found.sentences[0] and len(found.sentences) == 1
    assert ftdiff.findings(found)[0].severity == "alarm"
    assert [*found.frame["check"]] == ["differs"]


def test_a_drawn_tensor_is_found_changed(full: Pair, tmp_path: Path) -> None:
    other = _same_tensors(full, tmp_path / "other", _bits(Q))
    names = [row[0] for row in payload_of(full.line)["predicate"]["rows"]]
    place = {}
    for seed in range(4):
        lots = sorted(names, key=lambda n: hashlib.sha256(f"{seed}:{n}".encode()).digest())
        place[seed] = lots.index(Q)
    missed, found = max(place, key=place.__getitem__), min(place, key=place.__getitem__)
    count = place[found] + 1
    assert place[missed] >= count  # by luck of the draw, which is why the verifier draws
    call = (full.claims, full.base, other)
    assert ftdiff.verify_claim(*call, sample=count, seed=missed).ok
    check = ftdiff.verify_claim(*call, sample=count, seed=found)
    assert not check.ok and f"{Q}: its bytes" in check.sentences[0]


def test_swapped_sides_are_named(full: Pair, lora: Pair) -> None:
    for pair in (full, lora):
        found = ftdiff.verify_claim(pair.claims, pair.tuned, pair.base, pair.public)
        assert (found.exit_code, "BASE and TUNED are swapped" in found.sentences[0]) == (1, True)


def _row(statement: Payload, name: str = Q) -> list[Any]:
    row: list[Any] = next(row for row in statement["predicate"]["rows"] if row[0] == name)
    return row


def _at(column: str, value: Any) -> Callable[[Payload], Any]:
    return lambda s: _row(s).__setitem__(ROW.index(column), value)


def _next(text: str) -> str:
    return float(np.nextafter(decoded(text), np.inf)).hex()


def _up(column: str) -> Callable[[Payload], Any]:
    def change(statement: Payload) -> None:
        row, at = _row(statement), ROW.index(column)
        row[at] = _next(row[at])

    return change


def _in(*path: Any, value: Any) -> Callable[[Payload], Any]:
    def change(statement: Payload) -> None:
        held: Any = statement
        for key in path[:-1]:
            held = held[key]
        old = held[path[-1]]
        held[path[-1]] = value(old) if callable(value) else value

    return change


_P = "predicate"
_ZEROS = "00" * 32
#: How a predicate can be changed, and what is named when it is recomputed by one who has no key.
OF_PREDICATE: dict[str, tuple[Callable[[Payload], Any], str]] = {
    **{c: (_up(c), f"{Q}: {c} is ") for c in ("delta_sq", "inner", "base_abs", "delta_max")},
    "unequal": (_at("unequal", 3), f"{Q}: unequal is 3 in the claim"),
    "missing number": (_at("delta_sq", None), f"{Q}: delta_sq is missing in the claim"),
    "word": (_at("status", "identical"), f"{Q}: status is identical in the claim"),
    "row shape": (_at("shape", [32, 31]), f"{Q}: shape is 32×31 in the claim"),
    "row dtype": (_at("tuned_dtype", "F16"), f"{Q}: tuned_dtype is F16 in the claim"),
    "component": (_at("component", "attn.k"), f"{Q}: component is attn.k in the claim"),
    "row name": (_at("tensor", "x"), "x: in the claim, and not in what the files give"),
    "row lost": (lambda s: s[_P]["rows"].pop(3), "in what the files give, and not in the claim"),
    "row twice": (lambda s: s[_P]["rows"].append(_row(s)), f"{Q}: it stands in two rows"),
    "total": (_in(_P, "totals", "delta_sq", value=_next), "totals.delta_sq is 0x"),
    "overall": (_in(_P, "overall", "relative_norm", value="0x1.8p-1"), "overall.relative_norm is"),
    "finding": (lambda s: s[_P]["findings"].pop(), "findings["),
    "finding's rule": (_in(_P, "findings", 0, "rule", value="other"), "findings[other].rule is"),
    "coverage": (_in(_P, "about", "coverage", value=0.5), "about.coverage is 0x1p-1 (0.5) in"),
    "kind": (_in(_P, "about", "kind", value="lora"), "about.kind is lora in the claim and full"),
    "count": (_in(_P, "about", "counts", "added", value=1), "about.counts.added is 1 in the claim"),
    "note": (_in(_P, "about", "notes", value=["all is well"]), "about.notes"),
    "digest": (
        lambda s: s[_P]["sides"]["tuned"]["tensors"][0].__setitem__(3, _ZEROS),
        "its bytes are others (sha256 000000000000 in the claim",
    ),
    "name in list": (
        lambda s: s[_P]["sides"]["base"]["tensors"][0].__setitem__(0, "x"),
        "base: x: in the claim, not in the file",
    ),
    "file": (
        _in(_P, "sides", "base", "files", 0, "sha256", value=_ZEROS),
        "subject base: its sha256 is not of its files",
    ),
    "subject": (_in("subject", 1, "digest", "sha256", value=_ZEROS), "subject tuned: its sha256"),
    "subject in shards": (
        _in("subject", 0, "digest", "ftdiffTensorsV1", value=_ZEROS),
        "subject base: its digest is not of its tensors",
    ),
    "subject's name": (_in("subject", 0, "name", value="x"), "subject base: its name"),
    "subjects swapped": (lambda s: s["subject"].reverse(), "subject base: its digest"),
    "option": (
        _in(_P, "options", "tuned_is_delta", value=True),
        "lm_head.weight: status is identical in the claim",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_PREDICATE])
def test_a_changed_predicate_is_named(name: str, full: Pair, tmp_path: Path) -> None:
    change, said = OF_PREDICATE[name]
    path = tmp_path / "claims.jsonl"
    path.write_text(changed(full.line, change))
    recomputed = ftdiff.verify_claim(path, full.base, full.tuned)
    assert (recomputed.ok, recomputed.exit_code) == (False, 1)
    assert said in recomputed.sentences[0], recomputed.sentences
    assert len(recomputed.sentences) == 1 and "\n" not in recomputed.sentences[0]
    held_to_a_key = ftdiff.verify_claim(path, full.base, full.tuned, full.public)
    assert held_to_a_key.verdict == "unsigned"
    assert "changed since it was signed with" in held_to_a_key.sentences[0]


def test_whoever_signs_what_is_not_so_is_refuted(full: Pair, tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    path.write_text(changed(full.line, _up("delta_sq"), full.key))
    found = ftdiff.verify_claim(path, full.base, full.tuned, full.public)
    assert found.verdict == "other_numbers" and f"{Q}: delta_sq is" in found.sentences[0]
    row = found.frame[found.frame["check"] == "differs"].iloc[0]
    assert (row["tensor"], row["what"]) == (Q, "delta_sq") and row["claimed"] != row["found"]


def test_another_key_is_named(full: Pair, tmp_path: Path) -> None:
    key, public = keypair(tmp_path, "other.key")
    found = ftdiff.verify_claim(full.claims, full.base, full.tuned, public)
    assert (found.verdict, found.exit_code) == ("unsigned", 1)
    assert "signed with another key" in found.sentences[0]
    path = tmp_path / "claims.jsonl"
    path.write_text(changed(full.line, lambda _: None, key))
    assert ftdiff.verify_claim(path, full.base, full.tuned, full.public).verdict == "unsigned"
    assert ftdiff.verify_claim(path, full.base, full.tuned, public).verdict == "verified"


def _with(line: str, **parts: Any) -> str:
    return json.dumps({**json.loads(line), **parts})


def _signature(line: str, **parts: str) -> str:
    (one,) = json.loads(line)["signatures"]
    return _with(line, signatures=[{**one, **parts}])


#: How a line can be changed: the verdict, and what is said.
OF_LINE: dict[str, tuple[Callable[[str], str], str, str]] = {
    "cut short": (lambda line: line[: len(line) // 2], "damaged", "cut short"),
    "cut at the end": (lambda line: line[:-1], "damaged", "cut short"),
    "twice": (lambda line: f"{line}\n{line}\n", "damaged", "line 2: the same as line 1"),
    "twice in a line": (lambda line: line + line, "damaged", "two envelopes in one line"),
    "payload cut": (lambda line: _with(line, payload=json.loads(line)["payload"][:-5]), "damaged",
                    "its payload is cut short"),
    "signature": (lambda line: _signature(line, sig="AAAA"), "unsigned", "changed since"),
    "no signature": (lambda line: _with(line, signatures=[]), "unsigned", "not signed, not with"),
    "keyid": (lambda line: _signature(line, keyid="00"), "unsigned", "another key (keyid 00)"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_LINE])
def test_a_changed_line_is_named(name: str, full: Pair, tmp_path: Path) -> None:
    change, verdict, said = OF_LINE[name]
    path = tmp_path / "claims.jsonl"
    path.write_text(change(full.line))
    found = ftdiff.verify_claim(path, full.base, full.tuned, full.public)
    assert (found.verdict, found.exit_code, len(found.sentences)) == (verdict, 1, 1)
    assert said in found.sentences[0]


def test_an_older_type_is_refused_and_a_later_one_not_read(full: Pair, tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    name = "https://ftdiff.github.io/claim/v"
    path.write_text(changed(full.line, _in("predicateType", value=f"{name}0"), full.key))
    found = ftdiff.verify_claim(path, full.base, full.tuned, full.public)
    assert (found.verdict, found.exit_code) == ("superseded", 1)
    assert "older type" in found.sentences[0]
    for later in (f"{name}2", "https://slsa.dev/provenance/v1", None):
        path.write_text(changed(full.line, _in("predicateType", value=later), full.key))
        with pytest.raises(BadFile, match="a predicate of type"):
            ftdiff.verify_claim(path, full.base, full.tuned, full.public)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no claim in it"),
        ("what?", "no envelope"),
        ("[]", "it has no payload"),
        ('{"payload": 3}', "it has no payload"),
        ('{"payload": "AA==", "signatures": {}}', "it has no signatures"),
        ('{"payload": "AA==", "payloadType": "x", "signatures": []}', "no in-toto statement"),
        ("[" * 100_000, "no envelope"),
        (b"\xff\xfe", "it is not text"),
    ],
)
def test_what_is_no_envelope_is_one_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadFile, match=said) as error:
        ftdiff.verify_claim(path, tmp_path, tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(BadFile, match="No such file"):
        ftdiff.verify_claim(tmp_path / "none.jsonl", tmp_path, tmp_path)


@pytest.mark.parametrize("part", ["rows", "sides", "about", "totals", "findings", "columns"])
@pytest.mark.parametrize("other", [3, None, {}, ["x"], "x"])
def test_a_predicate_of_another_form_is_one_line(
    part: str, other: Any, full: Pair, tmp_path: Path
) -> None:
    path = tmp_path / "claims.jsonl"
    path.write_text(changed(full.line, _in(_P, part, value=other)))
    try:
        found = ftdiff.verify_claim(path, full.base, full.tuned)
    except BadFile as error:
        assert "no predicate of version 1" in str(error) and "\n" not in str(error)
    else:
        assert found.exit_code == 1 and len(found.sentences) == 1


def test_of_several_lines_those_about_the_files_have_to_hold(
    full: Pair, lora: Pair, tmp_path: Path
) -> None:
    path = tmp_path / "claims.jsonl"
    base = tmp_path / "base"
    write_base(base)
    claimed(base, full.tuned, full.key, path)
    path.write_text(path.read_text() + full.line + "\n")
    found = ftdiff.verify_claim(path, full.base, full.tuned, full.public)
    assert found.verdict == "verified" and found.about["line"] == 2
    assert "1 line more is about other files." in found.sentences
    path.write_text(full.line + "\n" + changed(full.line, _up("inner"), full.key))
    found = ftdiff.verify_claim(path, full.base, full.tuned, full.public)
    assert found.verdict == "other_numbers" and "line 2" in found.sentences[0]


def test_what_changed_since_the_diff_is_not_signed(full: Pair, tmp_path: Path) -> None:
    tuned = _same_tensors(full, tmp_path / "tuned", lambda _: None)
    saved = ftdiff.compare(str(full.base), str(tuned)).save(tmp_path / "diff.json")
    assert ftdiff.attest(saved, full.key).subjects
    raw = bytearray((tuned / "model.safetensors").read_bytes())
    raw[-3] ^= 64
    (tuned / "model.safetensors").write_bytes(raw)
    with pytest.raises(BadFile, match=r"changed since .*diff.json was made .*compare again"):
        ftdiff.attest(saved, full.key)
    document = json.loads(saved.read_text())
    document["about"]["sources"] = {}
    saved.write_text(json.dumps(document))
    with pytest.raises(BadFile, match=r"not what its files give now: .*norm.weight: .*again"):
        ftdiff.attest(saved, full.key)
    mine = ftdiff.compare(str(full.base), str(full.tuned)).save(tmp_path / "edited.json")
    document = json.loads(mine.read_text())
    next(row for row in document["tensors"] if row["tensor"] == Q)["delta_sq"] *= 1.5
    mine.write_text(json.dumps(document))
    with pytest.raises(BadFile, match="delta_sq is"):
        ftdiff.attest(mine, full.key)


def test_what_cannot_be_attested_is_said(full: Pair, lora: Pair, tmp_path: Path) -> None:
    with pytest.raises(BadCall, match="a path is needed"):
        ftdiff.attest(ftdiff.compare(state(), str(full.tuned)), full.key, base=None)
    with pytest.raises(BadCall, match="without a base"):
        ftdiff.attest(ftdiff.compare(None, str(lora.tuned)), full.key)
    far = ftdiff.compare(str(full.base), str(full.tuned))
    for address in ("hf://org/name", "org/name", "https://example.org/model.safetensors"):
        with pytest.raises(BadCall, match="download it"):
            ftdiff.attest(far, full.key, tuned=address)
        with pytest.raises(BadCall, match="download it"):
            ftdiff.verify_claim(full.claims, address, full.tuned)
    for asked, said in (({"seed": 1}, "a seed draws"), ({"sample": 0}, "at least one"),
                        ({"sample": 1, "digests": 1}, "either a sample")):  # fmt: skip
        with pytest.raises(BadCall, match=said):
            _check(full, **asked)
    with pytest.raises(Mismatch):
        ftdiff.verify_claim(full.claims, lora.tuned, lora.tuned)


def test_keys_are_private_and_never_written_over(tmp_path: Path) -> None:
    key, public = keypair(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert public == tmp_path / "my.key.pub"
    with pytest.raises(BadCall, match="never written over"):
        keypair(tmp_path)
    with pytest.raises(BadFile, match="a private key; a claim is checked with the public one"):
        keys.public_key(key)
    with pytest.raises(BadFile, match="no private key"):
        keys.signer(public)
    with pytest.raises(BadFile, match=r"No such file.*--new-key"):
        keys.signer(tmp_path / "none")
    (tmp_path / "x").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(BadFile, match="cannot be used"):
        keys.signer(tmp_path / "x")


def test_keys_of_other_tools_are_taken(full: Pair, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    pem, raw = s.Encoding.PEM, s.NoEncryption()
    one, other = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    ssh = s.Encoding.OpenSSH, s.PublicFormat.OpenSSH
    (tmp_path / "id").write_bytes(one.private_bytes(pem, s.PrivateFormat.OpenSSH, raw))
    (tmp_path / "id.pub").write_bytes(one.public_key().public_bytes(*ssh))
    (tmp_path / "ec").write_bytes(other.private_bytes(pem, s.PrivateFormat.PKCS8, raw))
    open_ = s.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "ec.pub").write_bytes(other.public_key().public_bytes(pem, open_))
    for name in ("id", "ec"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(changed(full.line, lambda _: None, tmp_path / name))
        found = ftdiff.verify_claim(path, full.base, full.tuned, tmp_path / f"{name}.pub", sample=1)
        assert found.verdict == "verified"
    locked = s.BestAvailableEncryption(b"x")
    (tmp_path / "locked").write_bytes(one.private_bytes(pem, s.PrivateFormat.PKCS8, locked))
    with pytest.raises(BadFile, match="encrypted"):
        keys.signer(tmp_path / "locked")


def test_a_claim_is_added_once(full: Pair, tmp_path: Path) -> None:
    claim = ftdiff.attest(ftdiff.compare(str(full.base), str(full.tuned)), full.key)
    path = tmp_path / "new" / "claims.jsonl"
    assert claim.append(path) and not claim.append(path)
    assert len(path.read_text().splitlines()) == 1
    path.write_text("{")
    with pytest.raises(BadFile, match="cut short"):
        claim.append(path)
