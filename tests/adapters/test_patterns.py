"""Patterns of a configuration: the first that matches, as trying them one by one finds it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import ftdiff
from ftdiff.adapters.peft.patterns import first_match
from ftdiff.errors import BadAdapter
from tests.cases import situations

WORDS = st.sampled_from(["a", "b", "ab", "a_b", "0", "1", "10", "a-b"])
PATHS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.one_of(PATHS, PATHS, st.sampled_from(["a.", r"a\.b", ".*b", "(a|b).1", "[01]", ""]))


@given(st.lists(PATTERNS, max_size=6, unique=True), PATHS)
def test_the_first_match_is_what_trying_each_finds(patterns: list[str], path: str) -> None:
    wanted = next((one for one in patterns if re.fullmatch(rf"(.*\.)?({one})", path)), None)
    assert first_match(dict.fromkeys(patterns), path, "alpha_pattern") == wanted


def test_a_dot_of_a_path_is_any_character() -> None:
    assert first_match({"q.proj": 1}, "layers.0.q_proj", "alpha_pattern") == "q.proj"
    assert first_match({"q.proj": 1}, "layers.0.xq_proj", "alpha_pattern") is None


def test_a_pattern_for_each_of_thousands_of_modules_costs_no_more_than_the_modules(
    tmp_path: Path,
) -> None:
    """Each of 3,000 experts has its rank and its α; the base calls all of them otherwise."""
    paths = [f"model.layers.{n // 128}.mlp.experts.{n % 128}.up_proj" for n in range(3000)]
    held = {f"base_model.model.{path}.lora_A.weight": torch.ones(2, 4) for path in paths}
    held |= {f"base_model.model.{path}.lora_B.weight": torch.ones(4, 2) for path in paths}
    patterns = {"rank_pattern": dict.fromkeys(paths, 2), "alpha_pattern": dict.fromkeys(paths, 6)}
    lora = situations.write_lora(tmp_path / "lora", held, target_modules=["up_proj"], **patterns)
    base = tmp_path / "base.safetensors"
    other = [path.replace("model.", "model.language_model.", 1) for path in paths]
    save_file({f"{path}.weight": torch.ones(4, 4) for path in other}, base)
    start = time.process_time()
    tuned = ftdiff.open_tuned(lora, ftdiff.open_checkpoint(base))
    assert time.process_time() - start < 6  # 1 s; in proportion to the square of them, 30 and more
    assert len(tuned.recipes) == 3000
    assert {word.partition(",")[0] for word in tuned.scalings.values()} == {"α/r = 6/2"}


def test_more_patterns_than_can_be_tried_are_refused() -> None:
    many = {f"a{i}.*b": 4 for i in range(1001)}
    with pytest.raises(BadAdapter, match=r"rank_pattern has 1,001 patterns that are no paths"):
        first_match(many, "layers.0.q_proj", "rank_pattern")
    assert first_match({f"layers.{i}.q": 4 for i in range(5000)}, "layers.7.q", "rank_pattern")
