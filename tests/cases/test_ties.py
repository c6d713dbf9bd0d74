"""A head that is its embedding: measured against it, whichever side stores which of the two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ftdiff
from ftdiff.formats.ties import says_tied, tied
from ftdiff.naming.matching import pair_names
from tests.cases import situations
from tests.conftest import write_model

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIES = {**situations.CONFIG, "tie_word_embeddings": True}


def state(*, head: bool = False, off: float = 0.0) -> dict[str, torch.Tensor]:
    """Return the base's weights without its head, or with the embedding moved for a head."""
    held = situations.state()
    draw = torch.randn(held[EMBED].shape, generator=torch.Generator().manual_seed(5))
    held.pop(HEAD, None)
    return {**held, HEAD: held[EMBED] + off * draw} if head else held


def base(folder: Path, **config: object) -> Path:
    return write_model(folder, state(), config={**TIES, **config})


def on_head(folder: Path, **more: torch.Tensor) -> Path:
    """Write a LoRA on q and on the head, which is the embedding."""
    lora = situations.factors(targets=("q_proj",))
    draw = torch.Generator().manual_seed(7)
    rows, width = state()[EMBED].shape
    at = "base_model.model.lm_head"
    lora[f"{at}.lora_A.weight"] = torch.randn(4, width, generator=draw) / 8
    lora[f"{at}.lora_B.weight"] = torch.randn(rows, 4, generator=draw) / 20
    targets = ["q_proj", "lm_head"]
    return situations.write_lora(folder, {**lora, **more}, target_modules=targets)


def norm_of_head(lora: Path) -> float:
    held = situations.stored(lora)
    A, B = (held[f"base_model.model.lm_head.lora_{part}.weight"].double() for part in "AB")
    return float((2 * B @ A).norm() / state()[EMBED].double().norm())


def row(diff: ftdiff.Diff, name: str = HEAD) -> dict[str, object]:
    (found,) = diff.frame[diff.frame["tensor"] == name].to_dict("records")
    return {str(key): value for key, value in found.items()}


def size(diff: ftdiff.Diff, name: str = HEAD) -> float:
    held = row(diff, name)
    return float((held["delta_sq"] / held["base_sq"]) ** 0.5)  # type: ignore[operator]


def rules(diff: ftdiff.Diff) -> set[str]:
    return {one.rule for one in ftdiff.audit(diff).findings}


@pytest.mark.parametrize("config", [{}, {"tie_word_embeddings": None, "text_config": TIES}])
def test_a_lora_on_a_tied_head_is_measured_against_the_embedding(
    tmp_path: Path, config: dict[str, object]
) -> None:
    lora = on_head(tmp_path / "lora")
    diff = ftdiff.compare(base(tmp_path / "base", **config), lora)
    assert row(diff)["status"] == "changed"
    assert size(diff) == pytest.approx(norm_of_head(lora), rel=1e-5)
    assert diff.about["coverage"] == 1.0
    assert diff.about["counts"]["added"] == 0
    assert row(diff, EMBED)["status"] == "untouched"
    (told,) = (one for one in diff.about["reasons"] if one["code"] == "tied")
    assert told == {"code": "tied", "side": "base", "name": HEAD, "stored": EMBED}
    assert "untied" in rules(diff) and not rules(diff) & {"unmatched", "one-sided"}
    (said,) = (one.message for one in ftdiff.audit(diff).findings if one.rule == "untied")
    assert said.startswith("1 tensor changed by factors of its own (lm_head.weight): ")
    found = ftdiff.similarity([lora, lora], base=base(tmp_path / "again", **config))
    assert HEAD in {*found.tensors["tensor"]}
    assert found.table().to_numpy()[0, 1] == pytest.approx(1.0)


def test_a_copy_of_the_embedding_beside_the_factors_of_the_head_is_compared(tmp_path: Path) -> None:
    name = "base_model.model.lm_head.base_layer.weight"
    lora = on_head(tmp_path / "lora", **{name: state()[EMBED].clone()})
    diff = ftdiff.compare(base(tmp_path / "base"), lora)
    assert size(diff) == pytest.approx(norm_of_head(lora), rel=1e-5)
    assert "copy-not-compared" not in {one["code"] for one in diff.about["reasons"]}


def test_a_head_that_is_not_tied_stays_one_sided(tmp_path: Path) -> None:
    lora = on_head(tmp_path / "lora")
    diff = ftdiff.compare(base(tmp_path / "base", tie_word_embeddings=False), lora)
    assert row(diff)["status"] == "added" and "unmatched" in rules(diff)


def test_a_saved_head_is_measured_against_the_embedding(tmp_path: Path) -> None:
    lora = situations.factors()
    lora["base_model.model.lm_head.weight"] = state(head=True, off=0.01)[HEAD]
    adapter = situations.write_lora(tmp_path / "lora", lora, modules_to_save=["lm_head"])
    diff = ftdiff.compare(base(tmp_path / "base"), adapter)
    moved = (lora["base_model.model.lm_head.weight"] - state()[EMBED]).double().norm()
    assert size(diff) == pytest.approx(float(moved / state()[EMBED].double().norm()), rel=1e-5)


