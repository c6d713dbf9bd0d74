"""Each audit rule has a case that triggers it and one that does not; a policy means its words."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

import ftdiff
from ftdiff.analyses import audit as policy
from ftdiff.analyses.audit import AUDIT, CI, Expectation, Policy, policy_of, read_policy
from ftdiff.cli import ftdiff as door
from ftdiff.comparison.selected import of_diff
from ftdiff.comparison.selection import Selection
from ftdiff.errors import BadCall, BadFile
from tests.analyses import file_cases, saved_cases
from tests.conftest import FIXTURES

State = dict[str, Any]
Q = "model.layers.{}.self_attn.q_proj.weight"
EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
BASE = FIXTURES / "base"


def model(layers: int = 4, dtype: Any = np.float32) -> State:
    """Return a small model in memory."""
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> Any:
        return rng.normal(size=shape).astype(dtype)

    state = {EMBED: draw(12, 8), HEAD: draw(12, 8), NORM: draw(8)}
    for i in range(layers):
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"):
            state[f"model.layers.{i}.{module}.weight"] = draw(8, 8)
        state[f"model.layers.{i}.self_attn.q_proj.bias"] = draw(8)
    return state


def trained(state: Mapping[str, Any], only: str = "_proj.weight", by: float = 0.02) -> State:
    """Return a fine-tune of the tensors whose name ends so."""
    rng = np.random.default_rng(6)
    return {
        name: (W + (by * rng.normal(size=W.shape)).astype(W.dtype)).astype(W.dtype)
        if name.endswith(only)
        else W.copy()
        for name, W in state.items()
    }


def plain() -> ftdiff.Diff:
    return ftdiff.compare(model(), trained(model()))


def edited(**changes: Callable[[Any], Any]) -> ftdiff.Diff:
    """Return the plain fine-tune with some tensors changed: embed, head, norm or q0."""
    names = {"embed": EMBED, "head": HEAD, "norm": NORM, "q0": Q.format(0)}
    state = trained(model())
    for short, change in changes.items():
        state[names[short]] = change(state[names[short]])
    return ftdiff.compare(model(), state)


def adapter(**about: Any) -> ftdiff.Diff:
    """Return the diff of the real LoRA, with something else told about it."""
    diff = ftdiff.compare(BASE, FIXTURES / "lora")
    return ftdiff.Diff(diff.frame, {**diff.about, **about})


def held_as(form: str) -> ftdiff.Diff:
    """Return the diff of the real LoRA with one of its rows in another form."""
    diff = adapter()
    frame = diff.frame.copy()
    frame.loc[frame["form"].notna().idxmax(), "form"] = form
    return ftdiff.Diff(frame, diff.about)


def uncoded(*notes: str) -> ftdiff.Diff:
    """Return the diff of the real LoRA as one that was saved without codes."""
    diff = adapter(notes=list(notes))
    about = {name: value for name, value in diff.about.items() if name != "reasons"}
    return ftdiff.Diff(diff.frame.drop(columns="reason"), about)


def dead(every: bool) -> ftdiff.Diff:
    """Return the real LoRA with one dead module, or nothing but dead ones."""
    diff = adapter()
    rows = diff.frame["status"] == "changed"
    if not every:
        rows &= diff.frame["tensor"] == Q.format(3)
    frame = diff.frame.copy()
    frame.loc[rows, "status"] = "identical"
    return ftdiff.Diff(frame, diff.about)


def told(adapter_says: Mapping[str, Any]) -> ftdiff.Diff:
    diff = adapter()
    return adapter(adapter={**diff.about["adapter"], **adapter_says})


def unreadable() -> ftdiff.Diff:
    diff = plain()
    frame = diff.frame.copy()
    frame.loc[0, "status"] = "unreadable"
    return ftdiff.Diff(frame, {**diff.about, "unreadable": {frame["tensor"][0]: "cut short"}})


def labels(more: int) -> ftdiff.Diff:
    """Return a fine-tune whose classifier has so many labels more than the base's."""
    base = {**model(), "score.weight": model()[HEAD][:3]}
    tuned = {**trained(base), "score.weight": trained(model())[HEAD][: 3 + more]}
    return ftdiff.compare(base, tuned)


def promised(layers: int) -> ftdiff.Diff:
    """Return a fine-tune that lost layers, and whose configuration says how many it has."""
    diff = without_layers(6)
    config = {"tuned": {"num_hidden_layers": layers}}
    return ftdiff.Diff(diff.frame, {**diff.about, "config": config})


def wrapped(prefix: str) -> ftdiff.Diff:
    """Return a fine-tune, of a model's folder, all of whose names begin otherwise."""
    diff = ftdiff.compare(model(), {prefix + name: W for name, W in trained(model()).items()})
    return ftdiff.Diff(diff.frame, {**diff.about, "config": {"tuned": {"model_type": "llama"}}})


def nan(W: Any) -> Any:
    W = W.copy()
    W.flat[3] = np.nan
    return W


def tied(by: float) -> ftdiff.Diff:
    """Return a fine-tune of a tied model whose head went elsewhere by so much."""
    base = model()
    base[HEAD] = base[EMBED]
    tuned = trained(base)
    tuned[EMBED] = base[EMBED] + np.float32(0.01)
    tuned[HEAD] = tuned[EMBED] + np.float32(by)
    return ftdiff.compare(base, tuned)


