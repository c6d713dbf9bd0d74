"""What is broken is named by its own sentence, first; what was trained is called nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.damage import KINDS, damage_of, kinship
from ftdiff.analyses.findings import RULES, broken, findings
from ftdiff.comparison.result import Diff
from ftdiff.reports.summary import summary
from tests.conftest import FIXTURES

State = dict[str, Any]
LAYERS, WIDTH = 8, 32
DTYPES = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}
V = "model.layers.{}.self_attn.v_proj.weight"
NORM = "model.layers.3.input_layernorm.weight"
EMBED = "model.embed_tokens.weight"


def model(dtype: Any = np.float32, seed: int = 5) -> State:
    """Return a small model in memory; two seeds are unrelated models of one shape."""
    rng = np.random.default_rng(seed)
    state = {EMBED: rng.normal(size=(48, WIDTH))}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"):
            state[f"{at}{module}.weight"] = 0.05 * rng.normal(size=(WIDTH, WIDTH))
        state[f"{at}self_attn.q_proj.bias"] = 1e-3 * rng.normal(size=WIDTH)
        state[f"{at}input_layernorm.weight"] = 1 + 0.1 * rng.normal(size=WIDTH)
    return {name: W.astype(np.float32).astype(dtype) for name, W in state.items()}


def trained(state: State, by: float = 0.02, seed: int = 6) -> State:
    """Return a fine-tune of everything, by this relative change."""
    rng = np.random.default_rng(seed)
    return {name: moved(W, by, rng) for name, W in state.items()}


def moved(W: Any, by: float, rng: np.random.Generator) -> Any:
    whole = W.astype(np.float64)
    noise = rng.normal(size=W.shape) * np.sqrt((whole**2).mean())
    return (whole + by * noise).astype(np.float32).astype(W.dtype)


def with_one(
    change: Callable[[Any], Any], name: str = V.format(3), dtype: Any = np.float32
) -> Diff:
    """Return a fine-tune in which one tensor is made of the base's."""
    base = model(dtype)
    changed = change(base[name].astype(np.float32))
    return ftdiff.compare(base, {**trained(base), name: changed.astype(dtype)})


def said(diff: Diff, **limits: dict[str, float]) -> list[ftdiff.Finding]:
    """Return what the rules of damage say, without the tests for patterns, which take a second."""
    rules = {name: one.generate for name, one in RULES.items() if one.kind == "damage"}
    return [one for name, say in rules.items() for one in say(diff, **limits.get(name, {}))]


def beside(W: Any, share: float) -> Any:
    """Return noise at right angles to a tensor, of this share of its norm."""
    noise = np.random.default_rng(3).normal(size=W.shape)
    noise -= W * (noise * W).sum() / (W * W).sum()
    return share * noise * np.linalg.norm(W) / np.linalg.norm(noise)


def turned(W: Any, cosine: float) -> Any:
    """Return a tensor of the same norm at this cosine."""
    return cosine * W + beside(W, float(np.sqrt(1 - cosine**2)))


def renewed(W: Any) -> Any:
    return np.random.default_rng(1).normal(size=W.shape) * W.std()


def pruned(W: Any, share: float) -> Any:
    """Return a tensor with its smallest entries set to zero."""
    order = np.argsort(np.abs(W), axis=None)
    W = W.copy()
    W.flat[order[: round(share * W.size)]] = 0
    return W


def low_rank(W: Any, rank: int) -> Any:
    """Return the nearest matrix of a rank: at right angles to what it lacks, as a pruned one is."""
    U, S, Vh = np.linalg.svd(W.astype(np.float64))
    return (U[:, :rank] * S[:rank]) @ Vh[:rank]


def with_nan(W: Any, count: int) -> Any:
    W = W.copy()
    W.flat[:count] = np.nan
    return W