@pytest.mark.parametrize("unties", [True, False])
def test_a_fine_tune_that_stores_its_head_is_measured_against_the_embedding(
    tmp_path: Path, unties: bool
) -> None:
    config = {**TIES, "tie_word_embeddings": not unties}
    tuned = write_model(tmp_path / "tuned", state(head=True, off=0.01), config=config)
    diff = ftdiff.compare(base(tmp_path / "base"), tuned)
    assert row(diff)["status"] == "changed" and diff.about["coverage"] == 1.0
    assert row(diff, EMBED)["status"] == "identical"
    assert "untied" in rules(diff)
    assert ("tied-diverged" in rules(diff)) == (not unties)


@pytest.mark.parametrize("off", [0.0, 0.1])
def test_a_fine_tune_that_ties_its_head_has_the_embedding_for_it(
    tmp_path: Path, off: float
) -> None:
    whole = {**situations.CONFIG, "tie_word_embeddings": False}
    stored = write_model(tmp_path / "base", state(head=True, off=off), config=whole)
    tuned = write_model(tmp_path / "tuned", state(), config=TIES)
    diff = ftdiff.compare(stored, tuned)
    assert row(diff)["status"] == ("changed" if off else "identical")
    assert diff.about["counts"]["removed"] == 0 and diff.about["coverage"] == 1.0
    (told,) = (one for one in diff.about["reasons"] if one["code"] == "tied")
    assert told["side"] == "tuned"
    # without a word on ties, what is not there is not there
    silent = write_model(tmp_path / "silent", state(), config={"model_type": "llama"})
    assert row(ftdiff.compare(stored, silent))["status"] == "removed"


def test_two_that_tie_have_one_tensor(tmp_path: Path) -> None:
    tuned = write_model(tmp_path / "tuned", state(), config=TIES)
    diff = ftdiff.compare(base(tmp_path / "base"), tuned)
    assert len(diff.frame) == len(state()) and not diff.about["reasons"]


def test_an_embedding_of_two_towers_is_found_under_each_of_its_names() -> None:
    draw = torch.Generator().manual_seed(1)
    rest = {
        f"{side}.block.{i}.layer.0.SelfAttention.q.weight": torch.randn(8, 8, generator=draw)
        for side in ("encoder", "decoder")
        for i in range(2)
    }
    shared = torch.randn(16, 8, generator=draw)
    names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    for mine in names:
        for theirs in names:
            diff = ftdiff.compare({**rest, mine: shared}, {**rest, theirs: shared + 1})
            assert diff.about["coverage"] == 1.0 and len(diff.frame) == 5
            assert row(diff, mine)["status"] == "changed"
    whole = ftdiff.compare({**rest, names[0]: shared}, rest | dict.fromkeys(names, shared))
    assert {*whole.frame["status"]} == {"identical"} and whole.about["coverage"] == 1.0
    apart = {**rest, names[1]: shared, names[2]: shared + 1}
    assert tied(apart, {}) == {}


@pytest.mark.parametrize(
    ("embedding", "head"),
    [
        ("transformer.wte.weight", "lm_head.weight"),
        ("wte.weight", "lm_head.weight"),
        ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
        ("distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight"),
        ("transformer.word_embeddings.weight", "lm_head.weight"),
        ("gpt_neox.embed_in.weight", "embed_out.weight"),
        ("model.decoder.embed_tokens.weight", "proj_out.weight"),
        ("shared.weight", "lm_head.weight"),
        ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
        ("model.language_model.embed_tokens.weight", "lm_head.weight"),
    ],
)
def test_heads_of_many_families_are_their_embeddings(embedding: str, head: str) -> None:
    shapes = dict.fromkeys(tied([embedding], {"tie_word_embeddings": True}), (2, 2))
    found = pair_names(shapes, {head: (2, 2)})
    assert tied([embedding], {"tie_word_embeddings": True})[found[head]] == embedding
    assert head not in tied([embedding, head], {"tie_word_embeddings": True})
    assert not pair_names(dict.fromkeys(tied([embedding], {}), (2, 2)), {head: (2, 2)})


def test_a_silent_configuration_of_a_model_with_a_head_ties_it() -> None:
    names = ["transformer.wte.weight"]
    assert tied(names, {"architectures": ["GPT2LMHeadModel"]})
    assert not tied(names, {"architectures": ["GPT2Model"]})
    assert not tied(names, {"architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": False})
    assert says_tied({"tie_word_embeddings": False, "text_config": {}}) is False


def test_a_merge_into_a_tied_head_is_verified_as_the_one_tensor_that_it_is(tmp_path: Path) -> None:
    lora = on_head(tmp_path / "lora")
    held = situations.stored(lora)
    A, B = (held[f"base_model.model.lm_head.lora_{part}.weight"] for part in "AB")
    layers = {k: W for k, W in held.items() if ".layers." in k}
    merged = {**state(), **{k: W for k, W in situations.merged(layers).items() if ".layers." in k}}
    merged[EMBED] = merged[EMBED] + 2 * B @ A
    folder = write_model(tmp_path / "merged", merged, config=TIES)
    assert ftdiff.verify(base(tmp_path / "base"), lora, folder).verdict == "merged"
    skipped = write_model(tmp_path / "skipped", {**merged, EMBED: state()[EMBED]}, config=TIES)
    assert not ftdiff.verify(base(tmp_path / "again"), lora, skipped).ok
    apart = {**merged, EMBED: state()[EMBED], HEAD: merged[EMBED]}
    unties = {**TIES, "tie_word_embeddings": False}
    folder = write_model(tmp_path / "apart", apart, config=unties)
    assert ftdiff.verify(base(tmp_path / "third"), lora, folder).ok
