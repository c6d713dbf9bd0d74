"""Differences beside the weights, kind by kind: sentences, fields, spellings of a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from ftdiff.analyses.audit import AUDIT
from ftdiff.comparison.beside.configurations import config_fields
from ftdiff.comparison.beside.fields import differing, plain
from ftdiff.comparison.beside.kinds import SENTENCES, note, sentence
from ftdiff.comparison.beside.spellings import spelled
from ftdiff.formats.note import Note
from tests.analyses.file_cases import RECORDS


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_a_kind_has_a_code_a_sentence_and_a_rule(code: str) -> None:
    data, words = RECORDS[code]
    made = note(code, **data)
    assert isinstance(made, Note) and made.code == code and words in made
    assert sentence(made.record()) == made
    assert code in AUDIT


def test_every_kind_of_record_is_of_a_sentence() -> None:
    assert {*RECORDS} == {*SENTENCES}


OLD = {"model_type": "x", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 5e5}


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({**OLD, "rope_scaling": None},
         {**OLD, "rope_theta": None, "head_dim": 16, "num_key_value_heads": 4,
          "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
        ({**OLD, "rope_scaling": {"type": "linear", "factor": 2.0}},
         {**OLD, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}}),
        ({**OLD, "rope_scaling": {"type": "mrope", "mrope_section": [1]}},
         {**OLD, "rope_scaling": {"rope_type": "default", "type": "mrope", "mrope_section": [1]}}),
        ({**OLD, "rope_local_base_freq": 1e4, "sliding_window": 8},
         {**OLD, "rope_theta": None, "sliding_window": 8, "rope_parameters": {
             "full_attention": {"rope_type": "default", "rope_theta": 5e5},
             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
        ({**OLD, "use_sliding_window": False, "sliding_window": 4096},
         {**OLD, "use_sliding_window": False, "sliding_window": None,
          "layer_types": ["full_attention"] * 4}),
        ({"text_config": OLD}, {"text_config": {**OLD, "attention_bias": False}}),
        ({"model_type": "x"}, {"model_type": "x", "rope_theta": 10000.0, "dtype": "float32"}),
    ],
)  # fmt: skip
def test_one_setting_in_two_spellings_is_one(older: dict[str, Any], newer: dict[str, Any]) -> None:
    for pair in ((older, newer), (newer, older)):
        found = config_fields(*pair)
        assert found.deciding == found.others == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "rope_theta"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ({"head_dim": 32}, "head_dim"),
        ({"num_key_value_heads": 1}, "num_key_value_heads"),
        ({"hidden_size": 65}, "hidden_size"),
        ({"text_config": {"rms_norm_eps": 1e-5}}, "rms_norm_eps"),
    ],
)
def test_what_decides_is_told_by_its_path(change: dict[str, Any], field: str) -> None:
    found = config_fields(OLD, {**OLD, **change})
    assert [one["field"] for one in found.deciding] == [field] and found.others == ()


def test_scaling_beside_parameters_is_what_is_read() -> None:
    written = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    both = {**written, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert spelled(both)["rope_scaling"] == {"factor": 2.0, "rope_type": "linear"}
    assert "rope_theta" not in spelled(both) and spelled(written) == {"rope_theta": 5e5}


def test_labels_limits_and_training_decide_nothing() -> None:
    changed = {"attention_dropout": 0.1, "max_position_embeddings": 9, "architectures": ["Y"]}
    base = {**OLD, "attention_dropout": 0.2, "max_position_embeddings": 8, "architectures": ["X"]}
    found = config_fields(base, {**OLD, **changed, "_name_or_path": "a", "eos_token_id": 3})
    assert found.deciding == () and {str(one["field"]) for one in found.others} == {*changed}


def test_nothing_differs_where_a_side_has_no_configuration() -> None:
    assert config_fields(OLD, {}) == config_fields({}, OLD) == config_fields({}, {})


def test_values_are_short_and_can_be_written() -> None:
    nan = float("nan")
    assert [*differing({"a": nan, "b": None}, {"a": nan})] == []
    assert plain("\ud800\n") == "\\ud800\\n" and len(str(plain("x" * 10_000))) < 100
    assert plain(nan) == "NaN" and plain(1 << 70) == str(1 << 70) and plain({"a": 1}) == '{"a": 1}'
    assert spelled({"torch_dtype": "torch.float16"}) == {"dtype": "float16"}


def test_what_one_side_alone_has_is_told_where_one_version_wrote_both() -> None:
    more = {**OLD, "a_field_of_theirs": 7}
    assert config_fields(OLD, more).others == ()
    same = {"transformers_version": "5.0"}
    (one,) = config_fields({**OLD, **same}, {**more, **same}).others
    assert one == {"field": "a_field_of_theirs", "tuned": 7}
