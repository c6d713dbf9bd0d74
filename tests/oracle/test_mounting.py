"""A model with our change written into it says what PEFT's own adapted model says."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from ftdiff.adapters import open_tuned
from ftdiff.analyses.live_model import changes, mounting, opening
from ftdiff.comparison.plan import pair
from tests.oracle import models
from tests.oracle.closed_forms import CASES as CLOSED
from tests.oracle.conftest import Bench
from tests.oracle.peft_cases import CASES, LINEAR, Case

#: One case of each type that has a merge, on the small Llama.
ONE_OF_EACH: dict[str, Any] = {
    case.type: case
    for case in (*reversed(CLOSED.values()), *reversed(CASES))
    if getattr(case, "on", "llama") == "llama"
    and getattr(case, "model", models.llama) is models.llama
}
LORA = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "lora, head saved": {"modules_to_save": ["lm_head"]},
    "lora on embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "trainable tokens": {"trainable_token_indices": {"embed_tokens": [1, 5]}},
}
ONE_OF_EACH |= {
    name: Case("LORA", {"r": 4, **{k: v for k, v in more.items() if k != "target_modules"}},
               targets=tuple(more.get("target_modules", LINEAR)))
    for name, more in LORA.items()
}  # fmt: skip


@pytest.fixture(scope="module")
def live(benches: dict[str, Bench]) -> opening.Live:
    return opening.open_(benches["llama"].folder)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_mounted_model_is_the_adapted_one(
    name: str, live: opening.Live, benches: dict[str, Bench], tmp_path: Path
) -> None:
    bench, case = benches["llama"], ONE_OF_EACH[name]
    change = getattr(case, "change", None)
    adapter = models.save_adapter(bench.model, case.config(), tmp_path, change=change)
    ids = torch.arange(2, 18).reshape(2, 8)
    plan = pair(bench.opened, open_tuned(adapter, bench.opened))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(bench.model), str(adapter)).eval()
        wanted = theirs(input_ids=ids).logits
        before = live.model(input_ids=ids).logits
        with mounting.at(changes.changes_of(live, plan)):
            mine = live.model(input_ids=ids).logits
        assert torch.equal(live.model(input_ids=ids).logits, before)
    assert float((wanted - before).abs().max()) > 1e-3
    assert torch.allclose(mine, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