def untied(ties: bool, side: str = "base", head: str = HEAD, rows: int = 12) -> ftdiff.Diff:
    """Return a fine-tune that stores a head, where a configuration ties it or does not."""
    base = model()
    stored = base.pop(HEAD)[:rows]
    diff = ftdiff.compare(base, {**trained(base), head: stored})
    config = {"base": {}, "tuned": {}, side: {"tie_word_embeddings": ties}}
    return ftdiff.Diff(diff.frame, {**diff.about, "config": config})


def times(factor: float, by: float = 0.02) -> ftdiff.Diff:
    """Return a fine-tune whose matrices were all multiplied, besides."""
    tuned = trained(model(), by=by)
    tuned = {name: W * np.float32(factor) if W.ndim > 1 else W for name, W in tuned.items()}
    return ftdiff.compare(model(), tuned)


def wide(bits: int) -> ftdiff.Diff:
    """Return the diff of float32 matrices with a fine-tune that has these bits of theirs."""
    draw = np.random.default_rng(0)
    base = {f"model.layers.{i}.mlp.up_proj.weight": draw.normal(size=(40, 40)) for i in range(4)}
    base = {name: W.astype(np.float32) for name, W in base.items()}
    mask = np.uint32(0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF)
    tuned = {name: (W.view(np.uint32) & mask).view(np.float32) for name, W in base.items()}
    return ftdiff.compare(base, tuned)


def narrowed(to: Any) -> ftdiff.Diff:
    return ftdiff.compare(model(), {name: W.astype(to) for name, W in trained(model()).items()})


def copied() -> ftdiff.Diff:
    base, tuned = model(), trained(model())
    change = tuned[Q.format(0)] - base[Q.format(0)]
    base[Q.format(2)], tuned[Q.format(2)] = base[Q.format(0)], base[Q.format(0)] + change
    tuned[Q.format(0)] = base[Q.format(0)] + change
    return ftdiff.compare(base, tuned)


def strange(kept: float = 0.0, *copied: str) -> ftdiff.Diff:
    """Return a checkpoint of this cosine with the base in every tensor, but for those copied."""
    rng = np.random.default_rng(9)
    base, tuned = model(), {}
    for name, W in base.items():
        noise = rng.normal(size=W.shape)
        noise -= W * (noise * W).sum() / (W * W).sum()
        noise *= np.linalg.norm(W) / np.linalg.norm(noise)
        tuned[name] = (kept * W + np.sqrt(1 - kept**2) * noise).astype("f4")
    return ftdiff.compare(base, {**tuned, **{name: base[name] for name in copied}})


def beside(W: Any, share: float, seed: int = 3) -> Any:
    """Return noise at right angles to a matrix, of this share of its norm."""
    noise = np.random.default_rng(seed).normal(size=W.shape)
    noise -= W * (noise * W).sum() / (W * W).sum()
    return share * noise * np.linalg.norm(W) / np.linalg.norm(noise)


def of_q0(change: Callable[[Any], Any]) -> Callable[[], ftdiff.Diff]:
    """Return the plain fine-tune in which one matrix is made of the base's."""
    return lambda: edited(q0=lambda _: change(model()[Q.format(0)]).astype("f4"))


def zeros(W: Any, count: int) -> Any:
    """Return a matrix with its first entries set to zero."""
    W = W.copy()
    W.flat[:count] = 0
    return W


def without_layers(count: int) -> ftdiff.Diff:
    """Return a fine-tune of a part of the base, so that much of it has no counterpart."""
    tuned = {n: W for n, W in trained(model(8)).items() if not n.startswith("model.layers.")}
    kept = {n: W for n, W in trained(model(8)).items() if n.startswith("model.layers.")}
    kept = {n: W for n, W in kept.items() if int(n.split(".")[2]) < count}
    return ftdiff.compare(model(8), {**tuned, **kept})


def lacking(module: str, *, every: bool = False) -> ftdiff.Diff:
    """Return a fine-tune without a module of one layer, or of all."""
    gone = f".{module}." if every else f".layers.2.mlp.{module}."
    return ftdiff.compare(model(), {n: W for n, W in trained(model()).items() if gone not in n})


def odd_layer(times: float) -> ftdiff.Diff:
    base = model(12)
    tuned = trained(base)
    for name in tuned:
        if ".layers.7." in name and name.endswith("weight"):
            tuned[name] = base[name] + np.float32(times) * (tuned[name] - base[name])
    return ftdiff.compare(base, tuned)


def faint() -> ftdiff.Diff:
    tuned = {n: W.astype(ml_dtypes.bfloat16) for n, W in trained(model(), by=0.003).items()}
    return ftdiff.compare(model(), tuned)


def rounded(levels: int) -> ftdiff.Diff:
    """Return a merge onto matrices that were rounded to so many levels a row on either side."""
    wide = np.random.default_rng(8).normal(size=(64, 64)).astype("f4")
    base = {**model(), "model.layers.0.mlp.up_proj.weight": wide}
    top = np.abs(wide).max(axis=1, keepdims=True) / levels
    few = (np.rint(wide / top) * top).astype("f4")
    return ftdiff.compare(base, {**trained(model()), "model.layers.0.mlp.up_proj.weight": few})


def held(share: float) -> dict[str, object]:
    """Return the record of an adapter of which this share is in the model beside it."""
    files = {"read": "model.safetensors", "unread": "adapter_model.safetensors"}
    return {"code": "adapter-beside", **files, "share": share, "once": 0.2, "twice": 0.4}


