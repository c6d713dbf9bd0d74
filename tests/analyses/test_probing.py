"""Probes read what is there, say nothing of what is not, and never move a position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import ftdiff
from ftdiff import plots
from ftdiff.analyses.live_model import activations, batches, opening
from ftdiff.analyses.probing import cells, folds, null, positions, rows
from ftdiff.analyses.probing.auroc import auroc, interval, parts
from ftdiff.analyses.probing.features import features, places
from ftdiff.analyses.probing.result import CHANCE, COLUMNS
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall, BadFile, UnknownName
from ftdiff.tensors import Array
from tests.analyses.live_models import bert, byte_tokenizer, moved
from tests.analyses.probed_models import ATTENDS, LAYERS, labelled, written_model, written_rows
from tests.oracle import models


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_rows(labelled(), tmp_path_factory.mktemp("data") / "answers.jsonl")


@pytest.fixture(scope="module")
def planted(base: Path, data: Path) -> ftdiff.Probe:
    asked = ("last_q", "exact_answer_first", "-1", "-9")
    return ftdiff.probe(base, data=data, positions=asked, permutations=200)


def noise_setup(n: int, seed: int, *, count: int, compared: bool = False) -> cells.Setup:
    labels = np.random.default_rng(seed).permutation(np.arange(n) < n // 2)
    fold = folds.folds(labels, range(n), "cv", seed)
    drawn = folds.permuted(labels, range(n), fold, [0] * n, count, seed)
    return cells.Setup(labels, fold, drawn, np.arange(n), "cv", seed, compared)


def noise(n: int, d: int, seed: int) -> Array:
    return np.random.default_rng(1000 + seed).standard_normal((n, d)).astype(np.float32)


# what is there


def test_what_is_planted_is_read_where_it_is_and_nowhere_else(planted: ftdiff.Probe) -> None:
    table, chance = planted.table(), planted.table("chance")
    assert (table["exact_answer_first"] >= 0.9).all() and (table["-1"][ATTENDS:] >= 0.9).all()
    assert not chance["exact_answer_first"].any() and not chance["-1"][ATTENDS:].any()
    assert chance["last_q"].all() and chance["-1"][:ATTENDS].all()
    best = next(one for one in planted.findings() if one.rule == "read-best")
    assert best.evidence["p_family"] < CHANCE and best.evidence["told_from_chance"] == 4
    assert f"{best.evidence['auroc']:.3f}" in best.message


def test_the_columns_of_a_probe_have_their_order(planted: ftdiff.Probe) -> None:
    assert [*planted.frame] == [
        *("model", "site", "stack", "layer", "position", "n", "auroc", "auroc_low", "auroc_high"),
        *("p", "p_family", "chance"),
    ] == [*COLUMNS]  # fmt: skip
    rows = planted.frame.dropna(subset=["auroc"])
    assert (rows["auroc_low"] <= rows["auroc"]).all()
    assert (rows["auroc_high"] >= rows["auroc"]).all()
    assert (rows["p_family"] >= rows["p"]).all()


def test_a_position_that_a_row_has_not_is_absent_and_counted(planted: ftdiff.Probe) -> None:
    here = planted.frame[planted.frame["position"] == "-9"]
    assert (here["n"] == 0).all() and here["auroc"].isna().all() and here["chance"].isna().all()
    assert planted.about["positions"]["-9"] == {"present": 0, "absent": 60}
    (said,) = (one for one in planted.findings() if one.rule == "position-absent")
    assert said.evidence["absent"] == {"-9": 60}


def test_every_site_of_a_layer_is_taken_by_hooks(base: Path) -> None:
    live = opening.open_(base)
    read = [positions.read(live.tokenizer, text, None, {}) for text in ("abc", "abcdef")]
    given = places(live, read, np.array([[-1, 2], [5, 0]]))
    names = ("block", "mlp", "attn", "mlp.in")
    found = features(live, given, activations.sites(live, names), batches.Pace(), print_nothing)
    ids = torch.tensor([read[1].ids])
    states = live.model(ids, output_hidden_states=True).hidden_states
    for layer in range(LAYERS - 1):
        block = found["block", "", layer]
        np.testing.assert_allclose(block[1, 0], states[layer + 1][0, 5].detach(), atol=1e-5)
        assert not block[0, 0].any()
    last = found["block", "", LAYERS - 1][1, 0]
    assert np.abs(last - states[-1][0, 5].detach().numpy()).max() > 0.1  # that one is normed
    np.testing.assert_allclose(live.model.model.norm(torch.tensor(last)).detach(),
                               states[-1][0, 5].detach(), atol=1e-5)  # fmt: skip
    for layer, module in enumerate(live.model.model.layers):
        into, out = found["mlp.in", "", layer], found["mlp", "", layer]
        made = module.mlp.down_proj(torch.tensor(into[1])).detach().numpy()
        np.testing.assert_allclose(out[1], made, atol=1e-5)
    assert not found["attn", "", 0].any() and found["attn", "", ATTENDS].any()


def print_nothing(done: int, total: int) -> None:
    """A progress that nobody watches."""


@pytest.mark.parametrize("make", [models.gpt2, models.mixtral, bert])
def test_sites_are_found_in_other_architectures(make: Any, tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    live = opening.open_(tmp_path, heads=("causal", "masked"))
    found = activations.sites(live, ("block", "attn", "mlp"))
    assert [(one.name, one.layer) for one in found] == [
        (name, layer) for name in ("block", "attn", "mlp") for layer in (0, 1)
    ]
    if make is models.mixtral:  # three experts have no one matrix that all goes through
        with pytest.raises(BadCall, match=r"no layer has a site 'mlp\.in'"):
            activations.sites(live, ("mlp.in",))


# positions


def test_positions_are_found_by_characters() -> None:
    text, answer = "Où? ", "Élan vital."
    span = (text + answer).index("vital")
    row = positions.read(byte_tokenizer(), text + answer, 4, {"word": (span, span + 5)})
    raw = (text + answer).encode()

    def letter(name: str) -> str:
        at = positions.place(name, row)
        return "" if at is None else chr(raw[at])

    assert letter("last_q") == " " and letter("word_first") == "v" and letter("word_last") == "l"
    assert letter("word_before_first") == " " and letter("word_after_last") == "."
    first = positions.place("first_answer", row)
    assert first is not None and raw[first : first + 2].decode() == "É"  # its two bytes
    assert positions.place("second_answer", row) == first + 1
    assert letter("-1") == "." and letter("-8") == "n"
    ends = positions.read(byte_tokenizer(), "vital", None, {"word": (0, 5)})
    for name in ("word_before_first", "word_after_last", "last_q", "first_answer", "-6"):
        assert positions.place(name, ends) is None  # never clipped to the nearest


def test_a_token_that_stands_for_no_text_is_at_no_position() -> None:
    tokenizer = byte_tokenizer()
    told = tokenizer("ab", return_offsets_mapping=True)
    row = positions.Read((256, *told["input_ids"], 257), ((0, 0), (0, 1), (1, 2), (0, 0)),
                         (True, False, False, True), 1, {"word": (0, 2)})  # fmt: skip
    assert [positions.place(f"word_{which}", row) for which in ("before_first", "first", "last",
            "after_last")] == [None, 1, 2, None]  # fmt: skip
    assert positions.place("-1", row) == 2 and positions.place("last_q", row) == 1


def test_rows_say_what_stands_where(tmp_path: Path) -> None:
    given = [
        {"prompt": "Q? ", "answer": "In PARIS.", "exact_answer": "paris", "label": True},
        {"prompt": "Q? Paris ", "answer": "no", "exact_answer": "paris", "label": 0, "group": 3},
        {"text": "abc", "label": 1, "spans": {"b": [1, 2]}},
    ]
    found = rows.read(written_rows(given, tmp_path / "a.jsonl"))
    assert found.rows[0].spans == {"exact_answer": (6, 11)}
    assert found.rows[1].spans == {} and found.rows[2].spans == {"b": (1, 2)}
    assert found.groups == [0, "3", 2] and found.labels.tolist() == [True, False, True]
    assert found.classes == ("0", "1") and found.spans == ("exact_answer", "b")
    assert positions.known(("b_first", "−8"), found.spans) == ("b_first", "-8")


# folds, AUROC and its null


def test_groups_are_kept_together_and_labels_move_within_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 2).tolist()
    labels = np.repeat(rng.permutation(np.arange(60) % 2), 2).astype(bool)
    labels[:40] = np.tile([True, False], 20)  # twenty groups with both labels
    fold = folds.folds(labels, groups, "cv", 0)
    assert (fold[::2] == fold[1::2]).all() and {*fold} == {0, 1, 2, 3, 4}
    patterns = [(i % 4 < 2,) for i in range(120)]
    drawn = folds.permuted(labels, groups, fold, patterns, 300, 0)
    assert null.arrangements(drawn) == 300
    assert (drawn[:40:2] != drawn[1:40:2]).all()  # one of each, in each of these groups
    assert (drawn[40::2] == drawn[41::2]).all()  # the others exchange their label whole
    for one in range(5):
        for there in (True, False):
            held = (fold == one) & (np.array(patterns)[:, 0] == there)
            assert (drawn[held].sum(axis=0) == labels[held].sum()).all()


def test_the_auroc_is_sklearns_within_folds() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.4
    fold = np.arange(60) % 3
    pairs = [(fold == i).nonzero()[0] for i in range(3)]
    weight = [labels[at].sum() * (~labels[at]).sum() for at in pairs]
    wanted = np.average([roc_auc_score(labels[at], scores[at]) for at in pairs], weights=weight)
    assert auroc(scores[:, None], labels[:, None], fold)[0] == pytest.approx(wanted, abs=1e-12)


def test_the_parts_of_rows_are_delongs() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal(50), np.arange(50) < 20
    x, y = scores[labels], scores[~labels]
    wins = (x[:, None] > y[None]).astype(float)
    wanted = wins.mean(axis=1).var(ddof=1) / 20 + wins.mean(axis=0).var(ddof=1) / 30
    found = parts(scores[:, None], labels[:, None], np.zeros(50, int))
    assert (found**2).sum() == pytest.approx(wanted, rel=1e-12)


def test_the_ridge_of_all_labels_is_the_ridge_of_each() -> None:
    rng = np.random.default_rng(0)
    fold, labels = np.arange(30) % 5, rng.random((30, 4)) < 0.5
    for d in (6, 50):  # in features, and in rows
        X = rng.standard_normal((30, d)) * np.linspace(1, 9, d)
        X[:, 0] = 3.0  # says nothing, and is not divided by its spread of 0
        together = null.ridge_scores(X, labels, fold)
        for column in range(4):
            at, rest = fold == 2, fold != 2
            a, b = null.standardised(X[rest], X[at])
            y = np.where(labels[rest, column], 1.0, -1.0)
            w = np.linalg.solve(a.T @ a + null.PENALTY * np.eye(d), a.T @ (y - y.mean()))
            np.testing.assert_allclose(together[at, column], b @ w, atol=1e-9)


def test_of_noise_few_cells_are_told_and_intervals_hold_a_half() -> None:
    told, held = [], []
    with threadpool_limits(1):
        for seed in range(200):
            setup = noise_setup(48, seed, count=100)
            found = [cells.measure(noise(48, 3, 2 * seed + k), np.ones(48, bool), setup)
                     for k in range(2)]  # fmt: skip
            held += [one.low <= 0.5 <= one.high for one in found]
            family = null.family_p(np.array([c.ridge for c in found]),
                                   np.array([c.null for c in found]))  # fmt: skip
            told += [*(family < CHANCE)]
    assert np.mean(told) <= 0.05 and np.mean(held) >= 0.93


def test_an_interval_is_wide_where_permuted_labels_stray() -> None:
    narrow, wide = (interval(0.7, spread, 50, 50) for spread in (0.03, 0.08))
    assert wide[0] < narrow[0] < 0.7 < narrow[1] < wide[1]
    assert interval(1.0, 0.05, 50, 50)[0] < 0.98


def test_the_family_p_counts_the_best_of_all_cells() -> None:
    rng = np.random.default_rng(0)
    under = rng.normal(0.5, 0.05, (40, 400))
    seen = np.full(40, 0.5)
    seen[:2] = 0.62, 0.9
    single, family = null.single_p(seen, under), null.family_p(seen, under)
    assert single[0] < 0.02 and family[0] > 0.2 and family[1] == pytest.approx(1 / 401)
    assert np.isnan(null.family_p(np.array([np.nan]), under[:1]))[0]


def test_the_published_split_is_sklearns(data: Path, base: Path) -> None:
    found = ftdiff.probe(base, data=data, positions=("-1",), layers=(2,), protocol="llmsknow",
                         permutations=100, seed=3)  # fmt: skip
    live, read = opening.open_(base), rows.read(data)
    order = np.random.default_rng(3).permutation(60)
    tokens = [positions.read(live.tokenizer, read.rows[i].text, 6, {}) for i in order]
    at = np.array([[positions.place("-1", row)] for row in tokens])
    states = features(live, places(live, tokens, at), activations.sites(live, ("block",)),
                      batches.Pace(), print_nothing)["block", "", 2][:, 0]  # fmt: skip
    labels = read.labels[order]
    learnt, tested = train_test_split(np.arange(60), test_size=0.2, random_state=3)
    fit = LogisticRegression(random_state=3).fit(states[learnt], labels[learnt])
    wanted = roc_auc_score(labels[tested], fit.decision_function(states[tested]))
    assert found.frame["auroc"].iloc[0] == pytest.approx(wanted, abs=1e-9)
    assert found.about["protocol"] == "llmsknow"


# with a fine-tune


def test_of_identical_models_no_difference_is_told(base: Path, data: Path) -> None:
    asked = ("exact_answer_first", "-1")
    found = ftdiff.probe(base, base, data=data, positions=asked, permutations=100)
    assert (found.differences["difference"] == 0).all() and (found.differences["p"] == 1).all()
    assert (found.differences["p_family"] == 1).all()
    sides = [side.drop(columns="model").reset_index(drop=True)
             for _, side in found.frame.groupby("model")]  # fmt: skip
    pd.testing.assert_frame_equal(*sides)
    assert {one.rule for one in found.findings()} == {"read-best"}


def test_a_fine_tune_that_attends_is_read_better(base: Path, data: Path, tmp_path: Path) -> None:
    live = opening.open_(base)
    tuned = moved(live.model, ["layers.0.self_attn.o_proj"], by=1.0)
    tuned.save_pretrained(tmp_path)
    found = ftdiff.probe(base, tmp_path, data=data, positions=("last_q", "-1"), permutations=100)
    first = found.table("difference")["-1"]
    assert first[0] > 0.2 and abs(found.table("difference")["last_q"]).max() < 0.3
    (said,) = (one for one in found.findings() if one.rule == "read-better")
    assert said.evidence["layer"] in (0, 1) and said.evidence["p_family"] < CHANCE
    ax = plots.draw(found, "difference")
    assert "tuned − model" in ax.collections[0].colorbar.ax.get_ylabel()


def test_two_noisy_models_seldom_differ() -> None:
    apart = []
    with threadpool_limits(1):
        for seed in range(30):
            setup = noise_setup(60, seed, count=60, compared=True)
            there = np.ones(60, bool)
            one, other = (
                [cells.measure(noise(60, 6, 900 + 4 * seed + 2 * m + k), there, setup)
                 for k in range(2)]
                for m in range(2)
            )  # fmt: skip
            apart.append(any(d.p_family < CHANCE for d in cells.differences(one, other, setup)))
    assert np.mean(apart) <= 0.1


# saved, drawn, refused


def test_a_probe_is_saved_whole_and_drawn_again(planted: ftdiff.Probe, tmp_path: Path) -> None:
    again = ftdiff.load(planted.save(tmp_path / "p.json"))
    assert isinstance(again, ftdiff.Probe) and repr(again) == repr(planted)
    pd.testing.assert_frame_equal(again.frame, planted.frame)
    assert "<table>" in planted._repr_html_()
    ax = plots.probe(again)
    names = [text.get_text() for text in ax.get_xticklabels()]
    assert names == ["last_q", "exact_answer_first", "−1"]  # what no row has is not drawn
    assert any(mark.get_gid() == "chance" for mark in ax.collections)
    assert ax.get_title() and plots.probe(again, title=False, annot=True).texts
    with pytest.raises(UnknownName, match="no number is called 'aurok'"):
        plots.probe(again, "aurok")
    with pytest.raises(BadCall, match="no fine-tune was probed"):
        plots.probe(again, "difference")
    document = json.loads((tmp_path / "p.json").read_text())
    for name, value in (("model", None), ("tuned", 7), ("versions", 7)):
        about = {**document["about"], name: value}
        (tmp_path / "q.json").write_text(json.dumps({**document, "about": about}))
        with pytest.raises(BadFile, match="not a probe saved by ftdiff"):
            ftdiff.load(tmp_path / "q.json")
    for name in ("auroc", "p", "chance"):  # a p of what is not there
        best = max(document["cells"], key=lambda cell: cell["auroc"] or 0)
        cells = [{**cell, name: None} if cell is best else cell for cell in document["cells"]]
        (tmp_path / "q.json").write_text(json.dumps({**document, "cells": cells}))
        with pytest.raises(BadFile, match="not a probe saved by ftdiff"):
            ftdiff.load(tmp_path / "q.json")


def test_the_command_prints_and_writes(base: Path, data: Path, tmp_path: Path) -> None:
    asked = ["probe", base, base, "--data", data, "--permutations", "100", "--position", "-1",
             "--layer", "1", "--site", "block", "--site", "mlp.in"]  # fmt: skip
    done = CliRunner().invoke(door, [*map(str, asked), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.exception
    assert "the best of 2 cells" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        *("probe.json", "probe.csv", "differences.csv", "report.html"),
        *("difference.png", "difference.svg"),
        *("probe.png", "probe.svg", "probe_mlp.in.png", "probe_mlp.in.svg"),
        *("difference_mlp.in.png", "difference_mlp.in.svg"),
    }  # fmt: skip
    assert (tmp_path / "out" / "probe.csv").read_text().startswith("model,site,stack,layer,pos")
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    plain = CliRunner().invoke(door, [*map(str, asked), "--format", "json"])
    assert json.loads(plain.stdout)["format"] == "ftdiff.probe/1"


def _one_class() -> list[dict[str, Any]]:
    return [{**row, "label": 1} for row in labelled(12)]


@pytest.mark.parametrize(
    ("rows_", "options", "error", "said"),
    [
        (_one_class(), {}, BadFile, "tells two labels apart, and there are 1: '1'"),
        ([{"text": "a", "label": i} for i in range(3)], {}, BadFile, "and there are 3"),
        ([], {}, BadFile, "it has no text"),
        ([{"text": "a"}], {}, BadFile, "line 1: no label"),
        ([{"label": 1}], {}, BadFile, "line 1: a row has text, or prompt and answer"),
        ([{"text": "a", "label": float("nan")}], {}, BadFile, "line 1: label"),
        ([{"text": "a", "label": 10**400}], {}, BadFile, "line 1: label"),
        ([{"text": "a", "label": one} for one in (1, "1")], {}, BadFile, "words in some rows"),
        ([{"text": "", "label": 1}], {}, BadFile, "line 1: an empty text"),
        ([{"text": "a", "label": 1, "spans": {"b": [0, 9]}}], {}, BadFile, "within 1 char"),
        (labelled(12), {"positions": ("exact_answer_frist",)}, UnknownName,
         "no position is called 'exact_answer_frist'; did you mean 'exact_answer_first'"),
        (labelled(12), {"sites": ("blok",)}, UnknownName, "no site is called 'blok'"),
        (labelled(12), {"protocol": "kfold"}, UnknownName, "no protocol"),
        (labelled(12), {"layers": (7,)}, BadCall, "no layer 7: there are 0 to 2"),
        (labelled(12), {"permutations": 3}, BadCall, "at least 100"),
        (labelled(12), {"max_tokens": 5}, BadCall, "one label alone is left in 0 rows"),
        (labelled(12)[:6], {}, BadCall, "5 folds need it in as many"),
        (labelled(12), {"seed": -1}, BadCall, "a seed is a whole number"),
        (labelled(12), {"folds": 3}, UnknownName, "no setting is called 'folds'"),
    ],
)  # fmt: skip
def test_what_cannot_be_probed_is_one_line(
    base: Path, tmp_path: Path, rows_: Any, options: Any, error: Any, said: str
) -> None:
    path = written_rows(rows_, tmp_path / "a.jsonl")
    with pytest.raises(error) as raised:
        ftdiff.probe(base, data=path, **options)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_model_without_a_tokenizer_is_one_line(data: Path, tmp_path: Path) -> None:
    models.llama().save_pretrained(tmp_path)
    with pytest.raises(BadCall, match="no tokenizer lies beside the model"):
        ftdiff.probe(tmp_path, data=data)


def test_states_that_are_no_numbers_are_one_line(base: Path, data: Path, tmp_path: Path) -> None:
    live = opening.open_(base)
    with torch.no_grad():
        live.model.model.layers[1].mlp.down_proj.weight.fill_(float("nan"))
    live.model.save_pretrained(tmp_path)
    live.tokenizer.save_pretrained(tmp_path)  # type: ignore[union-attr]
    with pytest.raises(BadCall, match="states are not finite"):
        ftdiff.probe(tmp_path, data=data, positions=("-1",))


def test_few_of_a_class_have_no_number_and_few_arrangements_no_p(
    base: Path, tmp_path: Path
) -> None:
    few = written_rows(labelled(30), tmp_path / "few.jsonl")
    found = ftdiff.probe(base, data=few, positions=("-1",), permutations=100)
    assert found.frame["auroc"].isna().all() and (found.frame["n"] == 30).all()
    assert not found.findings()
    with pytest.raises(BadCall, match="nothing to draw"):
        plots.probe(found)


def test_groups_that_leave_few_arrangements_have_no_p(base: Path, tmp_path: Path) -> None:
    sizes = {0: (4, 5, 6, 7, 8), 1: (3, 9, 2, 10, 6)}  # groups exchange labels with their like
    rows_ = []
    for label, counts in sizes.items():
        held = iter([row for row in labelled(60) if row["label"] == label])
        rows_ += [{**next(held), "group": f"{label} {n}"} for n in counts for _ in range(n)]
    path = written_rows(rows_, tmp_path / "g.jsonl")
    found = ftdiff.probe(base, data=path, positions=("exact_answer_first",), permutations=100)
    assert found.about["arrangements"] < null.FEWEST and found.frame["auroc"].notna().all()
    numbers = ["auroc_low", "auroc_high", "p", "p_family"]
    assert found.frame[numbers].isna().all(axis=None) and found.frame["chance"].all()
    assert {one.rule for one in found.findings()} == {"no-null"}


def test_the_longer_table_of_noise_keeps_what_is_promised() -> None:
    table = pd.read_csv(Path(__file__).parents[1] / "bench" / "probe_null.csv")
    assert len(table) >= 6 and {*table["protocol"]} == {"cv", "llmsknow"}
    assert (table["covered"] >= 0.93).all() and (table["told"] <= 0.05).all()
    assert (table["p_05"] <= 0.06).all() and (table["differ_05"] <= 0.07).all()
    assert (table["differ"] <= 0.1).all()
