"""What a damaged adapter, or one without its numbers, is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.adapters.peft.closed_forms import vera
from ftdiff.deltas.recipes import Unreadable
from ftdiff.errors import BadAdapter, Irreproducible, Mismatch
from tests.oracle.agreement import (
    opened,
)
from tests.oracle.closed_forms import Case, Shelf, saved

ADAPTER = "adapter_model.safetensors"


def damaged(adapter: Path, change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Path:
    """Write the adapter again, its tensors changed or dropped."""
    file = adapter / "adapter_model.safetensors"
    held = {key: change(key, tensor) for key, tensor in load_file(file).items()}
    save_file({key: t.contiguous() for key, t in held.items() if t is not None}, file)
    return adapter


TYPES = ["adalora", "delora", "gralora with a plain pair", "ia3", "loha", "lokr both decomposed"]
TYPES += [
    "lokr both whole",
    "loha Tucker",
    "lokr Tucker",
    "vblora",
    "vblora of the largest alone",
    "vera",
]


def parts_of(name: str, shelf: Shelf) -> tuple[Path, Path, list[str]]:
    """Return a base, an adapter, and the keys of one of its modules and of all of them."""
    _, base, adapter = shelf(name)
    keys = load_file(adapter / "adapter_model.safetensors")
    own = [key for key in keys if key.startswith("base_model.model.")]
    path = next((k for k in own if k.endswith("hada_t1")), own[0]).rpartition(".")[0]
    path = path.removesuffix(".gralora_A_general").removesuffix(".gralora_B_general")
    return base, adapter, [k for k in keys if k.startswith((path, "base_model.v"))]


@pytest.mark.parametrize("name", [name for name in TYPES if name != "ia3"])
def test_a_missing_part_is_named(name: str, shelf: Shelf) -> None:
    base, adapter, keys = parts_of(name, shelf)
    whole = load_file(adapter / "adapter_model.safetensors")
    for gone in keys:
        save_file({k: t for k, t in whole.items() if k != gone}, adapter / ADAPTER)
        _, tuned = opened(base, adapter)
        part = next(word for word in reversed(gone.split(".")) if word != "weight")
        reasons = [r.reason for r in tuned.recipes.values() if isinstance(r, Unreadable)]
        assert reasons
        told = "do not multiply" if part == "lokr_t2" else part
        assert any(told in reason for reason in reasons), reasons


@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 7), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("name", TYPES)
def test_parts_of_other_shapes_are_refused_in_a_sentence(
    name: str, shape: tuple[int, ...], shelf: Shelf
) -> None:
    base, adapter, keys = parts_of(name, shelf)
    whole = load_file(adapter / "adapter_model.safetensors")
    for wrong in keys:
        if whole[wrong].shape == shape:
            continue
        made = torch.ones(shape, dtype=whole[wrong].dtype)
        save_file({**whole, wrong: made}, adapter / ADAPTER)
        try:
            diff = ftdiff.compare(base, adapter)
        except Mismatch as error:
            assert "\n" not in str(error)
            continue
        assert diff.frame.status.isin(["unreadable", "reshaped"]).any(), wrong
        assert all("\n" not in reason for reason in diff.about["unreadable"].values())


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_not_finite_are_counted(name: str, value: float, shelf: Shelf) -> None:
    _, base, adapter = shelf(name)

    def spoil(key: str, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point():
            tensor.view(-1)[0] = value
        return tensor

    diff = ftdiff.compare(base, damaged(adapter, spoil))
    assert not diff.about["unreadable"]
    assert (diff.frame.nonfinite_tuned > 0).any()


def test_projections_that_were_not_saved_are_no_closed_form(tmp_path: Path) -> None:
    case = Case("VERA", options={"r": 5, "save_projection": False})
    _, _, adapter = saved(case, tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    with pytest.raises(Irreproducible, match="save_projection is false"):
        vera.check(config)


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
    name: str, field: str, value: object, shelf: Shelf
) -> None:
    _, base, adapter = shelf(name)
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
    name: str, field: str, value: object, shelf: Shelf
) -> None:
    _, base, adapter = shelf(name)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(BadAdapter, match=field):
        opened(base, adapter)


def test_an_index_outside_the_bank_is_refused(shelf: Shelf) -> None:
    _, base, adapter = shelf("vblora of the largest alone")
    damaged(adapter, lambda key, t: t + 200 if "topk_indices" in key else t)
    unreadable = ftdiff.compare(base, adapter).about["unreadable"]
    assert unreadable
    assert all("9 vectors" in reason for reason in unreadable.values())


DISAGREEMENTS = {
    "the two products": (
        "loha",
        lambda key, t: t[1:] if key.endswith("hada_w1_a") else t,
        "the two products are 23×36 and 24×36, not of one shape",
    ),
    "the grid": (
        "gralora",
        lambda key, t: (
            torch.cat([t, t[..., :1]], -1) if key.endswith("_A") else t[:, [0, *range(4)]]
        ),
        "rank 5 is not divided by the 2 blocks of a side",
    ),
    "the rank": (
        "delora",
        lambda key, t: t[1:] if key.endswith("delora_A") else t,
        "the adapter's tensors disagree on the rank: 3, 4",
    ),
    "the bank": (
        "vblora",
        lambda key, t: t[1:] if key.endswith("bank") else t,
        "the adapter's tensors disagree on the number of vectors: 8, 9",
    ),
    "the projections": (
        "vera",
        lambda key, t: t[:, 1:] if key.endswith("vera_A") else t,
        "vera_A 5×35 and vera_B 24×5 do not reach over rank 5, 24×36",
    ),
    "the inputs": (
        "ia3",
        lambda key, t: t[:, 1:] if t.shape[0] == 1 else t,
        "35 factors for the inputs of 24×36",
    ),
}


@pytest.mark.parametrize(("name", "change", "told"), DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_tensors_that_disagree_are_refused(
    name: str,
    change: Callable[[str, torch.Tensor], torch.Tensor],
    told: str,
    shelf: Shelf,
) -> None:
    _, base, adapter = shelf(name)
    _, tuned = opened(base, damaged(adapter, change))
    reasons = [r.reason for r in tuned.recipes.values() if isinstance(r, Unreadable)]
    assert any(told in reason for reason in reasons), reasons