#: By kind, what makes a tensor so, and words and numbers of the sentence.
BROKEN: dict[str, list[tuple[Callable[[Any], Any], str]]] = {
    "nonfinite": [
        (lambda W: with_nan(W, 1), "NaN or Inf, in 1 entry."),
        (lambda W: with_nan(W, W.size), "it has no other entry, and no change could be measured"),
        (lambda W: with_nan(W, 5) * 0, "in 5 entries."),
    ],
    "zeroed": [(lambda W: 0 * W, "zero in every entry")],
    "sign-flipped": [
        (lambda W: -W, "cosine with the base is −1.000"),
        (lambda W: -(W + beside(W, 0.1)), "cosine with the base is −0.995"),
        (lambda W: -3 * W, "cosine with the base is −1.000"),
        (lambda W: -np.sign(W) * np.abs(renewed(W)), "sign flipped"),
    ],
    "replaced": [
        (renewed, "initialised anew"),
        (lambda W: 50 * renewed(W), "initialised anew"),
        (lambda W: turned(W, -0.5), "cosine −0.500"),
    ],
    "pruned": [
        (lambda W: pruned(W, 0.5), "50% of the entries were set to zero"),
        (lambda W: pruned(W, 0.1), "9.96% of the entries were set to zero"),
    ],
    "multiplied": [
        (lambda W: 2 * W, "multiplied by 2,"),
        (lambda W: 1.37 * W, "multiplied by 1.37,"),
        (lambda W: 100 * W, "multiplied by 100,"),
        (lambda W: 0.5 * W, "multiplied by 0.5,"),
    ],
    "overwritten": [
        (lambda W: turned(4 * W, 0.8), "by 3.26 times its own norm, and the median matrix by 0.02"),
        (lambda W: 100 * W + beside(W, 1.0), "by 99 times its own norm"),
    ],
}
CASES = [(kind, change, words) for kind, cases in BROKEN.items() for change, words in cases]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "change", "words"), CASES)
def test_one_broken_tensor_has_one_sentence_that_leads(
    kind: str, change: Callable[[Any], Any], words: str, dtype: str
) -> None:
    diff = with_one(change, dtype=DTYPES[dtype])
    (one,) = said(diff)
    assert one.rule == kind and words in one.message
    assert one.severity == ("caution" if kind in ("pruned", "overwritten") else "alarm")
    assert one.evidence["tensors"] == [V.format(3)] and one.cells == ((3, "attn.v"),)
    (alarm,) = (f for f in ftdiff.audit(diff).findings if f.rule == kind)
    assert (alarm.message, alarm.severity) == (one.message, one.severity)


def test_the_broken_leads_in_findings_and_in_the_summary() -> None:
    base = model()
    tuned = {**trained(base), V.format(3): 2 * base[V.format(3)], V.format(4): -base[V.format(4)]}
    diff = ftdiff.compare(base, {**tuned, V.format(1): with_nan(tuned[V.format(1)], 3)})
    found = findings(diff)
    assert [one.rule for one in found[:3]] == ["nonfinite", "sign-flipped", "multiplied"]
    assert broken(found) == found[:3] and len({one.message for one in found}) == len(found)
    lines = summary(diff, found)
    assert lines[0] == " ".join(one.message for one in found[:3]) and len(lines) <= 11


def test_every_kind_has_a_rule_of_its_name_in_findings_and_in_the_audit() -> None:
    assert {name for name, one in RULES.items() if one.kind == "damage"} == {*KINDS, "another-base"}
    assert {*KINDS} <= {*ftdiff.analyses.audit.AUDIT}


@pytest.mark.parametrize("name", ["full", "lora", "rslora", "merged", "attention", "frozen"])
def test_nothing_of_a_real_fine_tune_is_broken(name: str) -> None:
    diff = ftdiff.compare(FIXTURES / "base", FIXTURES / name)
    assert not said(diff) and not damage_of(diff).broken.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("by", [1e-4, 1e-3, 0.02, 0.3, 1.0])
def test_training_of_any_size_is_no_damage(by: float, dtype: str) -> None:
    base = model(DTYPES[dtype])
    for seed in range(5):
        assert not said(ftdiff.compare(base, trained(base, by, seed)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda W: 0.999 * W, id="weight decay alone"),
        pytest.param(lambda W: 1.049 * W, id="a multiple near 1"),
        pytest.param(lambda W: 1.37 * W + beside(W, 0.01), id="a multiple and training"),
        pytest.param(lambda W: pruned(W, 0.009), id="few new zeros"),
        pytest.param(lambda W: pruned(W, 0.5) + beside(W, 0.01), id="pruned, then trained"),
        pytest.param(lambda W: 1e-20 * renewed(W) + W, id="nothing"),
        pytest.param(lambda W: np.where(np.abs(W) < 0.02, 1e-9, W), id="small, and no zeros"),
        pytest.param(lambda W: np.where(np.abs(W) < 0.02, 0.001 * W, W), id="shrunk, and no zeros"),
        pytest.param(lambda W: low_rank(W, 20), id="its largest singular values"),
    ],
)
def test_a_near_miss_is_not_told(change: Callable[[Any], Any]) -> None:
    assert not said(with_one(change))


