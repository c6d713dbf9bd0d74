"""The table of capabilities, both ways: what it says works, and what it refuses would be wrong."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft.tuners.lora.config import CordaConfig, LoraGAConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.loraga import preprocess_loraga
from torch import nn

from ftdiff.adapters import open_tuned
from ftdiff.adapters.peft import capabilities as capability
from ftdiff.adapters.peft.by_peft.family import OneModule
from ftdiff.adapters.peft.capabilities import Capability
from ftdiff.adapters.peft.folder import FAMILIES, family_for
from ftdiff.errors import BadAdapter, Irreproducible, UnknownName
from ftdiff.formats import open_checkpoint
from tests.oracle import models
from tests.oracle.conftest import Bench
from tests.oracle.peft_cases import CASES, LINEAR, Case

Benches = dict[str, Bench]
TABLE = capability.read_table()
ROWS = [row for rows in TABLE.values() for row in rows]
REMOVED = {"BONE"}


def settings(case: Case) -> dict[str, Any]:
    """What a case's adapter_config.json would say."""
    return json.loads(json.dumps(case.config().to_dict(), default=list))


def told(row: Capability) -> str:
    return "-".join([row.type, *(f"{name}={value}" for name, value in row.when.items())])


@pytest.mark.parametrize("type", [kind.value for kind in peft.PeftType])
def test_every_type_of_the_installed_peft_is_in_the_table(type: str) -> None:
    assert type in TABLE


def test_the_table_speaks_of_no_type_that_peft_never_had() -> None:
    assert set(TABLE) - {kind.value for kind in peft.PeftType} == REMOVED


@pytest.mark.parametrize("row", [row for row in ROWS if row.way == "closed"], ids=told)
def test_a_closed_form_has_a_family(row: Capability) -> None:
    assert row.type in FAMILIES


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r.way in ("module", "shapes", "order")], ids=told
)
def test_what_peft_computes_for_us_is_tried_in_some_configuration(row: Capability) -> None:
    assert [case for case in CASES if capability.of(settings(case)) == row]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_tried_configuration_is_peft_s_business(case: Case) -> None:
    family = family_for(settings(case))
    assert isinstance(family, OneModule)
    family.check(settings(case))
    prefix = peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING[peft.PeftType(case.type)]
    assert prefix.startswith(family.row.prefix)


def test_every_row_says_why() -> None:
    assert not [told(row) for row in ROWS if row.way != "closed" and not row.why]


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="no PEFT type is called 'LORAX'; did you mean 'LORA'"):
        family_for({"peft_type": "LORAX"})


@pytest.mark.parametrize("row", [row for row in ROWS if row.way == "refused"], ids=told)
def test_a_refusal_names_the_setting_and_the_reason(row: Capability) -> None:
    config = {"peft_type": row.type}
    config |= {n: v.replace("*", "4") if isinstance(v, str) else v for n, v in row.when.items()}
    family = family_for(config)
    with pytest.raises(Irreproducible) as caught:
        family.check(config)
    assert row.why in str(caught.value) and "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in row.when)


@pytest.mark.parametrize(("type", "way"), [("FROD", "module"), ("VERA", "closed")])
def test_a_setting_that_an_old_file_lacks_has_peft_s_default(type: str, way: str) -> None:
    assert capability.of({"peft_type": type}).way == way


# What is refused, or not left to the module alone, would have been wrong


def as_if(monkeypatch: pytest.MonkeyPatch, row: Capability, **changed: Any) -> None:
    """Let the table say something else of a row's configurations."""
    lying = dataclasses.replace(row, **changed)
    rows = {**TABLE, row.type: tuple(lying if r == row else r for r in TABLE[row.type])}
    monkeypatch.setattr(capability, "read_table", lambda: rows)


def error(bench: Bench, adapter: Path, truth: dict[str, np.ndarray] | None = None) -> float:
    """The largest relative error of a tensor's change; infinite where none is had."""
    tuned = open_tuned(adapter, bench.opened)
    truth = bench.changes(adapter) if truth is None else truth
    errors = [0.0]
    for name, dW in truth.items():
        if not dW.any():
            continue
        try:
            found = tuned.recipes[name].delta(bench.opened.tensors[name]).dense()
        except BadAdapter:
            return float("inf")
        errors.append(float(np.linalg.norm(found.reshape(dW.shape) - dW) / np.linalg.norm(dW)))
    return max(errors)


@pytest.mark.parametrize("row", [row for row in ROWS if row.way in ("shapes", "order")], ids=told)
def test_a_module_without_the_others_would_be_wrong(
    row: Capability, benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in CASES if capability.of(settings(case)) == row)
    adapter = models.save_adapter(benches[case.on].model, case.config(), tmp_path)
    assert error(benches[case.on], adapter) < 1e-5
    as_if(monkeypatch, row, way="module")
    assert error(benches[case.on], adapter) > 1e-2


