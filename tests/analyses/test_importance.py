"""What tensors and layers are worth: by hand, planted, and nothing where nothing moved."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.adapters import open_base, open_tuned
from ftdiff.analyses import texts
from ftdiff.analyses.importance import Importance, gradients, importance
from ftdiff.analyses.importance.resampling import effects, holm
from ftdiff.analyses.live_model import batches, changes, losses, mounting, opening
from ftdiff.analyses.live_model.losses import Losses
from ftdiff.cli import ftdiff as door
from ftdiff.comparison.plan import pair
from ftdiff.errors import BadCall, BadFile, FtdiffError, UnknownName
from ftdiff.reports import html
from tests.analyses import live_models
from tests.analyses.live_models import moved, saved, token_rows, written
from tests.conftest import FIXTURES
from tests.oracle import models

ROWS = token_rows(6, 10)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A base, a fine-tune in which layer 1 moved, and texts."""
    folder = tmp_path_factory.mktemp("llama")
    base = models.llama()
    tuned = moved(base, ["layers.1."], by=0.05)
    text = written(ROWS, folder / "ids.jsonl")
    return saved(base, folder / "base"), saved(tuned, folder / "tuned"), text


@pytest.fixture(scope="module")
def found(llama: tuple[Path, Path, Path]) -> Importance:
    base, tuned, text = llama
    return importance(base, tuned, text=text, nodes=6, components=True)


def mean_loss(model: Any) -> torch.Tensor:
    lost = [
        model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss * (len(row) - 1)
        for row in ROWS
    ]
    return torch.stack(lost).sum() / sum(len(row) - 1 for row in ROWS)


def column(found: Importance, name: str) -> dict[str, float]:
    frame = found.diff.frame
    return dict(zip(frame["tensor"], frame[name].astype(float), strict=True))


# ---- tensors


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_columns_of_gradients_are_those_of_autograd(
    llama: tuple[Path, Path, Path], batch: int
) -> None:
    base, tuned, text = llama
    found = importance(base, tuned, text=text, measures=(), batch=batch, nodes=1)
    model = models.llama()
    change = dict(moved(model, ["layers.1."], by=0.05).named_parameters())
    mean_loss(model).backward()
    for name, W in model.named_parameters():
        g, dW = W.grad, change[name].detach() - W.detach()
        wanted = {
            "saliency": (g * W).abs().sum(),
            "saliency_mean": W.abs().mean() * g.abs().mean(),
            "slope": (g * dW).sum(),
            "slope_abs": (g * dW).abs().sum(),
        }
        for metric, value in wanted.items():
            assert column(found, metric)[name] == pytest.approx(value.item(), rel=1e-4, abs=1e-6)


def test_the_path_adds_up_to_the_change_of_loss(found: Importance) -> None:
    base, tuned = found.losses
    assert tuned is not None
    assert base == pytest.approx(mean_loss(models.llama()).item(), abs=1e-6)
    assert tuned == pytest.approx(
        mean_loss(moved(models.llama(), ["layers.1."], by=0.05)).item(), abs=1e-5
    )
    assert sum(column(found, "path").values()) == pytest.approx(tuned - base, abs=2e-5)
    assert abs(found.about["gap"]) < 2e-5
    # groups add up, norms among them; what did not move is worth nothing, and is not missing
    by = found.diff.by("layer", metrics=["path", "path_share", "saliency", "slope"])
    assert by["path"].sum() == pytest.approx(tuned - base, abs=2e-5)
    assert by["path_share"].sum() == pytest.approx(1, abs=1e-3)
    assert by["path"].tolist()[::2] == [0.0, 0.0]
    whole = found.diff.by(metrics=["saliency", "saliency_mean"])
    assert whole["saliency"][0] == pytest.approx(sum(column(found, "saliency").values()))
    assert whole["saliency_mean"].isna().all()


