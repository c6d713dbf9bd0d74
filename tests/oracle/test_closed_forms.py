"""Every other closed form: ΔW, its norm, inner product and spectrum equal PEFT's own merge."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ftdiff
from ftdiff.adapters import vera
from ftdiff.deltas import Hadamard, Kronecker, LowRank
from ftdiff.engine import run
from ftdiff.errors import BadAdapter, Irreproducible, Mismatch
from ftdiff.plan import pair
from ftdiff.recipes import Added, Unreadable
from tests.oracle import models
from tests.oracle.agreement import (
    assert_agrees,
    merge_difference,
    opened,
    save_adapter,
    save_base,
)

ADAPTER = "adapter_model.safetensors"
LINEAR = ["q_proj", "k_proj", "down_proj"]
CONV1D = ["c_attn", "c_proj", "c_fc"]


class Kernels(nn.Module):
    """Convolutions with kernels of every kind that LyCORIS' types tell apart, and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(16, 24, 3)
        self.dot = nn.Conv1d(8, 8, 1)
        self.two = nn.Conv2d(8, 12, (3, 2))
        self.point = nn.Conv2d(12, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.three = nn.Conv3d(4, 6, 2)
        self.bare = nn.Conv2d(4, 6, 2, bias=False)


def kernels() -> nn.Module:
    torch.manual_seed(5)
    return Kernels().eval()


@dataclass(frozen=True)
class Case:
    """A configuration: its type, the model, its targets, and what the type's class is given."""

    type: str
    targets: list[str] | str = field(default_factory=lambda: list(LINEAR))
    options: dict[str, Any] = field(default_factory=dict)
    model: Callable[[], nn.Module] = models.llama
    change: Callable[[nn.Module], None] | None = None

    def config(self) -> Any:
        made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(self.type)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return made(target_modules=self.targets, **self.options)


def biased() -> nn.Module:
    return models.llama(bias=True)


def prune(model: nn.Module) -> None:
    """Keep other singular values in every module, none in one, as AdaLoRA's allocator does."""
    kept = {}
    for i, (name, _) in enumerate(n for n in model.named_parameters() if ".lora_E." in n[0]):
        path = name.removeprefix("base_model.model.").removesuffix(".default")
        kept[path] = [(i + j) % 3 > 0 and i > 0 for j in range(6)]
    model.peft_config["default"].rank_pattern = kept


ADALORA = {"init_r": 6, "lora_alpha": 5, "total_step": 10}
PATTERNS = {
    "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 5},
    "alpha_pattern": {"k_proj": 9},
}
LYCORIS_2D = ["two", "point"]
LYCORIS_1D = ["one", "dot"]

CASES = {
    "adalora": Case("ADALORA", options=ADALORA),
    "adalora pruned": Case("ADALORA", options=ADALORA, change=prune),
    "adalora without alpha, pruned": Case(
        "ADALORA", options=ADALORA | {"lora_alpha": 0}, change=prune
    ),
    "adalora Conv1D": Case("ADALORA", CONV1D, ADALORA | {"fan_in_fan_out": True}, models.gpt2),
    "adalora convolutions": Case("ADALORA", LYCORIS_2D, ADALORA, kernels),
    "adalora with biases": Case("ADALORA", options=ADALORA | {"bias": "all"}, model=biased),
    "delora": Case("DELORA", options={"r": 4}),
    "delora patterns": Case(
        "DELORA", options={"r": 4, "rank_pattern": {"q_proj": 2}, "lambda_pattern": {"k_proj": 3.0}}
    ),
    "delora with biases": Case("DELORA", options={"r": 4, "bias": "all"}, model=biased),
    "gralora": Case("GRALORA", options={"r": 4, "gralora_k": 2, "alpha": 7}),
    "gralora of four": Case("GRALORA", options={"r": 8, "gralora_k": 4, "alpha": 7}),
    "gralora with a plain pair": Case("GRALORA", options={"r": 6, "gralora_k": 3, "hybrid_r": 2}),
    "gralora Conv1D": Case(
        "GRALORA", CONV1D, {"r": 4, "hybrid_r": 3, "fan_in_fan_out": True}, models.gpt2
    ),
    "ia3": Case("IA3", options={"feedforward_modules": ["down_proj"]}, model=biased),
    "ia3 by pattern": Case(
        "IA3", r".*(q_proj|down_proj)", {"feedforward_modules": r".*\.down_proj"}
    ),
    "ia3 Conv1D": Case("IA3", CONV1D, {"feedforward_modules": ["c_fc"]}, models.gpt2),
    "ia3 Conv1D, square inputs": Case(
        "IA3", CONV1D, {"feedforward_modules": ["c_proj"]}, models.gpt2
    ),
    "ia3 convolutions": Case(
        "IA3",
        ["two", "point", "grouped", "three", "bare"],
        {"feedforward_modules": ["point", "grouped"]},
        kernels,
    ),
    "ia3 grouped outputs": Case("IA3", ["grouped"], {"feedforward_modules": []}, kernels),
    "ln tuning": Case("LN_TUNING", ["input_layernorm", "model.norm"]),
    "ln tuning with biases": Case("LN_TUNING", ["ln_1", "ln_f"], model=models.gpt2),
    "ln tuning of linear layers": Case("LN_TUNING", ["q_proj"], model=biased),
    "loha": Case("LOHA", options={"r": 2, "alpha": 3}),
    "loha above the sides": Case("LOHA", options={"r": 7, "alpha": 3}),
    "loha patterns": Case("LOHA", options={"r": 3, "alpha": 4} | PATTERNS),
    "loha convolutions": Case("LOHA", LYCORIS_2D + LYCORIS_1D, {"r": 2, "alpha": 3}, kernels),
    "loha Tucker": Case(
        "LOHA", LYCORIS_2D + LYCORIS_1D, {"r": 2, "alpha": 3, "use_effective_conv2d": True}, kernels
    ),
    "lokr": Case("LOKR", options={"r": 2, "alpha": 3}),
    "lokr both decomposed": Case(
        "LOKR", options={"r": 1, "alpha": 3, "decompose_both": True, "decompose_factor": 6}
    ),
    "lokr both whole": Case("LOKR", options={"r": 20, "alpha": 3}),
    "lokr by factor": Case("LOKR", options={"r": 2, "alpha": 3, "decompose_factor": 2}),
    "lokr patterns": Case("LOKR", options={"r": 3, "alpha": 4} | PATTERNS),
    "lokr patterns, whole": Case(
        "LOKR",
        options={
            "r": 30,
            "alpha": 4,
            "rank_pattern": {"q_proj": 20},
            "alpha_pattern": {"k_proj": 9},
        },
    ),
    "lokr convolutions": Case("LOKR", LYCORIS_2D + LYCORIS_1D, {"r": 1, "alpha": 3}, kernels),
    "lokr convolutions, whole": Case(
        "LOKR", LYCORIS_2D + LYCORIS_1D, {"r": 12, "alpha": 3}, kernels
    ),
    "lokr Tucker": Case(
        "LOKR", ["two"], {"r": 1, "alpha": 3, "use_effective_conv2d": True}, kernels
    ),
    "lokr Tucker, one dimension": Case(
        "LOKR", LYCORIS_1D, {"r": 2, "alpha": 3, "use_effective_conv2d": True}, kernels
    ),
    "trainable tokens": Case("TRAINABLE_TOKENS", ["embed_tokens"], {"token_indices": [5, 0, 39]}),
    "vblora": Case("VBLORA", options={"r": 3, "topk": 2, "num_vectors": 9, "vector_length": 4}),
    "vblora of the largest alone": Case(
        "VBLORA",
        options={
            "r": 3,
            "topk": 3,
            "num_vectors": 9,
            "vector_length": 4,
            "save_only_topk_weights": True,
        },
    ),
    "vblora Conv1D": Case(
        "VBLORA",
        CONV1D,
        {"r": 3, "topk": 2, "num_vectors": 9, "vector_length": 4, "fan_in_fan_out": True},
        models.gpt2,
    ),
    "vera": Case("VERA", options={"r": 5, "d_initial": 0.4}),
    "vera Conv1D": Case("VERA", CONV1D, {"r": 5, "fan_in_fan_out": True}, models.gpt2),
    "vera with biases": Case("VERA", options={"r": 5, "bias": "vera_only"}, model=biased),
    "modules to save": Case("LOHA", options={"r": 2, "modules_to_save": ["lm_head"]}),
}


def saved(case: Case, folder: Path) -> tuple[nn.Module, Path, Path]:
    model = case.model()
    base = save_base(model, folder / "base")
    adapter = save_adapter(model, case.config(), folder / "adapter", change=case.change)
    return model, base, adapter


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_change_is_what_the_merge_adds(case: Case, tmp_path: Path) -> None:
    model, base, adapter = saved(case, tmp_path)
    wanted = merge_difference(model, adapter)
    assert any(dW.any() for dW in wanted.values())
    tuned = assert_agrees(base, adapter, wanted)
    assert not tuned.unmatched
    assert tuned.kind == case.type.lower()


FORMS = {"loha": Hadamard, "lokr": Kronecker, "gralora": LowRank, "delora": LowRank}
ALONE = [
    name for name, case in CASES.items() if case.type not in ("IA3", "TRAINABLE_TOKENS", "VERA")
]


@pytest.mark.parametrize("name", [*FORMS, "adalora", "vblora", "vera"])
def test_no_change_is_multiplied_out(name: str, tmp_path: Path) -> None:
    _, base, adapter = saved(CASES[name], tmp_path)
    _, tuned = opened(base, adapter)
    recipes = tuned.recipes.values()
    assert all(isinstance(recipe, Added) for recipe in recipes)
    assert {type(recipe.delta(None)) for recipe in recipes} == {FORMS.get(name, LowRank)}


@pytest.mark.parametrize("name", ALONE)
def test_without_a_base_the_norms_are_the_same(name: str, tmp_path: Path) -> None:
    _, base, adapter = saved(CASES[name], tmp_path)
    _, tuned = opened(base, adapter)
    alone = ftdiff.open_tuned(adapter)
    assert alone.recipes.keys() == tuned.recipes.keys()
    for tensor, recipe in tuned.recipes.items():
        if isinstance(recipe, Added):
            expected = recipe.delta(None).sumsq()
            assert alone.recipes[tensor].delta(None).sumsq() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["ia3", "trainable tokens", "vera"])