@pytest.mark.parametrize(
    ("kind", "over", "under"),
    [
        ("replaced", lambda W: turned(W, 0.09), lambda W: turned(W, 0.11)),
        ("sign-flipped", lambda W: turned(W, -0.91), lambda W: turned(W, -0.89)),
        ("pruned", lambda W: pruned(W, 0.0105), lambda W: pruned(W, 0.0095)),
        ("multiplied", lambda W: 1.051 * W, lambda W: 1.049 * W),
        ("overwritten", lambda W: W + beside(W, 1.01), lambda W: W + beside(W, 0.99)),
        ("multiplied", lambda W: 2 * W + beside(W, 5e-4), lambda W: 2 * W + beside(W, 2e-3)),
        ("zeroed", lambda W: 0 * W, lambda W: 1e-18 * W),
        ("nonfinite", lambda W: with_nan(W, 1), lambda W: np.where(W > 0.1, 1e19, W)),
    ],
)
def test_just_over_is_told_and_just_under_is_not(
    kind: str, over: Callable[[Any], Any], under: Callable[[Any], Any]
) -> None:
    assert [one.rule for one in said(with_one(over))] == [kind]
    assert kind not in {one.rule for one in said(with_one(under))}


def test_each_threshold_moves_its_rule() -> None:
    assert not said(with_one(lambda W: 2 * W), multiplied={"change": 1.1})
    assert not said(with_one(lambda W: pruned(W, 0.1)), pruned={"share": 0.2})
    assert not said(with_one(lambda W: turned(4 * W, 0.8)), overwritten={"times": 200})
    assert said(with_one(lambda W: turned(W, 0.2)), replaced={"cosine": 0.3})
    assert said(with_one(lambda W: turned(W, -0.8)), **{"sign-flipped": {"cosine": 0.7}})
    assert not said(ftdiff.compare(model(), model(seed=9)), **{"another-base": {"cosine": -1.0}})


def test_a_multiple_is_told_where_it_is_large_against_the_rest() -> None:
    base = model()
    for by, count in ((0.2, 1), (0.5, 0)):
        tuned = {**trained(base, by), V.format(3): 1.37 * base[V.format(3)]}
        assert len(said(ftdiff.compare(base, tuned))) == count
    (one,) = said(ftdiff.compare(base, {name: 2 * W for name, W in base.items()}))
    assert one.rule == "multiplied" and len(one.evidence["tensors"]) == len(base)


def test_a_vector_has_no_direction_to_lose_and_a_scalar_nothing() -> None:
    bias = "model.layers.3.mlp.up_proj.bias"
    wide = 1e-3 * np.random.default_rng(4).normal(size=256)
    base = {**model(), "model.layers.0.gate": np.float32([2.0]), bias: wide.astype("f4")}
    for W in ([4.0], [-2.0]):
        tuned = {**trained(base), "model.layers.0.gate": np.float32(W), bias: renewed(base[bias])}
        assert not said(ftdiff.compare(base, tuned))
    tuned = {**trained(base), NORM: -base[NORM]}
    (one,) = said(ftdiff.compare(base, tuned))
    assert one.rule == "sign-flipped" and one.evidence["tensors"] == [NORM]


def test_a_zero_base_has_no_cosine_and_is_not_replaced() -> None:
    base = {**model(), V.format(3): np.zeros((WIDTH, WIDTH), "f4")}
    diff = ftdiff.compare(base, {**trained(base), V.format(3): model()[V.format(3)]})
    assert not said(diff)
    assert np.isnan(damage_of(diff).cosine[list(diff.columns["tensor"]).index(V.format(3))])


def test_an_unmerged_adapter_is_judged_by_what_is_not_finite_alone() -> None:
    diff = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora")
    frame = diff.frame.copy()
    frame["tuned_sq"], frame["inner"] = 0.0, -frame["base_sq"]
    assert not said(Diff(frame, diff.about))
    frame["nonfinite_tuned"] = frame["nonfinite_tuned"].fillna(0) + 1
    assert {one.rule for one in said(Diff(frame, diff.about))} == {"nonfinite"}