def test_frod_without_projections_would_be_wrong(
    benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches["llama"]
    config = Case("FROD", {"save_projection": False}).config()
    adapter = models.save_adapter(bench.model, config, tmp_path)
    (row,) = [row for row in TABLE["FROD"] if row.way == "refused"]
    with pytest.raises(Irreproducible):
        open_tuned(adapter, bench.opened)
    as_if(monkeypatch, row, way="module", prefix="frod_")
    assert error(bench, adapter) > 1e-2


def trained(
    bench: Bench,
    config: Any,
    folder: Path,
    *,
    seed: int = 5,
    prepare: Callable[[nn.Module], None] = lambda model: None,
) -> dict[str, np.ndarray]:
    """Train as far as random numbers go, save the adapter, and return what really changed."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = copy.deepcopy(bench.model)
        prepare(start)
        with torch.no_grad():
            model = peft.get_peft_model(start, config)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.2)
            model.save_pretrained(folder)
            after = models.state(model.merge_and_unload())
    before = models.state(bench.model)
    return {name: after[name].astype(np.float64) - before[name] for name in bench.opened.tensors}


def reconfigure(adapter: Path, **settings: Any) -> None:
    """Change some of an adapter's settings; None takes one away."""
    file = adapter / "adapter_config.json"
    found = {**json.loads(file.read_text()), **settings}
    file.write_text(json.dumps({name: v for name, v in found.items() if v is not None}))


RANDOM: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("LORA", {"r": 4, "init_lora_weights": "pissa_niter_1"}, ()),
    ("PSOFT", {"r": 6, "psoft_svd": "lowrank", "psoft_svd_lowrank_niter": 1}, ("random_seed",)),
]


@pytest.mark.parametrize(("type", "options", "lost"), RANDOM, ids=["pissa_niter", "psoft-lowrank"])
def test_what_came_from_an_unsaved_random_draw_would_be_wrong(
    benches: Benches,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    type: str,
    options: dict[str, Any],
    lost: tuple[str, ...],
) -> None:
    bench = benches["llama"]
    config = Case(type, {**options, **dict.fromkeys(lost, 11)}).config()
    truth = trained(bench, config, tmp_path)
    reconfigure(tmp_path, **dict.fromkeys(lost))
    with pytest.raises(Irreproducible):
        open_tuned(tmp_path, bench.opened)
    found = json.loads((tmp_path / "adapter_config.json").read_text())
    as_if(monkeypatch, capability.of(found), way="module", prefix=f"{type.lower()}_")
    assert error(bench, tmp_path, truth) > 1e-3


def tokens() -> torch.Tensor:
    return torch.randint(40, (8, 12), generator=torch.Generator().manual_seed(3))


def prepare_corda(model: nn.Module, config: Any) -> None:
    preprocess_corda(model, config, run_model=lambda: [model(line[None]) for line in tokens()])


def prepare_lora_ga(model: nn.Module, config: Any) -> None:
    preprocess_loraga(model, config, lambda: model(tokens(), labels=tokens()).loss.backward())


PREPARED = {
    "corda": (prepare_corda, {"corda_config": CordaConfig(corda_method="kpm")}),
    "lora_ga": (prepare_lora_ga, {"lora_ga_config": LoraGAConfig(scale="unit")}),
}


@pytest.mark.parametrize("init", PREPARED)
def test_what_was_prepared_with_data_would_be_wrong(
    benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str
) -> None:
    bench = benches["llama"]
    prepare, options = PREPARED[init]
    config = Case("LORA", {"r": 4, "init_lora_weights": init, **options}).config()
    truth = trained(bench, config, tmp_path, prepare=lambda model: prepare(model, config))
    with pytest.raises(Irreproducible):
        open_tuned(tmp_path, bench.opened)
    (row,) = [row for row in TABLE["LORA"] if row.when.get("init_lora_weights") == init]
    as_if(monkeypatch, row, way="module", prefix="lora_")
    assert error(bench, tmp_path, truth) > 1e-2
    reconfigure(tmp_path, init_lora_weights=True)
    assert error(bench, tmp_path, truth) > 1e-2


def test_loftq_is_plain_lora_on_the_base_it_saved_and_wrong_on_another(
    benches: Benches, tmp_path: Path
) -> None:
    bench = benches["llama"]

    def quantise(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith(tuple(f"{target}.weight" for target in LINEAR)):
                parameter.data = torch.round(parameter.data * 4) / 4

    saved = copy.deepcopy(bench.model)
    quantise(saved)
    residual = Bench(
        saved, tmp_path / "base", open_checkpoint(models.save_model(saved, tmp_path / "base"))
    )
    adapter = tmp_path / "adapter"
    truth = trained(bench, Case("LORA", {"r": 4}).config(), adapter, prepare=quantise)
    reconfigure(adapter, init_lora_weights="loftq")
    with pytest.raises(Irreproducible, match="compare with that one"):
        open_tuned(adapter, bench.opened)
    reconfigure(adapter, init_lora_weights=True)
    assert error(residual, adapter) < 1e-5
    assert error(bench, adapter, truth) > 1e-2


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_factors_of_a_residual_start_are_not_the_change(
    benches: Benches, tmp_path: Path, init: str
) -> None:
    bench = benches["llama"]
    config = Case("LORA", {"r": 4, "init_lora_weights": init}).config()
    adapter = models.save_adapter(bench.model, config, tmp_path)
    truth = bench.changes(adapter)
    assert error(bench, adapter, truth) < 1e-5
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "init_lora_weights": True}))
    assert error(bench, adapter, truth) > 1e-2