def test_more_nodes_close_the_gap_on_a_real_fine_tune() -> None:
    live = opening.open_(FIXTURES / "base")
    opened = open_base(FIXTURES / "base")
    changed = changes.changes_of(live, pair(opened, open_tuned(FIXTURES / "full", opened)))
    read = texts.read(FIXTURES / "text.jsonl", live.tokenizer, max_texts=3)
    asked = gradients.Asked(live, batches.rows(live, read), batches.Pace(8))
    base = losses.losses(live, asked.rows).mean
    with mounting.at(changed):
        whole = losses.losses(live, asked.rows).mean - base
    for nodes, most in ((4, 1e-2), (16, 1e-4)):
        path = sum(gradients.along(asked, changed, nodes).values())
        assert abs(path - whole) <= most * abs(whole)


@pytest.mark.parametrize("twice", [False, True])
def test_a_tied_head_counts_once(tmp_path: Path, twice: bool) -> None:
    paths = []
    for name, model in (("b", models.gpt2()), ("t", moved(models.gpt2(), by=0.01))):
        folder = saved(model, tmp_path / name)
        held = load_file(folder / "model.safetensors")
        if twice:  # as some tools save it
            held["lm_head.weight"] = held["transformer.wte.weight"].clone()
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
        paths.append(folder)
    text = written(ROWS, tmp_path / "t.jsonl")
    found = importance(*paths, text=text, measures=["revert"], nodes=8)
    before, after = found.losses
    assert after is not None
    assert found.diff.by(metrics=["path"])["path"][0] == pytest.approx(after - before, abs=1e-4)
    assert len(found.layers) == 3


def test_an_adapter_and_its_merge_are_worth_the_same(tmp_path: Path) -> None:
    import peft

    model = models.llama()
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"])
    adapter = models.save_adapter(model, config, tmp_path / "a")
    base = saved(model, tmp_path / "b")
    merged = peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    whole = saved(merged, tmp_path / "m")
    text = written(ROWS, tmp_path / "t.jsonl")
    one, other = (importance(base, t, text=text, measures=["revert"]) for t in (adapter, whole))
    assert one.losses == pytest.approx(other.losses, abs=1e-5)
    for name in ("path", "slope"):
        mine, theirs = column(one, name), column(other, name)
        assert all(mine[n] == pytest.approx(v, abs=1e-5) for n, v in theirs.items())
    assert one.layers["revert"].tolist() == pytest.approx(other.layers["revert"].tolist(), abs=1e-5)


def test_a_model_that_hides_tokens_is_measured_too(tmp_path: Path) -> None:
    base = live_models.bert()
    paths = saved(base, tmp_path / "b"), saved(moved(base, ["layer.1."]), tmp_path / "t")
    found = importance(*paths, text=written(ROWS, tmp_path / "t.jsonl"), nodes=8)
    before, after = found.losses
    assert found.about["kind"] == "masked" and after is not None
    assert found.diff.by(metrics=["path"])["path"][0] == pytest.approx(after - before, abs=1e-4)
    layers = found.layers.set_index("layer")
    assert abs(layers["skip"][1] - layers["zero"][1]) > 1e-2


# ---- layers


def test_layers_are_what_the_loss_is_without_them(found: Importance) -> None:
    base, tuned = found.losses
    assert tuned is not None
    layers = found.layers.set_index("layer")
    assert layers["skip"].dropna().tolist() == pytest.approx(layers["zero"].dropna(), abs=1e-6)
    assert layers["revert"][1] == pytest.approx(base - tuned, abs=1e-6)
    assert layers["graft"][1] == pytest.approx(base - tuned, abs=1e-6)
    assert layers["revert"][0] == layers["graft"][0] == 0.0 and layers["revert_p"][0] == 1.0
    model = models.llama()
    with torch.no_grad():
        for name, W in model.named_parameters():
            if "layers.0.self_attn.q_proj" in name:
                W.zero_()
        wanted = mean_loss(model).item() - base
    components = found.components.set_index(["layer", "component"])
    assert components.loc[(0, "attn.q"), "zero"] == pytest.approx(wanted, abs=1e-6)
    assert (layers["revert_low"] <= layers["revert"]).all()
    assert (layers["revert"] <= layers["revert_high"]).all()
    assert "skip" not in components