def unloaded() -> dict[str, Any]:
    """Return what is told of an adapter that PEFT would load in part."""
    numbers = {"code": "would-not-load", "loader": "PEFT", "live": 6, "of": 12}
    return {**numbers, "why": "layer 2 is missing", "absent": [], "lost": []}


#: By rule: what triggers it, and what the same without the fault is.
CASES: dict[str, tuple[Callable[[], ftdiff.Diff], Callable[[], ftdiff.Diff]]] = {
    "nothing-moved": (lambda: ftdiff.compare(model(), model()), plain),
    "selection": (lambda: of_diff(plain(), Selection(layers="0")), plain),
    "dead-module": (lambda: dead(every=False), adapter),
    "target-missing": (
        lambda: adapter(
            reasons=[{"code": "rank-differs"}, {"code": "target-missing", "targets": ["x"]}]
        ),
        lambda: adapter(
            notes=["adapter_config.json targets x, but the file has no tensor for them"]
        ),
    ),
    "applied-twice": (lambda: adapter(reasons=[held(0.99)]), lambda: adapter(reasons=[held(0.4)])),
    "two-answers": (lambda: adapter(reasons=[held(0.4)]), lambda: adapter(reasons=[held(0.99)])),
    "index": (
        lambda: adapter(reasons=[{"code": "no-index", "shards": 2}]),
        lambda: adapter(reasons=[{"code": "scales-in-metadata"}]),
    ),
    "unmerged": (
        lambda: adapter(
            reasons=[
                {"code": "unmerged", "modules": 12, "scale_known": False, "what": "LoRA"},
            ]
        ),
        lambda: adapter(notes=["12 LoRA modules ride in the file"]),
    ),
    "scale-disputed": (
        lambda: adapter(reasons=[{"code": "alpha-zero", "modules": 3}]),
        lambda: adapter(notes=["α is 0 in 3 modules"]),
    ),
    "conventions": (
        lambda: adapter(reasons=[{"code": "alpha-ignored", "modules": 3}]),
        adapter,
    ),
    "row-layout": (
        lambda: adapter(reasons=[{"code": "fused-layout-unknown", "tensors": ["a.qkv.weight"]}]),
        lambda: adapter(reasons=[{"code": "joined", "tensors": ["a.qkv.weight"]}]),
    ),
    "would-not-load": (lambda: adapter(reasons=[unloaded()]), adapter),
    "wrapped-names": (lambda: wrapped("_orig_mod."), lambda: wrapped("model.")),
    "load-leaves-out": (
        lambda: adapter(reasons=[{"code": "load-leaves-out", "keys": ["x", "y"]}]),
        lambda: adapter(reasons=[unloaded()]),
    ),
    "few-bits-base": (lambda: rounded(127), lambda: rounded(120)),
    "unjudged-notes": (
        lambda: uncoded("adapter_config.json targets x, but the file has no tensor for them"),
        lambda: uncoded(),
    ),
    "nonfinite": (lambda: edited(q0=nan), plain),
    "nonfinite-base": (
        lambda: ftdiff.compare({**model(), NORM: nan(model()[NORM])}, trained(model())),
        plain,
    ),
    "empty": (
        lambda: ftdiff.compare(
            {**model(), "x.weight": np.ones((0, 4))},
            {**trained(model()), "x.weight": np.ones((0, 4))},
        ),
        plain,
    ),
    "unreadable": (unreadable, plain),
    "unmatched": (lambda: adapter(unmatched={"lora_x": "no such module"}), adapter),
    "one-sided": (
        lambda: ftdiff.compare({**model(), "x.weight": np.ones(3)}, trained(model())),
        plain,
    ),
    "lost-tensors": (lambda: lacking("up_proj"), lambda: lacking("v_proj", every=True)),
    "new-biases": (lambda: held_as("new-bias"), lambda: held_as("beside")),
    "mostly-uncompared": (lambda: without_layers(2), lambda: without_layers(6)),
    "layers": (lambda: without_layers(6), plain),
    "layers-promised": (lambda: promised(8), lambda: promised(6)),
    "zeroed": (of_q0(lambda W: 0 * W), of_q0(lambda W: 1e-30 * W)),
    "sign-flipped": (of_q0(lambda W: -W), of_q0(lambda W: W)),
    "replaced": (of_q0(lambda W: beside(W, 1.0)), of_q0(lambda W: W + beside(W, 1.0))),
    "pruned": (of_q0(lambda W: zeros(W, 32)), of_q0(lambda W: W)),
    "overwritten": (of_q0(lambda W: 3 * W + beside(W, 1)), of_q0(lambda W: W + beside(W, 0.9))),
    "multiplied": (of_q0(lambda W: 2 * W), of_q0(lambda W: 1.001 * W)),
    "rescaled": (lambda: times(1.37), lambda: times(1.0)),
    "duplicate": (copied, plain),
    "embeddings-moved": (lambda: edited(embed=lambda W: W + 1), plain),
    "head-moved": (lambda: edited(head=lambda W: W + 1), plain),
    "norms-moved": (lambda: edited(norm=lambda W: W + 1), plain),
    "biases-moved": (lambda: ftdiff.compare(model(), trained(model(), "bias")), plain),
    "untargeted-moved": (lambda: told({"target_modules": ["q_proj"]}), adapter),
    "partly-frozen": (lambda: edited(q0=lambda W: model()[Q.format(0)]), plain),
    "frozen": (plain, lambda: ftdiff.compare(model(), trained(model(), ""))),
    "vocabulary": (lambda: edited(embed=lambda W: np.vstack([W, W[:2]])), plain),
    "other-shape": (lambda: labels(2), lambda: labels(0)),
    "dtype-narrowed": (lambda: narrowed(np.float16), lambda: narrowed(np.float32)),
    "saved-wider": (lambda: wide(16), lambda: wide(24)),
    "tied-diverged": (lambda: tied(0.1), lambda: tied(0.0)),
    "untied": (lambda: untied(True), lambda: untied(False)),
    "under-the-floor": (faint, plain),
    "wrong-base": (strange, plain),
    "far-from-base": (lambda: strange(0.7), plain),
    "base-name": (lambda: told({"base_model_name_or_path": "acme/other"}), adapter),
    "residual-initialisation": (lambda: told({"init_lora_weights": "pissa"}), adapter),
    "scale": (adapter, plain),
    "outlier-layer": (lambda: odd_layer(8), lambda: odd_layer(1)),
    **saved_cases.CASES,
    **file_cases.CASES,
}  # fmt: skip


