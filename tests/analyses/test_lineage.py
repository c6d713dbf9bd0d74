from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import ftdiff
from ftdiff.errors import BadCall, BadFile
from tests.analyses import planted_merges as planted
from tests.analyses.planted import weights
from tests.conftest import FIXTURES, llama, nudge, write_model

BASE, FULL, MERGED, MERGED_F32 = (
    FIXTURES / name for name in ("base", "full", "merged", "merged_f32")
)


def stranger(seed: int) -> dict[str, torch.Tensor]:
    """Return an independent start of the same shape, with the constants all models begin with."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.ones_like(W)
        if W.ndim == 1
        else (0.05 * torch.randn(W.shape, generator=draw)).to(W.dtype)
        for name, W in llama().items()
    }


@pytest.mark.parametrize(("tuned", "equal"), [(FULL, 0), (MERGED, 142)])
def test_the_base_of_a_real_training_is_found_in_any_order(tuned: Path, equal: int) -> None:
    others = [p for p in (FULL, MERGED) if p != tuned]
    frames = []
    for order in itertools.permutations([BASE, *others]):
        found = ftdiff.lineage(tuned, order)
        assert (found.verdict, found.parent, found.exit_code) == ("nearest", str(BASE), 0)
        frames.append(found.frame)
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])
    best = frames[0].iloc[0]
    assert (best["measured"], best["equal"], best["tensors"]) == ("full", equal, 338)


def test_the_numbers_are_those_of_the_comparison() -> None:
    best = ftdiff.lineage(FULL, [BASE]).frame.iloc[0]
    a, b = weights(BASE), weights(FULL)
    names = [name for name, W in a.items() if W.ndim == 2]
    W = torch.cat([a[name].double().ravel() for name in names])
    W1 = torch.cat([b[name].double().ravel() for name in names])
    assert best["relative_norm"] == pytest.approx(float((W1 - W).norm() / W.norm()), rel=1e-6)
    assert best["cosine"] == pytest.approx(float(W @ W1 / W.norm() / W1.norm()), rel=1e-6)


def test_a_cast_is_the_same_model() -> None:
    found = ftdiff.lineage(MERGED, [BASE, MERGED_F32])
    assert found.parent == str(MERGED_F32)
    assert found.frame.iloc[0]["equal"] == 338
    assert ftdiff.lineage(MERGED, [BASE]).frame.iloc[0]["equal"] == 142


def test_independent_starts_are_nobodys_parents() -> None:
    found = ftdiff.lineage(stranger(1), [stranger(2), stranger(3)])
    assert (found.verdict, found.parent, found.exit_code) == ("nobody", None, 1)
    assert "made from none of these" in found.sentences[0]
    assert list(found.frame["equal"]) == [0, 0]  # norms of ones are no evidence
    assert abs(found.frame["cosine"].astype(float)).max() < 0.1
    assert found.frame["relative_norm"].astype(float).to_numpy() == pytest.approx(2**0.5, rel=0.05)


def test_one_tensor_in_common_makes_a_relative() -> None:
    tuned, candidate = stranger(1), stranger(2)
    candidate["model.embed_tokens.weight"] = tuned["model.embed_tokens.weight"]
    found = ftdiff.lineage(tuned, [candidate])
    assert (found.verdict, found.frame.iloc[0]["equal"]) == ("nearest", 1)


def test_copies_are_a_tie_and_a_change_of_one_of_them_is_not() -> None:
    base, tuned = llama(), nudge(llama())
    tied = ftdiff.lineage(tuned, [base, dict(base)])
    assert (tied.verdict, tied.parent, tied.exit_code) == ("tie", None, 1)
    assert "cannot tell" in tied.sentences[0]
    told = ftdiff.lineage(tuned, [nudge(base, by=0.03, seed=5), base])
    assert told.verdict == "nearest"
    assert told.frame["relative_norm"].iloc[0] < told.frame["relative_norm"].iloc[1]


def test_a_sibling_is_the_nearest_and_no_parent(tmp_path: Path) -> None:
    base = llama()
    tuned, sibling = nudge(base, by=0.1, seed=1), nudge(base, by=0.1, seed=2)
    found = ftdiff.lineage(tuned, [sibling])
    assert (found.verdict, found.exit_code) == ("nearest", 0)
    assert "another child of the same base" in " ".join(found.sentences)
    assert "parent" not in found.sentences[0]
    config = {"_name_or_path": "someone/base"}
    named = write_model(tmp_path / "tuned", tuned, config=config)
    found = ftdiff.lineage(named, [write_model(tmp_path / "base", base), sibling])
    assert found.verdict == "parent"
    assert "its config.json names 'someone/base': this one, the parent" in found.sentences
    found = ftdiff.lineage(named, [write_model(tmp_path / "other", base), sibling])
    assert found.verdict == "nearest"


def test_what_was_compared_in_part_stands_after_what_was_compared_in_full() -> None:
    base = llama()
    tuned, far = nudge(base, by=0.02, seed=1), nudge(base, by=0.2, seed=2)
    part = {name: W for name, W in tuned.items() if "layers.1." not in name}
    for order in ([part, far], [far, part]):
        found = ftdiff.lineage(tuned, order)
        assert list(found.frame["coverage"] < 1) == [False, True]
        assert found.frame["relative_norm"].iloc[1] == 0
        assert "is the nearest of those compared in full" in found.sentences[0]
    moved = {name: W + 0.01 if W.ndim == 2 else W for name, W in part.items()}
    assert ftdiff.lineage(tuned, [moved, far]).verdict == "nearest"
    stranger_first = ftdiff.lineage(part, [stranger(5), base])
    assert stranger_first.frame["cosine"].iloc[0] > 0.9  # all of it, or not: a stranger is last


def test_the_model_itself_is_the_nearest() -> None:
    found = ftdiff.lineage(FULL, [BASE, FULL])
    assert found.parent == str(FULL)
    assert found.frame.iloc[0]["relative_norm"] == 0
    assert "being the same" in found.sentences[0]


def test_only_those_that_may_win_are_read_in_full() -> None:
    base = llama()
    far = [nudge(base, by=3.0 + i, seed=i) for i in range(4)]
    found = ftdiff.lineage(nudge(base, by=0.05, seed=9), [*far, base])
    assert list(found.frame["measured"]) == ["full", "full", "sample", "sample", "sample"]
    near = [nudge(base, by=0.1, seed=i) for i in range(4)]
    found = ftdiff.lineage(nudge(base, by=0.1, seed=9), near)
    assert set(found.frame["measured"]) == {"full"}


def test_a_model_of_another_shape_is_listed_with_the_reason(tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", llama(hidden=32))
    found = ftdiff.lineage(nudge(llama()), [other, llama()])
    assert found.verdict == "nearest"
    assert found.frame.iloc[1]["candidate"] == str(other)
    assert found.frame.iloc[1]["measured"] != "full" or found.frame.iloc[1]["coverage"] < 0.5
    assert ftdiff.lineage(nudge(llama()), [other]).verdict == "nobody"
    assert ftdiff.lineage(nudge(llama()), [{"x": torch.ones(3, 3)}]).verdict == "nobody"


def test_adapters_and_nothing_are_refused() -> None:
    with pytest.raises(BadCall, match=r"holds a change .*it names '\.\./base'"):
        ftdiff.lineage(FIXTURES / "lora", [BASE])
    with pytest.raises(BadCall, match="cannot be a parent"):
        ftdiff.lineage(FULL, [FIXTURES / "lora"])
    with pytest.raises(BadCall, match="at least one"):
        ftdiff.lineage(FULL, [])
    with pytest.raises(BadFile, match="no such file"):
        ftdiff.lineage(FULL, ["nowhere"])


def test_a_merge_is_called_one_and_has_no_parent(tmp_path: Path) -> None:
    base = planted.base()
    a, b = planted.tuned(base, 2, 5e-3)
    folders = [
        write_model(tmp_path / name, state)
        for name, state in {"base": base, "a": a, "b": b}.items()
    ]
    mix = planted.linear([a, b], [0.6, 0.4])
    config = {"_name_or_path": "someone/a"}
    named = write_model(tmp_path / "mix", mix, config=config)
    for order in (folders, folders[1:], folders[::-1]):
        found = ftdiff.lineage(named, order)
        assert (found.verdict, found.parent, found.exit_code) == ("merge", None, 0)
        assert found.sentences[0] == f"{named} is a merge of a and b at 0.6/0.4 (exactly)"
        assert "parent" not in " ".join(found.sentences)
        assert found.merge is not None and found.merge["verdict"] == "exactly"
        assert found.merge["parents"] == {name: str(tmp_path / name) for name in "ab"}
    again = ftdiff.Lineage.load(found.save(tmp_path / "lineage.json"))
    assert again.json() == found.json() and again.findings()[0].evidence["merge"] == found.merge
    whole = planted.linear([a, b], [0.6, 0.4], dtype=torch.float32)
    trained = write_model(tmp_path / "trained", planted.trained(whole, 1e-4), config=config)
    found = ftdiff.lineage(trained, folders)
    assert found.verdict == "merge"
    assert found.sentences[0] == f"{trained} is a merge of a and b at 0.6/0.4, then changed"


def test_what_a_merge_was_made_of_is_no_merge_of_it() -> None:
    base = planted.base()
    a, b = planted.tuned(base, 2, 5e-2)
    mix = planted.linear([a, b], [0.6, 0.4])  # a = 1.67 mix − 0.67 b, but for what was rounded
    found = ftdiff.lineage(a, [mix, b, base])
    assert found.verdict == "nearest" and found.merge is None


def test_a_merge_whose_other_parent_is_not_there_has_no_parent(tmp_path: Path) -> None:
    base = planted.base()
    a, b, c = planted.tuned(base, 3, 5e-3)
    mix = planted.linear([a, b, c], [0.5, 0.3, 0.2])
    named = write_model(tmp_path / "mix", mix, config={"_name_or_path": "a"})
    folders = [write_model(tmp_path / n, m) for n, m in {"base": base, "a": a, "b": b}.items()]
    found = ftdiff.lineage(named, folders)
    assert found.verdict != "parent"
    assert found.merge is not None and found.merge["verdict"] != "exactly"


def test_a_lineage_that_was_saved_before_there_were_merges_opens(tmp_path: Path) -> None:
    found = ftdiff.lineage(FULL, [BASE])
    document = json.loads(found.json())
    del document["merge"], document["tree"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    again = ftdiff.Lineage.load(tmp_path / "old.json")
    assert (again.verdict, again.merge, again.tree) == (found.verdict, None, None)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ftdiff", "lineage", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_shell_says_who_and_exits_with_it() -> None:
    done = run(MERGED, FULL, BASE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nearest\n")
    assert f"{BASE}: 142 of 338 tensors the same" in done.stdout
    assert run(MERGED, BASE, BASE).returncode == 1
    wrong = run(FULL, "nowhere")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    document = json.loads(run(MERGED, FULL, BASE, "--format", "json").stdout)
    assert (document["verdict"], document["parent"]) == ("nearest", str(BASE))