def test_an_all_nan_layer_leads_and_the_rest_is_measured() -> None:
    base = model()
    tuned = trained(base)
    broken_names = [name for name in base if ".layers.3." in name]
    tuned |= {name: np.full_like(tuned[name], np.nan) for name in broken_names}
    diff = ftdiff.compare(base, tuned)
    (one,) = said(diff)
    assert one.rule == "nonfinite" and one.evidence["tensors"] == broken_names
    assert f"{len(broken_names)} of them have no other entry" in one.message
    assert not ftdiff.audit(diff).ok


def test_what_could_not_be_read_leads() -> None:
    diff = with_one(lambda W: W)
    frame = diff.frame.copy()
    frame.loc[frame["tensor"] == V.format(2), "status"] = "unreadable"
    told = Diff(frame, {**diff.about, "unreadable": {V.format(2): "cut short"}})
    assert summary(told)[0] == f"1 tensor ({V.format(2)}) could not be read: cut short."
    base = {**model(), NORM: with_nan(model()[NORM], 2)}
    (one,) = said(ftdiff.compare(base, trained(model())))
    assert (one.rule, one.severity, one.evidence["entries"]) == ("nonfinite-base", "caution", 2)


@pytest.mark.parametrize("copied", [(), (EMBED,), (EMBED, NORM)])
def test_an_unrelated_model_is_told_whatever_was_copied(copied: tuple[str, ...]) -> None:
    base = model()
    diff = ftdiff.compare(base, {**model(seed=9), **{name: base[name] for name in copied}})
    (one,) = findings(diff)
    assert one.rule == "another-base" and one.evidence["matrices"] == 3 * LAYERS
    assert abs(one.evidence["cosine"]) < 0.05
    alarms = [f.rule for f in ftdiff.audit(diff).findings if f.severity == "alarm"]
    assert alarms == ["wrong-base"]


def test_half_a_model_initialised_anew_is_named_tensor_by_tensor() -> None:
    base = model()
    tuned = trained(base) | {V.format(i): renewed(base[V.format(i)]) for i in range(LAYERS)}
    diff = ftdiff.compare(base, tuned)
    (one,) = said(diff)
    assert one.rule == "replaced" and len(one.evidence["tensors"]) == LAYERS
    known = kinship(diff)
    assert known is not None and known.cosine > 0.99 and known.matrices == 3 * LAYERS
    frozen = {**base, **{V.format(i): tuned[V.format(i)] for i in range(LAYERS)}}
    assert [one.rule for one in said(ftdiff.compare(base, frozen))] == ["replaced"]


@pytest.mark.parametrize(
    ("change", "rescaled"),
    [
        (renewed, False),
        (lambda W: -W, False),
        (lambda W: pruned(W, 0.5), False),
        (lambda W: 0 * W, False),
        (lambda W: 1.37 * W + beside(W, 0.1), True),
        (lambda W: 0.8 * W + beside(W, 0.1), True),
    ],
)
def test_only_what_keeps_its_direction_is_called_a_rescale(
    change: Callable[[Any], Any], rescaled: bool
) -> None:
    base = model()
    tuned = trained(base)
    tuned |= {V.format(i): change(base[V.format(i)]).astype("f4") for i in range(LAYERS)}
    rows = [one for one in findings(ftdiff.compare(base, tuned)) if one.rule == "scale-control"]
    assert [one.evidence["component"] for one in rows] == (["attn.v"] if rescaled else [])


def test_a_large_rescale_that_lost_the_direction_is_none() -> None:
    base = model()
    tuned = trained(base, 0.8)
    tuned |= {V.format(i): turned(8 * base[V.format(i)], 0.8).astype("f4") for i in range(LAYERS)}
    diff = ftdiff.compare(base, tuned)
    assert not said(diff)
    rows = diff.by("component", metrics=("scale_share", "cosine"), param="weight")
    v = rows.set_index("component").loc["attn.v"]
    assert v["scale_share"] > 0.5 and v["cosine"] < 0.9
    assert not [one for one in findings(diff) if one.rule == "scale-control"]


@pytest.mark.parametrize("name", [V.format(3), EMBED])
def test_one_multiplied_tensor_makes_no_rescale_of_its_component(name: str) -> None:
    found = findings(with_one(lambda W: 2 * W, name))
    assert [one.rule for one in found if one.rule in ("multiplied", "scale-control")] == [
        "multiplied"
    ]