def test_a_part_is_taken_from_the_tuned_model_or_put_alone_into_the_base(tmp_path: Path) -> None:
    base, tuned = models.llama(), moved(models.llama(), by=0.05)
    found = importance(
        saved(base, tmp_path / "b"), saved(tuned, tmp_path / "t"),
        text=written(ROWS, tmp_path / "t.jsonl"), measures=["revert", "graft"],
    )  # fmt: skip
    layers = found.layers.set_index("layer")
    with torch.no_grad():
        before, after = mean_loss(base).item(), mean_loss(tuned).item()
        for one, other, name, sign, start in (
            (tuned, base, "revert", 1, after),
            (base, tuned, "graft", -1, before),
        ):
            changed = copy.deepcopy(one)
            changed.model.layers[1].load_state_dict(other.model.layers[1].state_dict())
            wanted = sign * (mean_loss(changed).item() - start)
            assert layers[name][1] == pytest.approx(wanted, abs=1e-6)


def test_gates_open_for_what_is_worth_more_than_an_average_part(tmp_path: Path) -> None:
    base, tuned = models.llama(), models.llama()
    mean_loss(tuned).backward()
    with torch.no_grad():  # a step down the gradient: every part helps
        for W in tuned.parameters():
            W.sub_(W.grad, alpha=1e-3)
    found = importance(
        saved(base, tmp_path / "b"), saved(tuned, tmp_path / "t"),
        text=written(ROWS, tmp_path / "t.jsonl"), measures=["gate"],
    )  # fmt: skip
    shares, opened = (found.layers[name].astype(float) for name in ("path_share", "gate"))
    assert (shares > 0).all() and shares.sum() == pytest.approx(1, abs=0.02)
    assert (opened > 0.9)[shares > 1 / 3].all() and (opened < 0.1)[shares < 1 / 3].all()


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_layer_that_was_planted_is_first_and_the_norm_is_wrong(seed: int) -> None:
    folder = FIXTURES / "planted" / str(seed)
    planted = (2, 3, 4, 1, 2)[seed - 1]
    found = importance(
        folder / "base", folder / "tuned", text=folder / "text.jsonl", max_texts=8,
        measures=["revert", "graft", "gate"],
    )  # fmt: skip
    layers = found.layers.dropna(subset=["layer"]).set_index("layer")
    for name in ("revert", "graft", "gate", "path_share"):
        assert layers[name].astype(float).idxmax() == planted, name
    assert layers["relative_norm"].astype(float).idxmin() == planted
    assert layers["gate"][planted] > 0.9 and layers["gate"].drop(planted).max() < 0.5
    said = {one.rule: one for one in found.findings()}
    assert said["matters-much"].evidence["layers"] == [planted]
    assert planted not in said["matters-little"].evidence["layers"]
    assert f"Layer {planted} moved little and matters much" in said["matters-much"].message


# ---- nothing, and too little


def test_a_model_against_itself_is_worth_nothing(llama: tuple[Path, Path, Path]) -> None:
    base, _, text = llama
    found = importance(base, base, text=text)
    assert found.losses[0] == found.losses[1] and found.about["gap"] == 0
    for name in ("slope", "slope_abs", "path"):
        assert not any(column(found, name).values())
    assert "path_share" not in found.diff.columns
    layers = found.layers
    for name in ("revert", "graft"):
        assert (layers[name] == 0).all() and (layers[f"{name}_p"] == 1).all()
    assert "gate" not in layers
    rules = {"matters-little", "matters-much", "worth-and-movement", "loss-not-lower", "path-gap"}
    assert not rules & {one.rule for one in found.findings()}


def test_a_loss_that_is_higher_is_a_caution_and_has_no_gates(found: Importance) -> None:
    base, tuned = found.losses
    assert tuned is not None and tuned > base  # a random step from random weights
    said = {one.rule: one for one in found.findings()}
    assert said["loss-not-lower"].severity == "caution"
    assert f"{tuned:.4g}" in said["loss-not-lower"].message
    assert "matters-much" not in said and "gate" not in found.layers


def test_a_base_alone_has_saliency_and_layers(llama: tuple[Path, Path, Path]) -> None:
    base, _, text = llama
    found = importance(base, text=text)
    assert found.losses[1] is None and "path" not in found.diff.columns
    assert {*found.frame["measure"]} == {"skip", "zero"}
    assert "saliency" in found.layers and "relative_norm" not in found.layers
    assert found.diff.frame["saliency"].notna().all()