def ulp(W: Any, sign: int = 1) -> Any:
    """Return a matrix with its first entry one step further."""
    W = W.copy()
    W.flat[0] = np.nextafter(W.flat[0], np.float32(sign * np.inf))
    return W


def with_column(name: str, value: float) -> ftdiff.Diff:
    """Return the plain fine-tune with this number in a column, in one row."""
    diff = plain()
    frame = diff.frame.copy()
    frame.loc[frame["tensor"] == Q.format(0), name] = value
    return ftdiff.Diff(frame, diff.about)


def copied_but(ulps: int) -> ftdiff.Diff:
    """Return a model whose first two layers have the same change, but for so many steps."""
    base, tuned = model(), trained(model())
    for i in (0, 1):
        base[Q.format(i)] = np.zeros((8, 8), "f4")
        tuned[Q.format(i)] = np.arange(1, 65, dtype="f4").reshape(8, 8) / 64
    for _ in range(ulps):
        tuned[Q.format(1)] = ulp(tuned[Q.format(1)])
    return ftdiff.compare(base, tuned)


def even(odd: float) -> ftdiff.Diff:
    """Return a fine-tune that moves alike in each layer, but in one by so many times as much."""
    base = model(12)
    tuned = {name: W * np.float32(1.01) for name, W in base.items()}
    for name, W in base.items():
        if ".layers.7." in name:
            tuned[name] = W * np.float32(1 + 0.01 * odd)
    return ftdiff.compare(base, tuned)


def covering(share: float) -> ftdiff.Diff:
    diff = plain()
    return ftdiff.Diff(diff.frame, {**diff.about, "coverage": share})


def targets(*names: str) -> ftdiff.Diff:
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
    return told({"target_modules": [*modules, *names]})


#: By rule, a fault that is just large enough to be told, and one that is just too small.
NEAR: dict[str, tuple[Callable[[], ftdiff.Diff], Callable[[], ftdiff.Diff]]] = {
    "nothing-moved": (
        lambda: ftdiff.compare(model(), model()),
        lambda: ftdiff.compare(model(), {**model(), NORM: ulp(model()[NORM])}),
    ),
    "nonfinite": (
        of_q0(lambda W: np.where(W.max() == W, np.inf, W)),
        of_q0(lambda W: np.where(W.max() == W, 3e38, W)),
    ),
    "zeroed": (of_q0(lambda W: zeros(W, 64)), of_q0(lambda W: zeros(W, 63))),
    "sign-flipped": (
        of_q0(lambda W: -0.91 * W + beside(W, (1 - 0.91**2) ** 0.5)),
        of_q0(lambda W: -0.89 * W + beside(W, (1 - 0.89**2) ** 0.5)),
    ),
    "replaced": (  # 64 entries: three standard deviations are 0.375
        of_q0(lambda W: 0.37 * W + beside(W, (1 - 0.37**2) ** 0.5)),
        of_q0(lambda W: 0.38 * W + beside(W, (1 - 0.38**2) ** 0.5)),
    ),
    "pruned": (of_q0(lambda W: zeros(W, 8)), of_q0(lambda W: zeros(W, 7))),
    "multiplied": (of_q0(lambda W: 1.0501 * W), of_q0(lambda W: 1.0499 * W)),
    "overwritten": (
        of_q0(lambda W: W + beside(W, 1.001)),
        of_q0(lambda W: W + beside(W, 0.999)),
    ),
    "mostly-uncompared": (lambda: covering(0.499), lambda: covering(0.5)),
    "rescaled": (lambda: times(1.021, 1e-3), lambda: times(1.019, 1e-3)),
    "duplicate": (lambda: copied_but(0), lambda: copied_but(1)),
    "embeddings-moved": (lambda: edited(embed=ulp), plain),
    "head-moved": (lambda: edited(head=ulp), plain),
    "norms-moved": (lambda: edited(norm=ulp), plain),
    "untargeted-moved": (lambda: targets("own_proj"), lambda: targets("down_proj")),
    "frozen": (plain, lambda: edited(embed=ulp, head=ulp, norm=ulp)),
    "vocabulary": (lambda: edited(embed=lambda W: np.vstack([W, W[:1]])), plain),
    "dtype-narrowed": (
        lambda: narrowed(ml_dtypes.bfloat16),
        lambda: narrowed(np.float64),
    ),
    "tied-diverged": (lambda: tied(1e-6), lambda: tied(0.0)),
    "untied": (lambda: untied(True, rows=12), lambda: untied(True, rows=11)),
    "under-the-floor": (lambda: with_column("snr", 9.99), lambda: with_column("snr", 10.0)),
    "wrong-base": (lambda: strange(0.499), lambda: strange(0.501)),
    "far-from-base": (lambda: strange(0.899), lambda: strange(0.901)),
    "outlier-layer": (lambda: even(2.01), lambda: even(1.99)),
}


