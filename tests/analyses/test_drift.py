"""Of one model twice all drift is zero; of two it is what other code makes of their states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional

import ftdiff
from ftdiff import plots
from ftdiff.analyses.drift import cka, outputs, tally, token_bins
from ftdiff.analyses.drift.outputs import Outputs
from ftdiff.analyses.live_model import activations, batches, opening
from ftdiff.analyses.texts import Texts, read
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall, BadFile, UnknownName
from ftdiff.reports.terminal.drift import _clean
from tests.analyses.live_models import bert, moved, saved, token_rows, written
from tests.oracle import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drift")


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    return saved(models.llama(), folder / "base")


@pytest.fixture(scope="module")
def tuned(folder: Path) -> Path:
    return saved(moved(models.llama(), by=0.03), folder / "tuned")


@pytest.fixture(scope="module")
def text(folder: Path) -> Path:
    return written(token_rows(8), folder / "ids.jsonl")


@pytest.fixture(scope="module")
def measured(base: Path, tuned: Path, text: Path) -> ftdiff.Drift:
    return ftdiff.drift(base, tuned, text=text)


def numbers(found: ftdiff.Drift) -> pd.DataFrame:
    names = [name for name in found.frame if found.frame[name].dtype == "Float64"]
    return found.frame[names].astype(float)


def test_identical_models_have_drift_of_zero_and_no_finding(base: Path, text: Path) -> None:
    found = ftdiff.drift(base, base, text=text)
    for name in tally.NUMBERS[:2]:
        assert (found.frame[name] == 0).all() and (found.frame[f"usual_{name}"] == 0).all()
    assert (found.frame["cka"].dropna() == 1).all() and found.frame["cka"].notna().any()
    assert all(found.overall[name] == 0 for name in ("kl", "flips", "loss_change"))
    assert found.tensors.empty and found.findings() == []
    assert not found.table("relative_change").to_numpy().any() and plots.drift(found)


def test_the_numbers_are_those_of_the_states(
    measured: ftdiff.Drift, base: Path, tuned: Path, text: Path
) -> None:
    states = []
    for path in (base, tuned):
        model = opening.open_(path).model.double()
        given = [torch.tensor([row]) for row in token_rows(8)]
        with torch.no_grad():
            states.append([model(ids, output_hidden_states=True) for ids in given])
    first, second = ([one.hidden_states[1][0] for one in side] for side in states)
    moved_sq = sum(float(((b - a) ** 2).sum()) for a, b in zip(first, second, strict=True))
    size = sum(float((a**2).sum()) for a in first)
    assert measured.table()["all"][0] == pytest.approx((moved_sq / size) ** 0.5, rel=1e-5)
    apart = torch.cat([1 - functional.cosine_similarity(a, b, dim=-1)
                       for a, b in zip(first, second, strict=True)])  # fmt: skip
    found = measured.table("cosine_distance")["all"][0]
    assert found == pytest.approx(float(apart.mean()), rel=1e-4)
    third = [np.array([one[2].numpy() for one in side]) for side in (first, second)]
    assert measured.table("cka")["2"][0] == pytest.approx(cka.unbiased_cka(*third), abs=1e-5)
    logits = [torch.cat([one.logits[0, :-1] for one in side]).log_softmax(-1) for side in states]
    kl = functional.kl_div(logits[0], logits[1], log_target=True, reduction="batchmean")
    assert measured.overall["kl"] == pytest.approx(float(kl), rel=1e-4)  # KL(tuned‖base)
    flips = (logits[0].argmax(-1) != logits[1].argmax(-1)).double().mean()
    assert measured.overall["flips"] == pytest.approx(float(flips))
    asked = torch.cat([torch.tensor(row[1:]) for row in token_rows(8)])
    losses = [float(functional.nll_loss(one, asked)) for one in logits]
    assert measured.overall["loss_base"] == pytest.approx(losses[0], rel=1e-5)
    assert measured.overall["loss_change"] == pytest.approx(losses[1] - losses[0], abs=1e-5)


def test_beside_every_number_stands_its_floor(
    measured: ftdiff.Drift, base: Path, tuned: Path, text: Path
) -> None:
    rough = ftdiff.drift(base, tuned, text=text, dtype="bfloat16")
    whole = [one.frame[one.frame["site"] == "block"] for one in (measured, rough)]
    fine, coarse = (frame["relative_change_floor"].to_numpy(float) for frame in whole)
    assert (fine < 1e-5).all() and (fine > 0).all() and (coarse > 1e-3).all()
    assert rough.about["floor"] == "the base in bfloat16 against float32"
    assert measured.overall["kl_floor"] < 1e-9 < 1e-7 < rough.overall["kl_floor"]
    assert (measured.tensors["output_change_floor"].dropna() < 1e-5).all()


def test_what_the_dtype_blurs_is_said(base: Path, folder: Path, text: Path) -> None:
    little = saved(moved(models.llama(), by=3e-4), folder / "little")
    said = {one.rule: one for one in ftdiff.drift(base, little, text=text, dtype="bfloat16")
            .findings()}  # fmt: skip
    assert said["under-the-floor"].evidence["layers"] == [0, 1] and "states-moved" not in said
    said = {one.rule: one for one in ftdiff.drift(base, little, text=text).findings()}
    assert "under-the-floor" not in said and "predictions-moved" in said
    assert said["states-moved"].evidence["layer"] in (0, 1)


def test_unbiased_cka_of_what_is_independent_is_zero() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((2, 100, 64))
    assert abs(cka.unbiased_cka(X, Y)) <= 0.05
    a, b = (one - one.mean(axis=0) for one in (X, Y))
    biased = ((a.T @ b) ** 2).sum() / np.sqrt(((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum())
    assert biased > 0.3
    turn = np.linalg.qr(rng.standard_normal((64, 64)))[0]
    assert cka.unbiased_cka(X, 2 * X @ turn + 5) == pytest.approx(1, abs=1e-9)
    assert np.isnan(cka.unbiased_cka(X[:3], Y[:3])) and np.isnan(cka.unbiased_cka(0 * X, Y))


def test_padding_batches_and_order_change_nothing(
    measured: ftdiff.Drift, base: Path, tuned: Path, folder: Path
) -> None:
    rows = token_rows(8)
    turned = written([*rows[::-1]], folder / "turned.jsonl")
    for path, batch in ((folder / "ids.jsonl", 3), (turned, 8), (turned, 1)):
        other = ftdiff.drift(base, tuned, text=path, batch=batch)
        keep = [name for name in numbers(measured) if not name.endswith("floor")]
        np.testing.assert_allclose(numbers(other)[keep], numbers(measured)[keep], atol=1e-6)
        for name in ("kl", "loss_change", "flips"):
            assert other.overall[name] == pytest.approx(measured.overall[name], abs=1e-6)
        sides = (one.tensors["output_change"].astype(float) for one in (other, measured))
        np.testing.assert_allclose(*sides, rtol=1e-5)


@pytest.mark.parametrize("make", [models.llama, models.gpt2])
def test_what_a_change_adds_to_an_output_is_its_product(
    make: Any, text: Path, tmp_path: Path
) -> None:
    base = saved(make(), tmp_path / "a")
    tuned = saved(moved(make(), by=0.03), tmp_path / "b")
    found = ftdiff.drift(base, tuned, text=text).tensors.set_index("tensor")
    one, other = (opening.open_(path).model for path in (base, tuned))
    side = make is models.gpt2
    name = "transformer.h.1.mlp.c_fc" if side else "model.layers.1.mlp.up_proj"
    module, changed = one.get_submodule(name), other.get_submodule(name)
    held: list[Any] = []
    module.register_forward_hook(lambda m, args, output: held.append(args[0][0]))
    with torch.no_grad():
        for row in token_rows(8):
            one(torch.tensor([row]))
        X, W = torch.cat(held).double(), module.weight.double()
        delta = changed.weight.double() - W
        sums = [float(((X @ (one if side else one.T)) ** 2).sum()) for one in (delta, W)]
    row = found.loc[name.removeprefix("transformer.") + ".weight" if f"{name}.weight" not in
                    found.index else f"{name}.weight"]  # fmt: skip
    assert row["moved_sq"] == pytest.approx(sums[0], rel=1e-4)
    assert row["output_sq"] == pytest.approx(sums[1], rel=1e-4)
    assert row["output_change"] == pytest.approx((sums[0] / sums[1]) ** 0.5, rel=1e-4)
    assert row["relative_norm"] == pytest.approx(float(delta.norm() / W.norm()), rel=1e-5)
    assert sorted(found["output_rank"]) == [*range(1, len(found) + 1)]


def test_a_massive_state_is_counted_and_left_out(text: Path, tmp_path: Path) -> None:
    model = models.llama()
    rows = [[39, *row] for row in token_rows(8, 20, vocab=39)]
    with torch.no_grad():
        model.model.embed_tokens.weight[39] *= 400
    base = saved(model, tmp_path / "base")
    other = moved(model, ["layers"], by=0.03)
    with torch.no_grad():
        other.model.embed_tokens.weight[39] *= 1.5
    tuned = saved(other, tmp_path / "tuned")
    found = ftdiff.drift(base, tuned, text=written(rows, tmp_path / "t.jsonl"))
    whole = found.frame[(found.frame["site"] == "block") & (found.frame["layer"] == 0)]
    whole = whole.set_index("position")
    assert [whole["massive"][name] for name in ("all", "0", "1")] == [8, 8, 0]
    assert whole["relative_change"]["all"] == pytest.approx(0.5, abs=0.02)
    assert whole["usual_relative_change"]["all"] < 0.45
    assert pd.isna(whole["usual_relative_change"]["0"])
    only = whole["usual_relative_change"]["1"]
    assert only == pytest.approx(whole["relative_change"]["1"])
    (said,) = (one for one in found.findings() if one.rule == "massive-activations")
    assert said.evidence["tokens"] == 8 and 0 in said.evidence["layers"]
    plain = {one.rule for one in ftdiff.drift(base, base, text=tmp_path / "t.jsonl").findings()}
    assert not plain


def test_matrices_that_rank_otherwise_are_named(base: Path, folder: Path, text: Path) -> None:
    """One matrix moves where its inputs are large, the others where they are small."""
    other = models.llama()
    draw = torch.Generator().manual_seed(0)
    live = opening.open_(base)
    rows = batches.rows(live, read(text, None))
    batch = next(batches.batches(live, rows, 8))
    wanted = [n for n, p in other.named_parameters() if "proj" in n]
    inputs: dict[str, Any] = {}
    hooks = [live.model.get_submodule(n.removesuffix(".weight")).register_forward_hook(
        lambda m, a, o, n=n: inputs.update({n: a[0][batch.mask]})) for n in wanted]  # fmt: skip
    activations.states(live, batch, activations.sites(live, ("block",)))
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for i, name in enumerate(wanted):
            parameter = dict(other.named_parameters())[name]
            _, _, V = torch.linalg.svd(inputs[name], full_matrices=True)
            along = V[0] if i % 2 else V[-1]
            step = torch.randn(parameter.shape[0], generator=draw)
            parameter.add_(torch.outer(step, along), alpha=0.02 * (1 + 0.1 * (len(wanted) - i)))
    tuned = saved(other, folder / "turned")
    found = ftdiff.drift(base, tuned, text=text)
    (said,) = (one for one in found.findings() if one.rule == "ranks-otherwise")
    assert said.evidence["spearman"] < said.evidence["halves"] and said.evidence["of"] >= 8
    assert all(name in said.message for name in said.evidence["tensors"])


def test_matrices_that_rank_alike_are_not_spoken_of(base: Path, folder: Path, text: Path) -> None:
    other = models.llama()
    with torch.no_grad():
        named = [p for n, p in other.named_parameters() if p.ndim == 2]
        for i, parameter in enumerate(named):
            parameter.mul_(1 + 0.01 * (i + 1))  # ΔW·x is so much of W·x, whatever x is
    found = ftdiff.drift(base, saved(other, folder / "scaled"), text=text)
    assert "ranks-otherwise" not in {one.rule for one in found.findings()}
    assert (found.tensors["output_rank"] == found.tensors["norm_rank"]).all()
    ratio = (found.tensors["output_change"] / found.tensors["relative_norm"]).to_numpy(float)
    np.testing.assert_allclose(ratio, 1, atol=1e-5)


def _with_losses(found: ftdiff.Drift, change: Any) -> ftdiff.Drift:
    outputs = found.outputs.assign(loss_change=pd.array(change, "Float64"))
    return ftdiff.Drift(found.frame, outputs, found.tensors, found.about)


def test_a_loss_that_changes_as_texts_vary_is_not_said(measured: ftdiff.Drift) -> None:
    cases = (([0.5] * 8, "loss-rises"), ([-0.5] * 8, "loss-falls"), ([0.5, -0.45] * 4, None))
    for change, rule in cases:
        said = {one.rule: one for one in _with_losses(measured, change).findings()}
        assert {"loss-rises", "loss-falls"} & {*said} == ({rule} if rule else set())
        if rule:
            assert said[rule].severity == ("caution" if rule == "loss-rises" else "note")
            assert said[rule].evidence["p"] < 0.05


def test_positions_are_bins_that_double() -> None:
    mask = np.arange(20) < np.array([[20], [6]])
    scored = mask & (np.arange(20) >= 3)
    found = token_bins.bins(Texts(mask * 1, mask, scored))
    assert [*found] == ["all", "0", "1", "2", "3", "4–7", "8–15", "16–19", "last", "answer"]
    assert found["last"].nonzero()[1].tolist() == [19, 5] and found["4–7"].sum() == 6
    mask = np.ones((1, 9), bool)
    assert [*token_bins.bins(Texts(mask * 1, mask, mask))][-3:] == ["4–7", "8", "last"]
    assert "answer" not in token_bins.bins(Texts(mask * 1, mask, mask))


@pytest.mark.parametrize("make", [models.gpt2, bert])
def test_other_architectures_drift_too(make: Any, text: Path, tmp_path: Path) -> None:
    base = saved(make(), tmp_path / "a")
    tuned = saved(moved(make(), by=0.03), tmp_path / "b")
    found = ftdiff.drift(base, tuned, text=text)
    assert {*found.frame["site"]} == {"block", "attn", "mlp"}
    assert numbers(found)["relative_change"].notna().all() and found.overall["kl"] > 0
    assert {one.rule for one in found.findings()} >= {"states-moved", "predictions-moved"}
    assert ([*found.parts()], found.about["kind"] == "masked") == (["attn", "mlp"], make is bert)


def test_the_base_is_where_it_was(base: Path, tuned: Path, text: Path) -> None:
    live = opening.open_(base)
    before = {name: held.detach().clone() for name, held in live.parameters().items()}
    identity = {name: held.data_ptr() for name, held in live.parameters().items()}
    with activations.raised(live, "float64"):
        assert all(held.dtype == torch.float64 for held in live.parameters().values())
    for name, held in live.parameters().items():
        assert torch.equal(held, before[name]) and held.data_ptr() == identity[name]


def test_a_drift_is_saved_whole_and_drawn_again(measured: ftdiff.Drift, tmp_path: Path) -> None:
    again = ftdiff.load(measured.save(tmp_path / "d.json"))
    assert isinstance(again, ftdiff.Drift) and repr(again) == repr(measured)
    for name in ("frame", "outputs", "tensors"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(measured, name))
    assert again.overall == measured.overall and "<table>" in measured._repr_html_()
    for number in ("relative_change", "usual_cka", "cosine_distance_floor"):
        assert plots.draw(again, number).collections[0].get_array().size == 2 * 8
    assert plots.draw(again, style="drift_parts").collections[0].get_array().size == 2 * 2
    ax = plots.draw(again, cmap="viridis", annot=True)
    assert ax.collections[0].cmap.name == "viridis" and len(ax.texts) == 2 * 8
    assert " against " in ax.get_title() and plots.drift(again, title=False).get_title() == ""
    with pytest.raises(UnknownName, match="no number is called 'relative_chang'"):
        plots.drift(again, "relative_chang")
    document = json.loads((tmp_path / "d.json").read_text())
    (tmp_path / "e.json").write_text(json.dumps({**document, "states": []}))
    with pytest.raises(BadFile, match="not a drift saved by ftdiff"):
        ftdiff.load(tmp_path / "e.json")
    for name, value in (("tuned", None), ("sources", 7), ("notes", 7)):
        about = {**document["about"], name: value}
        (tmp_path / "e.json").write_text(json.dumps({**document, "about": about}))
        with pytest.raises(BadFile, match="not a drift saved by ftdiff"):
            ftdiff.load(tmp_path / "e.json")


def test_the_command_prints_and_writes(base: Path, tuned: Path, text: Path, tmp_path: Path) -> None:
    asked = ["drift", str(base), str(tuned), "--text", str(text)]
    done = CliRunner().invoke(door, [*asked, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.exception
    assert "states after each layer" in done.stdout and "relative_change_floor" in done.stdout
    assert "about 0 s" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("drift.json", "drift.csv", "outputs.csv", "tensors.csv", "report.html"),
        *("drift.png", "drift.svg", "drift_parts.png", "drift_parts.svg"),
    }
    plain = CliRunner().invoke(door, [*asked, "--format", "csv"])
    assert plain.stdout.startswith("site,stack,layer,position,texts,tokens,massive,")


def test_what_cannot_be_run_is_one_line(base: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no setting is called 'max_text'"):
        ftdiff.drift(base, base, text=text, max_text=3)
    with pytest.raises(BadCall, match="batch is 1 at least"):
        ftdiff.drift(base, base, text=text, batch=0)
    broken = models.llama()
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    with pytest.raises(BadCall, match=r"lm_head\.weight is not finite: it has no loss"):
        ftdiff.drift(saved(broken, tmp_path / "nan"), tmp_path / "nan", text=text)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BadFile, match="it has no text"):
        ftdiff.drift(base, base, text=tmp_path / "empty.txt")


def test_what_rounding_leaves_of_nothing_is_0() -> None:
    one, other = Outputs(1), Outputs(1)
    one.kl[0], other.kl[0] = 0.5, -5e-17
    (row,) = outputs.rows(np.array([2]), one, other)
    assert (row["kl"], row["kl_floor"]) == (0.25, 0.0)
    assert (_clean(-5e-17), _clean(-5e-7)) == (0.0, -5e-7)