def test_chances_and_intervals_are_of_texts() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(5, 20, 32)
    still = Losses(draw.random(32) * tokens, tokens)
    noise = [Losses(still.sums + draw.standard_normal(32), tokens) for _ in range(40)]
    shift = Losses(still.sums + 1 + draw.standard_normal(32) / 4, tokens)
    *random, real = effects([*noise, shift], still, 1.0, 0)
    assert min(one.p for one in random) > 0.05 and real.p < 0.01  # 40 at once, adjusted
    inside = [one.low <= 0 <= one.high for one in random]
    assert np.mean(inside) >= 0.85
    assert real.low < real.value < real.high and real.low > 0
    assert effects([shift], still, -1.0, 0)[0].value == -real.value
    assert holm(np.array([0.5])).tolist() == [0.5]


# ---- the result, its files, its command


def test_overlap_is_beside_chance(found: Importance, llama: tuple[Path, Path, Path]) -> None:
    same = found.overlap(found, "path")
    assert (same.jaccard, same.top, same.of) == (1.0, 1, 3)
    tops = [set(top) for top in itertools.combinations(range(3), 1)]
    by_hand = np.mean([len(a & b) / len(a | b) for a in tops for b in tops])
    assert same.chance == pytest.approx(by_hand) and same.p == pytest.approx(1 / 3)
    with pytest.raises(UnknownName, match="no column is called 'nonsense'"):
        found.overlap(found, "nonsense")
    with pytest.raises(UnknownName, match="there are: saliency"):
        found.overlap(found, "stack")


def test_where_all_parts_are_alike_none_is_the_top(
    found: Importance, llama: tuple[Path, Path, Path]
) -> None:
    base, _, text = llama
    still = importance(base, base, text=text, measures=())
    with pytest.raises(BadCall, match="no top"):
        found.overlap(still, "path")


@pytest.mark.parametrize("texts_", [1, 5])
def test_of_few_texts_there_is_no_interval(
    llama: tuple[Path, Path, Path], tmp_path: Path, texts_: int
) -> None:
    base, tuned, text = llama
    given = ["importance", str(base), str(tuned), "--text", str(text), "--max-texts", str(texts_)]
    done = CliRunner().invoke(door, [*given, "-m", "revert", "-o", str(tmp_path)])
    assert done.exit_code == 0 and "nan" not in done.output
    frame = Importance.load(tmp_path / "diff.json").frame
    assert frame["value"].notna().all() and (frame["p"] > 0.05).all()
    assert frame.loc[frame["layer"] == 1, ["low", "high"]].isna().all(axis=None)


def test_a_saved_importance_is_a_diff_that_has_it(found: Importance, tmp_path: Path) -> None:
    path = found.save(tmp_path / "diff.json")
    again = ftdiff.Importance(ftdiff.load(path))
    assert again.losses == found.losses
    assert again.layers.equals(found.layers) and again.frame.equals(found.frame)
    assert [one.message for one in again.findings()] == [o.message for o in found.findings()]
    assert "loss" in repr(again) and "outside" not in again._repr_html_()
    with pytest.raises(BadCall, match="not measured on a text"):
        ftdiff.Importance(ftdiff.compare(FIXTURES / "base", FIXTURES / "lora"))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, ""),
        ({"loss": {}}, "no losses"),
        ({"loss": {"base": "1"}, "text": {}}, "a loss is no number"),
        ({"loss": {"base": 1.0}}, "no text"),
        ({"loss": {"base": 1.0}, "text": {}, "parts": [1]}, "parts are no records"),
        *(
            ({"loss": {"base": 1.0}, "text": {}, "parts": [part]}, "a part has another")
            for part in (
                {"layer": "x", "measure": "revert"},
                {},
                {"measure": "stack"},
                {"measure": "revert", "layer": 10**30},
                {"measure": "revert", "value": 10**400},
                {"measure": "revert", "value": 1.0, "low": 0.5},
            )
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    found: Importance, tmp_path: Path, told: dict[str, Any], why: str
) -> None:
    path = found.save(tmp_path / "diff.json")
    document = json.loads(path.read_text())
    document["about"]["importance"] = told
    path.write_text(json.dumps(document))
    if not why:
        assert html.save(ftdiff.load(path), tmp_path / "page.html").exists()
        return
    with pytest.raises(BadFile, match=why):
        ftdiff.load(path)