@pytest.mark.parametrize("name", sorted(NEAR))
def test_a_rule_tells_what_is_just_over_its_limit_and_not_what_is_just_under(name: str) -> None:
    over, under = NEAR[name]
    assert [*AUDIT[name].check(over())]
    assert not [*AUDIT[name].check(under())]


@pytest.mark.parametrize(
    ("head", "rows", "side", "ties", "spoken"),
    [
        (HEAD, 12, "base", True, True),
        (HEAD, 12, "tuned", True, True),
        (HEAD, 12, "tuned", False, False),
        (HEAD, 3, "base", True, False),
        ("score.weight", 3, "base", True, False),
        ("classifier.weight", 3, "tuned", True, False),
    ],
)
def test_a_classifier_is_no_head_that_could_be_tied(
    head: str, rows: int, side: str, ties: bool, spoken: bool
) -> None:
    found = ftdiff.audit(untied(ties, side, head, rows)).findings
    assert ("untied" in {one.rule for one in found}) == spoken
    assert "one-sided" in {one.rule for one in found}


@pytest.mark.parametrize("copied_too", [(), (EMBED, HEAD), (EMBED, HEAD, NORM)])
def test_an_unrelated_model_fails_whatever_was_copied(copied_too: tuple[str, ...]) -> None:
    found = ftdiff.audit(strange(0.0, *copied_too))
    alarms = [one.rule for one in found.findings if one.severity == "alarm"]
    assert alarms == ["wrong-base"] and not found.ok
    near = ftdiff.audit(strange(0.7, *copied_too))
    assert near.ok and "far-from-base" in {one.rule for one in near.findings}