def test_what_needs_the_base_asks_for_it(name: str, tmp_path: Path) -> None:
    _, _, adapter = saved(CASES[name], tmp_path)
    for recipe in ftdiff.open_tuned(adapter).recipes.values():
        with pytest.raises(BadAdapter, match=r"give the base$"):
            recipe.moments(None)


ORIGINS = {
    "adalora": "α/(r + 1e-05) = 5/6, init_r in adapter_config.json",
    "adalora without alpha, pruned": "α/(r + 1e-05) = 4 (for lora_alpha = 0)/6, init_r in",
    "gralora with a plain pair": "/8, hybrid_r = 2 in adapter_config.json",
    "loha": "α/r = 3/2, adapter_config.json",
    "loha patterns": "α/r = 9/3, alpha_pattern 'k_proj' in adapter_config.json",
    "lokr": "α/r = 3/2, adapter_config.json",
    "lokr both whole": "α/r = 3/20, r in adapter_config.json",
    "lokr patterns, whole": "α/r = 4/20, rank_pattern 'q_proj' in adapter_config.json",
}


@pytest.mark.parametrize(("name", "told"), ORIGINS.items())
def test_every_factor_says_where_it_came_from(name: str, told: str, tmp_path: Path) -> None:
    _, base, adapter = saved(CASES[name], tmp_path)
    _, tuned = opened(base, adapter)
    assert any(told in origin for origin in tuned.scalings.values()), tuned.scalings
    assert all(tuned.scalings.values())


