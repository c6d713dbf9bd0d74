"""A model in GGUF against the same, and against adapters, under the names of transformers."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.errors import BadAdapter
from tests.cases import situations
from tests.conftest import nudge, write_model
from tests.formats.test_gguf_model import interleaved

_LEAVES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def _theirs(name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_LEAVES[rest.removesuffix('.weight')]}.weight"


def convert(path: Path, state: dict[str, torch.Tensor], arch: str = "llama") -> Path:
    """Write a model as llama.cpp's converter lays it out."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_block_count(situations.LAYERS)
    for name, W in state.items():
        rows = W.numpy()
        if "q_proj" in name or "k_proj" in name:
            rows = interleaved(rows, 2)
        writer.add_tensor(_theirs(name), np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_model_is_its_conversion_either_way(tmp_path: Path) -> None:
    own = situations.write_base(tmp_path / "own")
    theirs = convert(tmp_path / "m.gguf", situations.state())
    for base, tuned in ((own, theirs), (theirs, own)):
        diff = ftdiff.compare(base, tuned)
        assert set(diff.frame["status"]) == {"identical"} and diff.about["coverage"] == 1.0
        assert {one["code"] for one in diff.about["reasons"]} >= {"translated"}
    tuned = nudge(situations.state())
    wanted = ftdiff.compare(own, tuned).overall["relative_norm"]
    moved = convert(tmp_path / "t.gguf", tuned)
    assert ftdiff.compare(own, moved).overall["relative_norm"] == pytest.approx(wanted, rel=1e-9)
    held = write_model(tmp_path / "tuned", tuned)
    assert ftdiff.compare(theirs, held).overall["relative_norm"] == pytest.approx(wanted, rel=1e-9)


def test_an_adapter_has_one_number_on_a_model_and_its_conversion(tmp_path: Path) -> None:
    lora = situations.write_lora(tmp_path / "lora")
    wanted = ftdiff.compare(situations.write_base(tmp_path / "own"), lora)
    theirs = convert(tmp_path / "m.gguf", situations.state())
    diff = ftdiff.compare(theirs, lora)
    assert diff.overall["cosine"] == pytest.approx(wanted.overall["cosine"], rel=1e-9)
    assert diff.overall["relative_norm"] == pytest.approx(wanted.overall["relative_norm"], rel=1e-9)
    assert diff.about["coverage"] == 1.0 and ftdiff.audit(diff).ok


def test_experts_in_one_tensor_meet_those_apart(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(2)
    at = "model.layers.0.block_sparse_moe.experts"
    state = {f"{at}.{e}.w1.weight": torch.randn(6, 4, generator=draw) for e in range(3)}
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("blk.0.ffn_gate_exps.weight", torch.stack([*state.values()]).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    own = write_model(tmp_path / "own", state)
    for base, tuned in ((own, tmp_path / "m.gguf"), (tmp_path / "m.gguf", own)):
        diff = ftdiff.compare(base, tuned)
        assert diff.frame["status"].tolist() == ["identical"] * 3


def test_an_architecture_that_the_package_does_not_know_is_named(tmp_path: Path) -> None:
    theirs = convert(tmp_path / "m.gguf", situations.state(), "unheard")
    with pytest.raises(BadAdapter, match="'unheard' is not known to the installed gguf"):
        ftdiff.compare(situations.write_base(tmp_path / "own"), theirs)