def spelled(folder: Path, rename: Callable[[str], str]) -> ftdiff.Diff:
    """Return the diff of the real LoRA with its keys spelled otherwise."""
    folder.mkdir()
    source = FIXTURES / "lora"
    (folder / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
    state = load_file(source / "adapter_model.safetensors")
    save_file({rename(k): v for k, v in state.items()}, folder / "adapter_model.safetensors")
    return ftdiff.compare(BASE, folder)


def test_what_an_adapter_changes_and_the_base_lacks_fails_with_an_example(tmp_path: Path) -> None:
    diff = spelled(tmp_path / "a", lambda key: key.replace("layers.27.", "layers.40."))
    found = ftdiff.audit(diff)
    alarms = {one.rule: one for one in found.findings if one.severity == "alarm"}
    assert {*alarms} == {"unmatched", "would-not-load"} and not found.ok
    assert "layer 27 is missing" in alarms["would-not-load"].message
    alarm = alarms["unmatched"]
    assert "7 tensors that the adapter changes are not in the base" in alarm.message
    assert "model.layers.40.mlp.down_proj.weight" in alarm.message
    assert "the base has, for example, model.layers." in alarm.message
    assert "one-sided" not in {one.rule for one in found.findings}


def test_nothing_is_frozen_that_a_lost_key_may_be_of(tmp_path: Path) -> None:
    def frozen(diff: ftdiff.Diff) -> list[str]:
        found = ftdiff.audit(diff).findings
        return [one.message for one in found if one.rule in ("frozen", "partly-frozen")]

    elsewhere = spelled(tmp_path / "a", lambda key: key.replace("layers.27.", "layers.40."))
    assert not any("attn" in said or "mlp" in said for said in frozen(elsewhere))
    assert any("norm.final" in said for said in frozen(elsewhere))  # no key is of a norm
    odd = spelled(tmp_path / "b", lambda k: k.replace("3.self_attn.q_proj", "3.self_attn.q_odd"))
    assert not frozen(odd)  # it may be of any
    lost = {"lora_unet_model_layers_2_self_attn_q_proj.alpha": "no such module"}
    upper = ftdiff.compare(BASE, FIXTURES / "upper_half")
    told = frozen(ftdiff.Diff(upper.frame, {**upper.about, "unmatched": lost}))
    assert not any(said.startswith("attn.q") for said in told)
    assert any(said.startswith("attn.k") for said in told)


def test_a_saved_module_without_a_base_is_no_lost_key() -> None:
    diff = adapter()
    frame = diff.frame.copy()
    row = frame.index[frame["tensor"] == NORM]
    frame.loc[row, ["status", "tuned_dtype"]] = ["added", "F32"]
    found = ftdiff.audit(ftdiff.Diff(frame, diff.about))
    assert found.ok and "one-sided" in {one.rule for one in found.findings}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(AUDIT)


@pytest.mark.parametrize("name", sorted(AUDIT))
def test_a_rule_speaks_where_there_is_a_fault_and_is_silent_where_there_is_none(name: str) -> None:
    faulty, sound = CASES[name]
    found = [one for one in ftdiff.audit(faulty()).findings if one.rule == name]
    assert found and all(one.severity == AUDIT[name].severity for one in found)
    assert all(one.message.endswith(".") for one in found)
    assert name not in {one.rule for one in ftdiff.audit(sound()).findings}


def test_a_rule_reads_codes_and_no_sentence() -> None:
    about = {"notes": ["no sentence at all"]}
    about |= {"reasons": [{"code": "target-missing", "targets": ["x", "y"]}]}  # type: ignore[dict-item]
    (found,) = (one for one in ftdiff.audit(adapter(**about)).findings if one.severity == "alarm")
    assert found.evidence["targets"] == ["x", "y"]
    for odd in (None, 3, "x", {}):  # a file may say anything
        held = adapter(reasons=[{"code": "target-missing", "targets": odd}])
        assert not ftdiff.audit(held).ok


def test_findings_name_the_tensors_and_cells_at_fault() -> None:
    (found,) = (one for one in ftdiff.audit(edited(q0=nan)).findings if one.rule == "nonfinite")
    assert found.evidence["tensors"] == [Q.format(0)] and found.evidence["entries"] == 1
    assert found.cells == ((0, "attn.q"),)
    (grown,) = (
        one for one in ftdiff.audit(CASES["vocabulary"][0]()).findings if one.rule == "vocabulary"
    )
    assert grown.evidence["tensors"] == [EMBED]
    (odd,) = (one for one in ftdiff.audit(odd_layer(8)).findings if one.rule == "outlier-layer")
    assert odd.evidence["layer"] == 7


def test_rows_that_were_added_alone_move_no_embedding() -> None:
    base = model()
    grown = {name: np.vstack([base[name], base[name][:2]]) for name in (EMBED, HEAD)}
    found = ftdiff.audit(ftdiff.compare(base, {**trained(base), **grown})).findings
    rules = [one.rule for one in found]
    assert "vocabulary" in rules and not {"embeddings-moved", "head-moved"} & {*rules}
    more = {name: np.vstack([W[:-1] + np.float32(0.1), W[-1:]]) for name, W in grown.items()}
    found = ftdiff.audit(ftdiff.compare(base, {**trained(base), **more})).findings
    assert {"embeddings-moved", "head-moved"} <= {one.rule for one in found}


def test_a_negated_model_is_of_this_base() -> None:
    for kept, other in ((-0.91, False), (-0.89, True), (0.0, True)):
        diff = strange(kept)
        assert ("wrong-base" in {one.rule for one in ftdiff.audit(diff).findings}) == other
        assert ("another-base" in {one.rule for one in ftdiff.findings(diff)}) == other
    negated = ftdiff.compare(model(), {name: -W for name, W in model().items()})
    alarms = [one.rule for one in ftdiff.audit(negated).findings if one.severity == "alarm"]
    assert alarms == ["sign-flipped"]


def test_one_factor_on_a_trained_model_is_told_once_with_its_size() -> None:
    found = [one for one in ftdiff.audit(times(1.37)).findings if one.rule == "rescaled"]
    assert len(found) == 1 and "× 1.368:" in found[0].message
    half = times(1.06, by=0.03)  # a fifth of it is the training's own
    assert not [one for one in ftdiff.audit(half).findings if one.rule == "rescaled"]


def stepped(names: Sequence[str], step: Callable[[Any], Any]) -> list[str]:
    """Return what is said of copies where these tensors alone took a step."""
    tuned = {name: step(W) if name in names else W for name, W in model().items()}
    found = ftdiff.audit(ftdiff.compare(model(), tuned)).findings
    return [one.message for one in found if one.rule == "duplicate"]


def test_equal_sums_are_a_copy_only_where_they_could_be_nothing_else() -> None:
    biases = [f"model.layers.{i}.self_attn.q_proj.bias" for i in range(4)]
    assert not stepped(biases, lambda W: np.nextafter(W, np.float32(np.inf)))
    assert not stepped(biases, lambda W: W.round(2) + np.arange(8, dtype="f4"))
    base = model()
    base |= {Q.format(i): np.ones((8, 8), "f4") for i in range(3)}
    steps = np.arange(64, dtype="f4").reshape(8, 8)

    def copies(*changes: Any) -> list[str]:
        tuned = {Q.format(i): base[Q.format(i)] + change for i, change in enumerate(changes)}
        found = ftdiff.audit(ftdiff.compare(base, {**base, **tuned})).findings
        return [one.message for one in found if one.rule == "duplicate"]

    assert not copies(np.float32(0.5), np.float32(0.5))  # one constant in every entry
    assert not copies(steps, -steps)
    (said,) = copies(steps, -steps, steps)
    assert said == (
        "2 tensors have the same sums of change as another, to the last bit "
        f"({Q.format(0)}, {Q.format(2)})."
    )


def test_real_fine_tunes_pass_and_are_told_for_what_they_are() -> None:
    for name in ("full", "lora", "rslora", "merged"):
        found = ftdiff.audit(ftdiff.compare(BASE, FIXTURES / name))
        assert found.ok and found.exit_code == 0, name
        rules = {one.rule for one in found.findings}
        assert ("scale" in rules) == ("lora" in name)
        assert ("embeddings-moved" in rules) == (name == "full")
    rs = ftdiff.audit(ftdiff.compare(BASE, FIXTURES / "rslora")).findings
    assert any("use_rslora" in one.message for one in rs)


def test_upper_half_only_is_named_by_its_layers() -> None:
    base, tuned = model(6), trained(model(6))
    tuned |= {name: W for name, W in base.items() if name[len("model.layers.")] in "012"}
    said = [one.message for one in ftdiff.audit(ftdiff.compare(base, tuned)).findings]
    assert "attn.q moved in layers 3–5 and is the base's in layers 0–2." in said


def test_an_alarm_fails_and_a_policy_may_say_otherwise(tmp_path: Path) -> None:
    diff = edited(q0=nan)
    assert not ftdiff.audit(diff).ok
    for severity, ok in (("off", True), ("note", True), ("alarm", False)):
        held = write(tmp_path, f'[rules]\nnonfinite = "{severity}"\n')
        found = ftdiff.audit(diff, held)
        assert found.ok is ok
        assert ("nonfinite" in {one.rule for one in found.findings}) == (severity != "off")
    held = write(tmp_path, '[rules]\nscale = "alarm"\n')
    assert not ftdiff.audit(adapter(), held).ok


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def broken(diff: ftdiff.Diff, *expect: Expectation, unlisted: str = "may move") -> list[str]:
    found = ftdiff.audit(diff, Policy(expect=expect, unlisted=unlisted)).findings
    return [one.message for one in found if one.rule == "expectation" and one.severity == "alarm"]


def test_an_expectation_is_broken_by_what_it_forbids_and_by_nothing_else() -> None:
    diff = plain()
    where = {"component": ("attn.*",), "param": ("weight",)}
    one = Expectation("attention", where)
    assert not broken(diff, one)
    assert not broken(diff, replace(one, moves=True))
    assert "8 tensors moved, and may not" in broken(diff, replace(one, moves=False))[0]
    assert (
        "2 tensors" in broken(diff, replace(one, moves=True, where={"block": ("embed", "head")}))[0]
    )
    top = float(diff.frame["relative_norm"].max())
    assert not broken(diff, replace(one, most={"relative_norm": top}))
    assert "above 0.001" in broken(diff, replace(one, most={"relative_norm": 0.001}))[0]
    assert "under 0.5" in broken(diff, replace(one, least={"relative_norm": 0.5}))[0]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"layer": ("0-1",)}, 6),
        ({"layer": ("2", "3")}, 6),
        ({"layer": ("0-1",), "component": ("mlp.*",)}, 2),
        ({"tensor": ("*q_proj*",)}, 4),
        ({"status": ("changed",)}, 12),
        ({"layer": ("1?",)}, 0),
    ],
)
def test_globs_and_ranges_choose_by_the_frames_words(where: Any, count: int) -> None:
    said = ftdiff.audit(plain(), Policy(expect=(Expectation("x", where, moves=False),))).findings
    found = [one for one in said if one.rule == "expectation"]
    assert sum(len(one.evidence["tensors"]) for one in found) == count
    if not count:
        assert "no tensor matches" in found[0].message and found[0].severity == "caution"