def damaged(adapter: Path, change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Path:
    """Write the adapter again, its tensors changed or dropped."""
    file = adapter / "adapter_model.safetensors"
    held = {key: change(key, tensor) for key, tensor in load_file(file).items()}
    save_file({key: t.contiguous() for key, t in held.items() if t is not None}, file)
    return adapter


TYPES = ["adalora", "delora", "gralora with a plain pair", "ia3", "loha", "lokr both decomposed"]
TYPES += ["loha Tucker", "lokr Tucker", "vblora", "vblora of the largest alone", "vera"]


def parts_of(name: str, tmp_path: Path) -> tuple[Path, list[str]]:
    """Return a saved adapter, and the keys of one of its modules and of all of them."""
    _, _, adapter = saved(CASES[name], tmp_path)
    keys = load_file(adapter / "adapter_model.safetensors")
    path = next(key for key in keys if key.startswith("base_model.model.")).rpartition(".")[0]
    path = path.removesuffix(".gralora_A_general").removesuffix(".gralora_B_general")
    return adapter, [k for k in keys if k.startswith((path, "base_model.v"))]


@pytest.mark.parametrize("name", [name for name in TYPES if name != "ia3"])
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    adapter, keys = parts_of(name, tmp_path)
    whole = load_file(adapter / "adapter_model.safetensors")
    for gone in keys:
        save_file({k: t for k, t in whole.items() if k != gone}, adapter / ADAPTER)
        _, tuned = opened(tmp_path / "base", adapter)
        part = next(word for word in reversed(gone.split(".")) if word != "weight")
        reasons = [r.reason for r in tuned.recipes.values() if isinstance(r, Unreadable)]
        assert reasons
        assert any(part in reason for reason in reasons) or part.endswith(("t1", "t2")), reasons


@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (3,), (5, 7), (1, 1), (2, 3, 4), (0, 4)], ids=str
)
@pytest.mark.parametrize("name", TYPES)
def test_parts_of_other_shapes_are_refused_in_a_sentence(
    name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    adapter, keys = parts_of(name, tmp_path)
    whole = load_file(adapter / "adapter_model.safetensors")
    for wrong in keys:
        if whole[wrong].shape == shape:
            continue
        made = torch.ones(shape, dtype=whole[wrong].dtype)
        save_file({**whole, wrong: made}, adapter / ADAPTER)
        checkpoint, tuned = opened(tmp_path / "base", adapter)
        try:
            rows, unreadable = run(pair(checkpoint, tuned))
        except Mismatch as error:
            assert "\n" not in str(error)
            continue
        assert [row for row in rows if row["status"] in ("unreadable", "reshaped")], wrong
        assert all("\n" not in reason for reason in unreadable.values())


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_not_finite_are_counted(name: str, value: float, tmp_path: Path) -> None:
    _, base, adapter = saved(CASES[name], tmp_path)

    def spoil(key: str, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point():
            tensor.view(-1)[0] = value
        return tensor

    checkpoint, tuned = opened(base, damaged(adapter, spoil))
    rows, unreadable = run(pair(checkpoint, tuned))
    assert not unreadable
    assert any(row.get("nonfinite_tuned") for row in rows)


def test_projections_that_were_not_saved_are_no_closed_form(tmp_path: Path) -> None:
    case = Case("VERA", options={"r": 5, "save_projection": False})
    _, _, adapter = saved(case, tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    with pytest.raises(Irreproducible, match="save_projection is false"):
        vera.check(config)


def test_the_head_follows_trained_tokens_where_the_model_ties_it(tmp_path: Path) -> None:
    case = Case("TRAINABLE_TOKENS", ["wte"], {"token_indices": [3, 1]}, models.gpt2)
    model, base, adapter = saved(case, tmp_path)
    config = {"model_type": "gpt2", "tie_word_embeddings": True}
    (base / "config.json").write_text(json.dumps(config))
    wanted = merge_difference(model, adapter)
    assert wanted["lm_head.weight"].any()
    assert_agrees(base, adapter, wanted)


def test_a_rank_that_the_configuration_does_not_name_is_said(tmp_path: Path) -> None:
    _, base, adapter = saved(CASES["adalora pruned"], tmp_path)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rank_pattern": None}))
    _, tuned = opened(base, adapter)
    assert "factors of rank 4 where init_r says 6: the factors' own is used" in tuned.notes


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("adalora", "init_r", 0),
        ("adalora", "lora_alpha", None),
        ("gralora", "alpha", "1"),
        ("ia3 convolutions", "feedforward_modules", None),
        ("ia3 convolutions", "feedforward_modules", "("),
        ("loha", "alpha", None),
        ("loha", "alpha_pattern", {"(": 1}),
        ("lokr both whole", "r", 0),
    ],
)
def test_a_configuration_without_its_number_is_refused(
    name: str, field: str, value: object, tmp_path: Path
) -> None:
    _, base, adapter = saved(CASES[name], tmp_path)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    _, tuned = opened(base, adapter)
    reasons = [r.reason for r in tuned.recipes.values() if isinstance(r, Unreadable)]
    assert reasons
    assert all("adapter_config.json" in reason or "rank is 0" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("vblora", "topk", None),
        ("adalora", "target_parameters", ["mlp.experts.down_proj"]),
        ("adalora", "trainable_token_indices", [1]),
    ],
)
def test_a_configuration_of_another_formula_is_refused(
    name: str, field: str, value: object, tmp_path: Path
) -> None:
    _, base, adapter = saved(CASES[name], tmp_path)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(BadAdapter, match=field):
        opened(base, adapter)


def test_an_index_outside_the_bank_is_refused(tmp_path: Path) -> None:
    _, base, adapter = saved(CASES["vblora of the largest alone"], tmp_path)
    damaged(adapter, lambda key, t: t + 200 if "topk_indices" in key else t)
    checkpoint, tuned = opened(base, adapter)
    _, unreadable = run(pair(checkpoint, tuned))
    assert unreadable
    assert all("9 vectors" in reason for reason in unreadable.values())
