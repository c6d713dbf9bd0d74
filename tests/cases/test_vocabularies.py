"""Vocabularies: rows that were added or removed are no movement, and an order is no change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.analyses import parts
from tests.cases import situations
from tests.conftest import write_model

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
AT = "base_model.model.model.embed_tokens"
MORE = 3

State = dict[str, torch.Tensor]


def draw(*shape: int, seed: int = 5, by: float = 0.1) -> torch.Tensor:
    return by * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resized(state: State, rows: int) -> State:
    """Return a model whose embedding and head have other rows at the end, or fewer."""
    found = dict(state)
    for name in (EMBED, HEAD):
        W = state[name]
        found[name] = torch.cat([W, draw(max(0, rows - len(W)), W.shape[1])])[:rows]
    return found


def shuffled(state: State, order: list[int]) -> State:
    return {**state, **{name: state[name][order] for name in (EMBED, HEAD)}}


def rows_of(diff: ftdiff.Diff) -> list[dict[str, object]]:
    frame = diff.frame[diff.frame["tensor"].isin((EMBED, HEAD))]
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def vocabulary(diff: ftdiff.Diff) -> str:
    return " ".join(one.message for one in ftdiff.audit(diff).findings if one.rule == "vocabulary")


def rules(diff: ftdiff.Diff) -> set[str]:
    return {one.rule for one in ftdiff.audit(diff).findings}


def permutation(seed: int = 0) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).permutation(situations.VOCAB)]


def test_rows_that_were_added_are_added_and_nothing_moved() -> None:
    base, tuned = situations.state(), resized(situations.merged(), situations.VOCAB + MORE)
    diff = ftdiff.compare(base, tuned)
    assert {row["status"] for row in rows_of(diff)} == {"reshaped"}
    assert vocabulary(diff).endswith(
        "3 rows were added; the 64 common rows are the base's, bit for bit."
    )
    assert not rules(diff) & {"embeddings-moved", "head-moved", "under-the-floor"}
    assert diff.whole("moved")["relative_norm"] == pytest.approx(
        situations.relative_norm(base, situations.merged()), rel=1e-6
    )


def test_an_adapter_that_saved_its_embedding_along_moved_nothing_of_it(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    whole = resized(situations.state(), situations.VOCAB + MORE)
    saved = {"base_model.model.lm_head.weight": whole[HEAD], f"{AT}.weight": whole[EMBED]}
    lora = situations.write_lora(tmp_path / "lora", {**situations.factors(), **saved})
    diff = ftdiff.compare(base, lora)
    assert vocabulary(diff).endswith("the 64 common rows are the base's, bit for bit.")
    assert not rules(diff) & {"embeddings-moved", "under-the-floor", "untargeted-moved"}
    merged = {**whole, **{k: W for k, W in situations.merged().items() if ".layers." in k}}
    assert ftdiff.verify(base, lora, write_model(tmp_path / "merged", merged)).ok


def test_rows_that_were_removed_are_told() -> None:
    diff = ftdiff.compare(situations.state(), resized(situations.state(), situations.VOCAB - 4))
    assert "rows of the base were removed; the 60 common rows are the base's" in vocabulary(diff)


@pytest.mark.parametrize("more", [0, MORE])
def test_rows_in_another_order_are_each_held_against_their_own(more: int) -> None:
    base = situations.state()
    order = permutation()
    tuned = shuffled(base, order)
    if more:
        tuned = resized(tuned, situations.VOCAB + more)
    diff = ftdiff.compare(base, tuned)
    for row in rows_of(diff):
        assert (row["status"], row["delta_sq"], row["unequal"]) == ("reshaped", 0.0, 0)
        assert row["reason"] == "reordered-rows"
    assert "hold the base's rows in another order" in vocabulary(diff)
    assert not rules(diff) & {"embeddings-moved", "head-moved", "replaced"}
    assert "embed.tokens" not in "".join(
        one.message for one in ftdiff.audit(diff).findings if one.rule == "frozen"
    )
    said = [one.message for one in ftdiff.findings(diff) if one.rule == "new-rows"]
    assert said and all("the base has more" not in one for one in said)
    rows = parts.tokens(base, tuned).frame
    rows = rows[rows["tensor"] == EMBED]
    assert sorted(rows["row"]) == [*range(situations.VOCAB + more)]
    assert (rows["status"] == "added").sum() == more
    if not more:
        assert [*rows["row"]] == [order.index(i) for i in range(situations.VOCAB)]


def test_a_part_in_another_order_and_a_trained_row_are_told_apart() -> None:
    base = situations.state()
    order = [*range(32), *(32 + i for i in (permutation(2))[:64] if i < 32)]
    tuned = shuffled(base, order)
    tuned[EMBED][5] += draw(situations.HIDDEN, by=0.001)
    diff = ftdiff.compare(base, tuned)
    (embed,) = (row for row in rows_of(diff) if row["tensor"] == EMBED)
    assert embed["reason"] == "reordered-rows" and embed["numel"] == base[EMBED].numel()
    moved = float((tuned[EMBED][5] - base[EMBED][5]).double().square().sum())
    assert embed["delta_sq"] == pytest.approx(moved, rel=1e-6)


def test_another_vocabulary_is_no_order_of_this_one() -> None:
    base = situations.state()
    tuned = {
        **base,
        EMBED: draw(*base[EMBED].shape),
        HEAD: base[HEAD] + draw(*base[HEAD].shape, by=0.01),
    }
    diff = ftdiff.compare(base, tuned)
    assert {row["status"] for row in rows_of(diff)} == {"changed"}


def test_narrower_rows_in_another_order_are_found_by_their_rounded_bits() -> None:
    base = situations.state()
    tuned = {name: W.bfloat16() for name, W in shuffled(base, permutation()).items()}
    diff = ftdiff.compare(base, tuned)
    plain = ftdiff.compare(base, {name: W.bfloat16() for name, W in base.items()})
    assert rows_of(diff)[0]["delta_sq"] == rows_of(plain)[0]["delta_sq"]


def on_embedding(tmp_path: Path, *, copied: bool, rows: int) -> tuple[Path, State]:
    """Write a LoRA on q and on an embedding that was resized first, and return its merge."""
    whole = resized(situations.state(), rows)
    lora = situations.factors(targets=("q_proj",))
    lora[f"{AT}.lora_embedding_A"] = draw(4, rows, seed=8)
    lora[f"{AT}.lora_embedding_B"] = draw(situations.HIDDEN, 4, seed=9)
    change = (lora[f"{AT}.lora_embedding_B"] @ lora[f"{AT}.lora_embedding_A"]).T * 2
    merged = situations.merged({k: W for k, W in lora.items() if ".lora_A" in k or ".lora_B" in k})
    merged |= {HEAD: whole[HEAD], EMBED: whole[EMBED] + change}
    lora["base_model.model.lm_head.weight"] = whole[HEAD]
    if copied:
        lora[f"{AT}.base_layer.weight"] = whole[EMBED]
    targets = ["q_proj", "embed_tokens"]
    return situations.write_lora(tmp_path / "lora", lora, target_modules=targets), merged


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("rows", [situations.VOCAB + MORE, situations.VOCAB - MORE])
def test_a_lora_on_a_resized_embedding_is_measured_and_verifies(
    tmp_path: Path, copied: bool, rows: int
) -> None:
    base = situations.write_base(tmp_path / "base")
    lora, merged = on_embedding(tmp_path, copied=copied, rows=rows)
    diff = ftdiff.compare(base, lora)
    (embed,) = (row for row in rows_of(diff) if row["tensor"] == EMBED)
    common = min(rows, situations.VOCAB)
    moved = (merged[EMBED] - resized(situations.state(), rows)[EMBED])[:common]
    assert embed["delta_sq"] == pytest.approx(float(moved.double().square().sum()), rel=1e-5)
    folder = write_model(tmp_path / "merged", merged, config=situations.CONFIG)
    found = ftdiff.verify(base, lora, folder)
    assert found.ok, found.frame[found.frame["status"] != "untouched"].to_string()
    wrong = {**merged, EMBED: resized(situations.state(), rows)[EMBED]}
    assert not ftdiff.verify(base, lora, write_model(tmp_path / "skipped", wrong)).ok


def test_half_of_a_vocabulary_is_a_shard_and_not_compared(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    lora, _ = on_embedding(tmp_path, copied=False, rows=situations.VOCAB // 2)
    (embed,) = (row for row in rows_of(ftdiff.compare(base, lora)) if row["tensor"] == EMBED)
    assert embed["reason"] == "other-shape"