def run(*args: object) -> Result:
    return CliRunner().invoke(door, [*map(str, args)])


def test_the_command_writes_columns_frames_pictures_and_a_page(
    llama: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    base, tuned, text = llama
    out = tmp_path / "out"
    done = run("importance", base, tuned, "--text", text, "--components", "-o", out)
    assert done.exit_code == 0, done.output
    assert "about 0 s" not in done.stderr and "1 passes" not in done.stderr
    for words in ("nats a token", "path adds up to", "sha256", "layers × components", "caution"):
        assert words in done.stdout
    again = run("report", out / "diff.json", "-o", tmp_path / "again.html")
    assert again.exit_code == 0
    assert (tmp_path / "again.html").read_text() == (out / "report.html").read_text()
    names = {"diff.json", "diff.csv", "layers.csv", "components.csv", "report.html"}
    assert {p.name for p in out.iterdir()} == names | {
        *("importance.png", "importance.svg", "journal.sqlite"),
    }
    header, *rows = (out / "layers.csv").read_text().splitlines()
    assert header == "stack,layer,component,measure,value,low,high,p"
    assert len(rows) == 2 + 2 + 3 + 3
    assert "path_share" in (out / "diff.csv").read_text().splitlines()[0]
    page = (out / "report.html").read_text()
    assert "share of L₁ − L₀" in page and " nats a token." in page
    table = page.partition("What layers are worth on the text</h2>")[2].partition("</table>")[0]
    assert all(f">{name}</th>" in table for name in ("skip", "revert 95%", "graft", "outside"))
    assert run("findings", out / "diff.json").exit_code == 0


def test_formats_and_a_base_alone(llama: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, _, text = llama
    csv = run("importance", base, "--text", text, "-m", "skip", "--format", "csv")
    assert csv.stdout.splitlines()[1].startswith(",0,,skip,")
    whole = run(
        "importance", base, "--text", text, "-m", "none", "--format", "json", "-o", tmp_path
    )
    assert json.loads(whole.stdout)["about"]["importance"]["loss"].keys() == {"base"}
    assert {p.name for p in tmp_path.iterdir()} >= {"importance.png", "report.html"}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--text", "{tmp}/none.txt"), "No such file"),
        (("--text", "{tmp}/empty.txt"), "it has no text"),
        (("--text", "{tmp}/words.txt"), "no tokenizer"),
        (("--text", "{text}", "--device", "cuda:9"), "torch does not see it"),
        (("--text", "{text}", "--nodes", "0"), "nodes and batch are 1 at least"),
        (("--text", "{text}", "--seed", "-1"), "a seed is a whole number from 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_two(
    llama: tuple[Path, Path, Path], tmp_path: Path, args: tuple[str, ...], told: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "words.txt").write_text("a b c\n")
    filled = [one.format(tmp=tmp_path, text=llama[2]) for one in args]
    with pytest.raises(FtdiffError, match=told) as raised:
        door(["importance", str(llama[0]), *filled], standalone_mode=False)
    assert "\n" not in str(raised.value)


def test_compare_says_who_measures_worth() -> None:
    with pytest.raises(BadCall, match="path needs a text: ftdiff importance measures it"):
        ftdiff.compare(FIXTURES / "base", FIXTURES / "lora", ["path"])
    with pytest.raises(BadCall, match="ftdiff importance"):
        ftdiff.compare(FIXTURES / "base", FIXTURES / "lora").by("layer", metrics=["saliency"])


def test_a_setting_that_does_not_exist_is_named(llama: tuple[Path, Path, Path]) -> None:
    with pytest.raises(UnknownName, match="setting"):
        importance(llama[0], text=llama[2], batches=3)
    with pytest.raises(UnknownName, match="measure"):
        importance(llama[0], text=llama[2], measures=["revers"])