def test_what_is_not_listed_may_be_forbidden_to_move() -> None:
    attention = Expectation("attention", {"block": ("attn",)})
    assert not broken(plain(), attention)
    (said,) = broken(plain(), attention, unlisted="may not move")
    assert "4 tensors moved, and may not" in said and "mlp.up_proj" in said


def test_a_written_policy_is_fulfilled_by_its_diff_and_not_by_more(tmp_path: Path) -> None:
    for name in ("full", "lora", "rslora"):
        diff = ftdiff.compare(BASE, FIXTURES / name)
        held = write(tmp_path, policy_of(diff))
        assert "expectation" not in {one.rule for one in ftdiff.audit(diff, held).findings}
        assert ftdiff.audit(diff, held).ok
    held = write(tmp_path, policy_of(ftdiff.compare(BASE, FIXTURES / "lora")))
    assert not ftdiff.audit(ftdiff.compare(BASE, FIXTURES / "full"), held).ok
    further = trained(model(), by=0.1)
    assert not ftdiff.audit(
        ftdiff.compare(model(), further), write(tmp_path, policy_of(plain()))
    ).ok


def test_a_written_policy_holds_for_odd_names(tmp_path: Path) -> None:
    name = 'model.layers.0.we[i]rd*"\\\x7f?.weight'
    diff = ftdiff.compare({name: np.ones((3, 3))}, {name: np.full((3, 3), 1.1)})
    text = policy_of(diff)
    assert len(tomllib.loads(text)["expect"]) == 1
    found = ftdiff.audit(diff, write(tmp_path, text)).findings
    assert "expectation" not in {one.rule for one in found}


def test_a_name_of_very_many_digits_is_in_no_range() -> None:
    diff = ftdiff.compare({"1" * 5000: np.ones((3, 3))}, {"1" * 5000: np.full((3, 3), 1.1)})
    asked = {"tensor": ("0-9", "1" * 5000 + "-2")}
    found = ftdiff.audit(diff, Policy(expect=(Expectation("x", where=asked),)))
    assert "no tensor matches" in " ".join(one.message for one in found.findings)


