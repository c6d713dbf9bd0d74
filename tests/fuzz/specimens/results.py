"""A saved result of every kind, a matrix, claims, keys and a journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ftdiff
from ftdiff.analyses import claims
from ftdiff.analyses.claims import keys
from ftdiff.comparison import journal
from ftdiff.formats.written import TAKEN
from ftdiff.reports import card as cards
from tests.analyses.planted_merges import merged_of_two
from tests.analyses.probed_models import labelled, written_model, written_rows
from tests.conftest import FIXTURES, nudge, write_model
from tests.fuzz.specimens import Add
from tests.fuzz.specimens.models import SMALL

#: What each command that takes a saved result is called with.
CALLS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "findings": (("findings", "{}/r.json"), ("findings", "{}/r.json", "--format", "json")),
    "plot": (("plot", "{}/r.json", "-o", "{}/p.svg"),),
    "report": (("report", "{}/r.json", "-o", "{}/page.html"),),
    "audit": (("audit", "{}/r.json"), ("audit", "{}/r.json", "--format", "sarif")),
    "card": (
        ("card", "{}/r.json", "--to", "markdown"),
        ("card", "{}/r.json", "--to", "latex"),
        ("card", "{}/r.json", "{}/README.md"),
    ),
    "attest": (("attest", "{}/r.json", "--key", "{root}/my.key", "-o", "{}/c.jsonl"),),
}
#: Beside what the kind's commands are.
MORE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "trajectory": (
        ("trajectory", "{root}/base", "{root}/tuned3", "--append", "{}/r.json", "-j", "1"),
    ),
}


def write(root: Path, add: Add) -> None:
    """Write a result of each kind as it is saved."""
    for i in (1, 2, 3):
        write_model(root / f"tuned{i}", nudge(SMALL, seed=i))
    private, public = keys.new_key(root / "my.key")
    made = _made(root, public)
    for name, (result, kind) in made.items():
        of_whole = ("audit", "attest", "card") if name == "parts" else ()
        named = [one for one in TAKEN[kind] if one not in of_whole]
        commands = [call for one in named for call in CALLS[one]]
        commands += MORE.get(kind, ())
        for way in ("json", "text"):

            def save(at: Path, result: Any = result) -> None:
                result.save(at / "r.json")
                (at / "README.md").write_text("# A model\n")

            told = f"saved {name}{', text' if way == 'text' else ''}"
            add(told, way, "r.json", commands, save)
    _matrices(add)
    _claims(root, add, private)
    _journals(add)


def _made(root: Path, key: Path) -> dict[str, tuple[Any, str]]:
    """Return results by name, with their kinds."""
    base, tuned = root / "base", [root / f"tuned{i}" for i in (1, 2)]
    last = root / "tuned3"
    diff = ftdiff.compare(base, tuned[0], ["stable_rank"])
    rows = written_rows(labelled(), root / "answers.jsonl")
    tiny, other = written_model(root / "tiny"), written_model(root / "other", attends=0)
    text = written_rows([{"text": "a b"}, {"text": "c d e"}], root / "text.jsonl")
    claim = claims.attest(ftdiff.compare(base, tuned[0]), root / "my.key").append(root / "c.jsonl")
    assert claim
    merged, parents, *start = merged_of_two()
    of = ftdiff.merge_of(_few(merged), [_few(one) for one in parents], *map(_few, start))
    probed = ftdiff.probe(tiny, data=rows, positions=("-1",), permutations=100)
    return {
        "diff": (diff, "diff"),
        "importance": (ftdiff.importance(tiny, other, text=text).diff, "diff"),
        "parts": (ftdiff.parts.heads(base, tuned[0]), "diff"),
        "similarity": (ftdiff.similarity(tuned, base=base), "similarity"),
        "trajectory": (ftdiff.trajectory(base, tuned), "trajectory"),
        "verification": (
            ftdiff.verify(*(FIXTURES / n for n in ("base", "lora", "merged_f32"))),
            "verification",
        ),
        "recovery": (ftdiff.recover(base, tuned[0]), "recovery"),
        "lineage": (ftdiff.lineage(tuned[0], [base, tuned[1], last]), "lineage"),
        "merge": (of, "merge"),
        "claim": (ftdiff.verify_claim(root / "c.jsonl", base, tuned[0], key), "claim"),
        "probe": (probed, "probe"),
        "drift": (ftdiff.drift(tiny, other, text=text), "drift"),
    }


def _few(state: Mapping[str, Any]) -> dict[str, Any]:
    return dict([*state.items()][:6])


def _matrices(add: Add) -> None:
    drawn = (
        ("findings", "{}/m.csv"),
        ("plot", "{}/m.csv", "-o", "{}/p.svg"),
        ("plot", "{}/m.csv", "--style", "importance", "-o", "{}/p.svg"),
    )
    matrix = "layer,q_proj,k_proj\n0,1.5,2\n1,nan,-3e5\n"
    add("matrix", "text", "m.csv", drawn, lambda at: (at / "m.csv").write_text(matrix))
    told = json.dumps([{"layer": 0, "q": 1.5, "k": None}, {"layer": 1, "q": 2, "k": 3}])
    drawn = (("findings", "{}/m.json"), ("plot", "{}/m.json", "-o", "{}/p.svg"))
    add("matrix in JSON", "json", "m.json", drawn, lambda at: (at / "m.json").write_text(told))


def _claims(root: Path, add: Add, private: Path) -> None:
    signed = (root / "c.jsonl").read_bytes()
    pair = ("{root}/base", "{root}/tuned1", "-j", "1")
    call = ("verify-claim", "{}/c.jsonl", *pair, "--key", "{root}/my.key.pub")
    check = ("card", "--check", "{}/README.md", "{}/c.jsonl")
    commands = (call, ("verify-claim", "{}/c.jsonl", *pair), check)
    saved = ftdiff.compare(root / "base", root / "tuned1").save(root / "diff.json")
    (root / "README.md").write_text("# A model\n")
    cards.save(ftdiff.Diff.load(saved), root / "README.md")
    card = (root / "README.md").read_text()

    def make(at: Path) -> None:
        (at / "c.jsonl").write_bytes(signed)
        (at / "README.md").write_text(card)
        for path in (private, root / "my.key.pub"):
            (at / path.name).write_bytes(path.read_bytes())

    for way in ("lines", "text"):
        add(f"claims, {way}", way, "c.jsonl", commands, make)
    own = ("verify-claim", "{}/c.jsonl", *pair, "--key", "{}/my.key.pub")
    add("public key", "bytes", "my.key.pub", (own,), make)
    attest = ("attest", "{root}/diff.json", "--key", "{}/my.key", "-o", "{}/more.jsonl", "-j", "1")
    add("private key", "bytes", "my.key", (attest,), make)
    more = ("attest", "{root}/diff.json", "--key", "{root}/my.key", "-o", "{}/c.jsonl", "-j", "1")
    add("claims that grow", "text", "c.jsonl", (more,), make)


def _journals(add: Add) -> None:
    sides = ("{root}/base", "{root}/tuned1")
    tail = ("-j", "1", "-o", "{}", "--format", "json")
    commands = {
        "compare": ("compare", *sides, *tail),
        "similarity": ("similarity", "{root}/tuned1", "{root}/tuned2", "--base", sides[0], *tail),
    }
    for name, call in commands.items():

        def make(at: Path, name: str = name) -> None:
            pair = [at.parent / f"tuned{i}" for i in (1, 2)]
            with journal.kept(at / "journal.sqlite", print):
                if name == "compare":
                    ftdiff.compare(at.parent / "base", pair[0])
                else:
                    ftdiff.similarity(pair, base=at.parent / "base")

        add(f"journal of {name}", "bytes", "journal.sqlite", (call,), make)