#: Where a policy may say a number: wider than a float, and than what Python prints.
_WIDE = (
    *(
        "format = ?",
        "unlisted = ?",
        "x = [[?]]",
        "[rules]\ndead-module = ?",
        "[[expect]]\nname = ?",
    ),
    *("[[expect]]\nmoves = ?", "[[expect]]\nwhere.layer = ?", "[[expect]]\nmax.relative_norm = ?"),
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "not TOML"),
        ("rule = 1", "did you mean 'rules'"),
        ("[rules]\ndead-modul = 'off'", "did you mean 'dead-module'"),
        ("[rules]\nscale = 'loud'", "'off', 'note'"),
        ("unlisted = 'x'", "may not move"),
        ("format = 'x/2'", "format is 'x/2'"),
        ("expect = 3", "[[expect]]"),
        ("[[expect]]\nwher = {}", "did you mean 'where'"),
        ("[[expect]]\nwhere = { componnt = 'x' }", "did you mean 'component'"),
        ("[[expect]]\nwhere = { layer = 1.5 }", "a glob"),
        ("[[expect]]\nmax = { relativ_norm = 1 }", "did you mean 'relative_norm'"),
        ("[[expect]]\nmax = { relative_norm = 'x' }", "it is a number"),
        ("[[expect]]\nmax = { relative_norm = inf }", "it is a number"),
        ("[[expect]]\nmoves = 1", "true or false"),
        ("[[expect]]\nseverity = 'off'", "leave it out"),
        (f"[[expect]]\nwhere = {{ component = '{'[' * 100_000}' }}", "line 2 has 100,0"),
        (f"[[expect]]\nwhere = {{ layer = '{'[' * 251}' }}", "a glob of where.layer has 251"),
        (f"[[expect]]\nname = '{'x' * 251}'", "the name of expectation 1 has 251 letters"),
        ("[[expect]]\n" * 1001, "it has 1,001 expectations; in a policy at most 1,000"),
        ("[[expect]]\nwhere.layer = [" + "0,\n" * 5001 + "]", "it has 5,001 globs"),
        ("x" * 600_000, "too large for a policy"),
        *(
            (text.replace("?", "0x" + "f" * 1000), "is a number of more than the 64 bits")
            for text in _WIDE
        ),
    ],
)
def test_a_policy_that_says_nonsense_is_told_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(BadFile) as caught:
        read_policy(write(tmp_path, text))
    assert said in str(caught.value) and "policy.toml" in str(caught.value)
    with pytest.raises(BadFile, match="No such file"):
        read_policy(tmp_path / "nowhere.toml")


def test_a_limit_on_what_was_not_measured_is_told() -> None:
    held = Policy(expect=(Expectation("x", most={"stable_rank": 3}),))
    with pytest.raises(BadCall, match="stable_rank, which was not measured: -m stable_rank"):
        ftdiff.audit(plain(), held)
    with pytest.raises(BadCall, match="of a Diff"):
        ftdiff.audit("x")  # type: ignore[arg-type]


def test_ci_formats_say_the_same() -> None:
    found = ftdiff.audit(edited(q0=nan, embed=lambda W: W + 1))
    alarms = [one for one in found.findings if one.severity == "alarm"]
    record = json.loads(CI["json"](found))
    assert record["verdict"] == "failed"
    assert [one["rule"] for one in record["findings"]] == [one.rule for one in found.findings]
    run = json.loads(CI["sarif"](found))["runs"][0]
    levels = [result["level"] for result in run["results"]]
    assert levels.count("error") == len(alarms) == 1
    known = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} <= known
    place = run["results"][0]["locations"][0]["logicalLocations"]
    assert place == [{"fullyQualifiedName": Q.format(0)}]
    suite = ElementTree.fromstring(CI["junit"](found))
    assert suite.get("failures") == "1" == str(len(suite.findall("testcase/failure")))
    assert suite.get("tests") == str(len(suite.findall("testcase")))
    lines = CI["github"](found).splitlines()
    assert lines[0].startswith("::error title=ftdiff nonfinite::")
    assert lines[-1] == "ftdiff audit failed" and len(lines) == len(found.findings) + 1


def test_hostile_names_break_no_format() -> None:
    name = "model.layers.0.\n::error::x<b>]]>\x1b[2J%0A|.weight"
    found = ftdiff.audit(ftdiff.compare({name: np.ones((2, 2))}, {name: np.full((2, 2), np.nan)}))
    assert not found.ok
    json.loads(CI["json"](found)), json.loads(CI["sarif"](found))
    ElementTree.fromstring(CI["junit"](found))
    lines = CI["github"](found).splitlines()
    assert len(lines) == len(found.findings) + 1
    assert "\x1b" not in "".join(lines) and "%250A" in lines[0]


def test_the_command_exits_with_the_verdict(tmp_path: Path) -> None:
    run = CliRunner().invoke
    base, lora = str(BASE), str(FIXTURES / "lora")
    assert run(door, ["audit", base, lora]).exit_code == 0
    same = run(door, ["audit", base, base, "--format", "github"])
    assert same.exit_code == 1 and "::error" in same.output
    saved = str(ftdiff.compare(base, lora).save(tmp_path / "d.json"))
    held = str(tmp_path / "held.toml")
    assert run(door, ["audit", saved, "--write-policy", held]).exit_code == 0
    assert run(door, ["audit", saved, "--policy", held]).exit_code == 0
    other = run(door, ["audit", base, str(FIXTURES / "full"), "--policy", held])
    assert other.exit_code == 1 and "unlisted: 142 tensors moved" in other.output
    again = run(door, ["audit", saved, "--write-policy", held])
    assert isinstance(again.exception, BadCall) and "not overwritten" in str(again.exception)


def test_the_purpose_of_every_rule_is_a_sentence() -> None:
    for rule in AUDIT.values():
        assert rule.purpose.endswith("."), rule.name
    assert policy.AUDIT is AUDIT


def test_a_rule_is_understood_with_underscores_too(tmp_path: Path) -> None:
    held = read_policy(write(tmp_path, '[rules]\nunder_the_floor = "off"\n'))
    assert held.rules == {"under-the-floor": None}
