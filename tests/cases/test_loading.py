"""Would it load? Adapters whose names, shapes or settings do not lead PEFT to its modules."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ftdiff
from ftdiff.adapters.loading import peft as rules
from ftdiff.analyses.inspection import inspect
from ftdiff.errors import Mismatch
from tests.cases import situations
from tests.cases.situations import write_base, write_lora
from tests.conftest import write_model

Tensors = Mapping[str, torch.Tensor]
PREFIX = "base_model.model."
DOWN = "model.layers.0.mlp.down_proj"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


def renamed(change: Callable[[str], str], tensors: Tensors | None = None) -> dict[str, Any]:
    held = situations.factors() if tensors is None else tensors
    return {change(key): tensor for key, tensor in held.items()}


def kept(keep: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in situations.factors().items() if keep(key)}


def told(base: Path | None, lora: Path) -> dict[str, Any]:
    """Return what the note on loading says, which is the same everywhere; no note is {}."""
    tuned = ftdiff.open_tuned(lora, None if base is None else ftdiff.open_checkpoint(base))
    notes = [note for note in tuned.notes if getattr(note, "code", "") == "would-not-load"]
    assert all(str(note) in inspect(lora, base).notes for note in notes)
    return {**notes[0].data, "said": str(notes[0])} if notes else {}


def alarms(diff: ftdiff.Diff) -> list[str]:
    return [one.rule for one in ftdiff.audit(diff).findings if one.severity == "alarm"]


WRAPPED: dict[str, Callable[[str], str]] = {
    "_orig_mod. is what torch.compile": lambda key: f"_orig_mod.{key}",
    "module. is what DataParallel": lambda key: f"module.{key}",
    "PEFT was put over a PEFT model": lambda key: f"{PREFIX}{key}",
    "without base_model.model.": lambda key: key.removeprefix(PREFIX),
    "_fsdp_wrapped_module. is what FSDP": lambda key: key.replace(
        ".self_attn", "._fsdp_wrapped_module.self_attn"
    ).replace(".mlp", "._fsdp_wrapped_module.mlp"),
    "_orig_mod. is what torch.compile puts": lambda key: key.replace(
        "base_model.model.", "base_model.model._orig_mod."
    ),
    "without model. it fits the model without its head": lambda key: key.replace(
        "model.layers", "layers"
    ),
}


@pytest.mark.parametrize("why", WRAPPED)
def test_names_that_something_is_around_are_not_found(tmp_path: Path, base: Path, why: str) -> None:
    change = WRAPPED[why]
    lora = write_lora(tmp_path / "lora", renamed(change))
    found = told(base, lora)
    assert (found["live"], found["of"], found["absent"]) == (0, 12, [])
    assert why in found["said"]
    wanted = f"{PREFIX}{DOWN}.lora_A.weight"
    assert (found["found"], found["expected"]) == (change(wanted), wanted)


def test_what_would_not_load_is_measured_as_if_it_were(tmp_path: Path, base: Path) -> None:
    lora = write_lora(tmp_path / "lora", renamed(lambda key: f"_orig_mod.{key}"))
    diff = ftdiff.compare(base, lora)
    healthy = ftdiff.compare(base, write_lora(tmp_path / "healthy"))
    assert diff.whole("moved") == pytest.approx(healthy.whole("moved"))
    assert "would-not-load" in alarms(diff) and alarms(healthy) == []
    (note,) = (note for note in diff.about["notes"] if "PEFT would load" in note)
    assert "0 of 12 modules" in note and "measured as if it were" in note


def test_wrapped_names_are_told_from_the_file_alone(tmp_path: Path) -> None:
    for number, change in enumerate(list(WRAPPED.values())[:5]):
        found = told(None, write_lora(tmp_path / str(number), renamed(change)))
        assert (found["live"], found["of"]) == (0, 12)
        assert found["expected"] == f"{PREFIX}{DOWN}.lora_A.weight"
    assert told(None, write_lora(tmp_path / "healthy")) == {}


def test_a_name_of_the_adapter_in_keys_is_found_where_it_is_default(
    tmp_path: Path, base: Path
) -> None:
    for name, live in (("default", 12), ("mine", 0)):
        change = renamed(lambda key, name=name: key.replace(".weight", f".{name}.weight"))  # type: ignore[misc]
        found = told(base, write_lora(tmp_path / name, change))
        assert found.get("live", 12) == live
    assert ".lora_A.mine.weight" in found["said"] and ".lora_A.weight" in found["expected"]


def test_factors_in_the_wrong_case_are_not_found(tmp_path: Path, base: Path) -> None:
    lora = write_lora(tmp_path / "lora", renamed(lambda key: key.replace(".lora_A", ".lora_a")))
    found = told(base, lora)
    assert (found["live"], found["of"]) == (0, 12)
    assert found["found"].endswith("down_proj.lora_a.weight")
    assert found["expected"].endswith("down_proj.lora_A.weight")


# What PEFT cannot take


#: What a configuration says, and what is said of it.
UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"r": "16"}, 'r is "16", not a positive integer'),
    ({"r": None}, "r is null, not a positive integer"),
    ({"r": True}, "r is true, not a positive integer"),
    ({"r": [16]}, "r is [16], not a positive integer"),
    ({"r": 16.5}, "r is 16.5, not a positive integer"),
    ({"r": math.nan}, "r is NaN, not a positive integer"),
    ({"rank_pattern": {"q_proj": "16"}}, "rank_pattern 'q_proj' is \"16\", not a positive integer"),
    ({"rank_pattern": [1]}, "rank_pattern is [1], not a map"),
    ({"modules_to_save": "(a"}, 'modules_to_save is "(a", a text, which it takes letter by letter'),
    ({"modules_to_save": [3]}, "modules_to_save is [3], not a list of names"),
    ({"exclude_modules": 5}, "exclude_modules is 5, not a list of names"),
]


@pytest.mark.parametrize(("config", "words"), UNFIT)
def test_a_value_that_peft_cannot_take_is_an_alarm(
    tmp_path: Path, base: Path, config: dict[str, Any], words: str
) -> None:
    lora = write_lora(tmp_path / "lora", **config)
    for found in (told(base, lora), told(None, lora)):
        assert (found["live"], found["of"]) == (0, 12) and words in found["said"]
    assert "would-not-load" in alarms(ftdiff.compare(base, lora))


# Less than the configuration promises


LAYERS: dict[str, Callable[[int], bool]] = {
    "layers 2 and 3 are missing": lambda layer: layer < 2,
    "layers 0 and 1 are missing": lambda layer: layer >= 2,  # the second stage
    "layer 3 is missing": lambda layer: layer != 3,
}


def _layer(key: str) -> int:
    return int(key.split(".layers.")[1].partition(".")[0])


@pytest.mark.parametrize("words", LAYERS)
def test_layers_that_a_configuration_promises_are_missed(
    tmp_path: Path, base: Path, words: str
) -> None:
    lora = write_lora(tmp_path / "lora", kept(lambda key: LAYERS[words](_layer(key))))
    gone = [layer for layer in range(4) if not LAYERS[words](layer)]
    found = told(base, lora)
    assert (found["live"], found["of"]) == (12 - 3 * len(gone), 12)
    assert words in found["said"] and "targets 12 modules" in found["said"]
    assert {*map(_layer, found["absent"])} == {*gone} and len(found["absent"]) == 3 * len(gone)


def test_missed_layers_are_an_alarm_and_not_called_frozen(tmp_path: Path, base: Path) -> None:
    lora = write_lora(tmp_path / "lora", kept(lambda key: _layer(key) < 2))
    held = ftdiff.audit(ftdiff.compare(base, lora))
    assert held.exit_code == 1
    (alarm,) = (one for one in held.findings if one.severity == "alarm")
    assert alarm.rule == "would-not-load" and "layers 2 and 3 are missing" in alarm.message
    assert (alarm.evidence["live"], alarm.evidence["of"]) == (6, 12)
    assert "partly-frozen" not in {one.rule for one in held.findings}


def test_a_target_that_is_missing_everywhere_is_not_called_frozen(
    tmp_path: Path, base: Path
) -> None:
    lora = write_lora(tmp_path / "lora", kept(lambda key: "v_proj" not in key))
    held = ftdiff.audit(ftdiff.compare(base, lora))
    (frozen,) = (one for one in held.findings if one.rule == "frozen")
    assert "attn.v" not in frozen.evidence["components"]
    assert "attn.k" in frozen.evidence["components"]
    assert told(base, lora)["live"] == 8


FEWER: dict[str, dict[str, Any]] = {
    "layers": {"layers_to_transform": [0, 1]},
    "pattern of layers": {"layers_to_transform": [0, 1], "layers_pattern": "layers"},
    "excluded": {"exclude_modules": r".*\.[23]\..*"},
    "pattern": {"target_modules": r"model\.layers\.[01]\..*\.(q_proj|v_proj|down_proj)"},
    "whole paths": {
        "target_modules": [
            f"model.layers.{layer}.{name}"
            for layer in (0, 1)
            for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
        ]
    },
}


@pytest.mark.parametrize("how", FEWER)
def test_fewer_layers_pass_where_the_configuration_means_them(
    tmp_path: Path, base: Path, how: str
) -> None:
    half = kept(lambda key: _layer(key) < 2)
    lora = write_lora(tmp_path / "lora", half, **FEWER[how])
    assert told(base, lora) == {}
    found = told(base, write_lora(tmp_path / "whole", None, **FEWER[how]))
    assert (found["live"], found["of"]) == (6, 12)  # the others are no targets: they are dropped
    assert "does not target 6 modules" in found["said"]


def test_what_is_meant_to_be_frozen_in_part_is_called_so(tmp_path: Path, base: Path) -> None:
    half = kept(lambda key: _layer(key) < 2)
    lora = write_lora(tmp_path / "lora", half, layers_to_transform=[0, 1])
    held = ftdiff.audit(ftdiff.compare(base, lora))
    assert held.ok and "partly-frozen" in {one.rule for one in held.findings}


def test_all_linear_means_every_matrix_but_the_head(tmp_path: Path, base: Path) -> None:
    every = situations.factors(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    mlp = situations.factors(targets=("up_proj", "gate_proj", "down_proj"))
    whole = write_lora(tmp_path / "whole", {**every, **mlp}, target_modules="all-linear")
    assert told(base, whole) == {}
    found = told(base, write_lora(tmp_path / "part", every, target_modules="all-linear"))
    assert (found["live"], found["of"]) == (16, 28)


def test_a_module_to_save_that_is_not_there_refuses_all(tmp_path: Path, base: Path) -> None:
    head = {f"{PREFIX}lm_head.weight": situations.state()["lm_head.weight"] + 1}
    lora = {**situations.factors(), **head}
    names = ["lm_head", "embed_tokens"]
    found = told(base, write_lora(tmp_path / "one", lora, modules_to_save=names))
    assert (found["live"], found["of"], found["reasons"][0]) == (0, 14, "refused")
    assert "model.embed_tokens.weight is not in the file" in found["said"]
    embedding = {f"{PREFIX}model.embed_tokens.weight": situations.state()["lm_head.weight"]}
    both = write_lora(tmp_path / "both", {**lora, **embedding}, modules_to_save=names)
    assert told(base, both) == {}


def test_half_a_pair_is_not_loaded_as_what_it_was(tmp_path: Path, base: Path) -> None:
    lora = kept(lambda key: not key.endswith("layers.1.self_attn.q_proj.lora_B.weight"))
    found = told(base, write_lora(tmp_path / "lora", lora))
    assert (found["live"], found["of"], found["reasons"]) == (11, 12, ["half"])
    assert found["expected"].endswith("layers.1.self_attn.q_proj.lora_B.weight")


def test_a_module_that_the_base_lacks_is_named_with_the_nearest(tmp_path: Path, base: Path) -> None:
    change = renamed(lambda key: key.replace("q_proj", "query_proj"))
    found = told(base, write_lora(tmp_path / "lora", change))
    assert "the base has no place for 4 modules" in found["said"]
    assert "self_attn.q_proj.lora_A.weight" in found["said"]
    assert found["live"] == 8


# Shapes


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"r": 2}, "says r = 2, and the factors have rank 4"),
        ({"r": 8}, "says r = 8, and the factors have rank 4"),
        ({"rank_pattern": {"q_proj": 16}}, "says r = 16, and the factors have rank 4"),
        ({"r": 16, "rank_pattern": {r".*\.[0-2]\..*": 4}}, "says r = 16, and the factors have"),
    ],
)
def test_another_rank_than_the_factors_have_refuses_all(
    tmp_path: Path, base: Path, config: dict[str, Any], words: str
) -> None:
    lora = write_lora(tmp_path / "lora", None, **config)
    for where in (base, None):
        found = told(where, lora)
        assert (found["live"], found["of"], found["reasons"]) == (0, 12, ["rank"])
        assert words in found["said"] and "refuses shapes" in found["said"]


def test_another_rank_is_an_alarm(tmp_path: Path, base: Path) -> None:
    lora = write_lora(tmp_path / "lora", r=2)
    assert alarms(ftdiff.compare(base, lora)) == ["would-not-load"]


def test_ranks_that_patterns_give_are_fitting(tmp_path: Path, base: Path) -> None:
    config = {"r": 64, "rank_pattern": {"layers.[0-3].self_attn.*": 4, "down_proj": 4}}
    assert told(base, write_lora(tmp_path / "lora", None, **config)) == {}


HALVES: dict[str, Callable[[str, torch.Tensor], torch.Tensor]] = {
    "lora_A": lambda key, t: t[:, : t.shape[1] // 2] if "lora_A" in key else t,
    "lora_B": lambda key, t: t[: t.shape[0] // 2] if "lora_B" in key else t,
    "as Megatron cuts": lambda key, t: (
        t[:, : t.shape[1] // 2]
        if "down_proj.lora_A" in key
        else t[: t.shape[0] // 2]
        if "_proj.lora_B" in key and "down_proj" not in key
        else t
    ),
}


@pytest.mark.parametrize("which", HALVES)
def test_shards_that_were_not_gathered_are_refused_as_what_they_are(
    tmp_path: Path, base: Path, which: str
) -> None:
    shards = {key: HALVES[which](key, t) for key, t in situations.factors().items()}
    lora = write_lora(tmp_path / "lora", shards)
    found = told(base, lora)
    assert (found["live"], found["of"], found["reasons"]) == (0, 12, ["shard"])
    assert "all 12 names fit" in found["said"] and "shards gathered" in found["said"]
    with pytest.raises(Mismatch) as refused:
        ftdiff.compare(base, lora)
    said = str(refused.value)
    assert "all 12 names fit, no shape does" in said and "1/2" in said
    assert "shards gathered" in said
    assert "lm_head" not in said and "is this the right base" not in said


def test_a_quarter_of_one_component_is_an_alarm(tmp_path: Path, base: Path) -> None:
    shards = {
        key: t[: t.shape[0] // 4] if "q_proj.lora_B" in key else t
        for key, t in situations.factors().items()
    }
    lora = write_lora(tmp_path / "lora", shards)
    assert "1/4" in told(base, lora)["said"] and told(base, lora)["live"] == 0
    assert "would-not-load" in alarms(ftdiff.compare(base, lora))


def test_empty_tensors_are_shards_of_zero(tmp_path: Path, base: Path) -> None:
    hollow = {
        key: torch.zeros(0) if "lora_B" in key else t for key, t in situations.factors().items()
    }
    lora = write_lora(tmp_path / "lora", hollow)
    for where in (base, None):
        found = told(where, lora)
        assert (found["live"], found["reasons"]) == (0, ["empty"])
        assert "12 tensors are empty" in found["said"] and "ZeRO-3" in found["said"]


def test_shapes_of_a_checkpoint_are_held_against_the_same_names(tmp_path: Path, base: Path) -> None:
    matrices = {name: W for name, W in situations.state().items() if W.dim() > 1}
    halves = {name: W[:, : W.shape[1] // 2] for name, W in matrices.items()}
    tuned = write_model(tmp_path / "tuned", halves, config=situations.CONFIG)
    with pytest.raises(Mismatch, match=r"all 30 names fit, no shape does.*1/2 of it each.*shards"):
        ftdiff.compare(base, tuned)
    other = {name: W.repeat(3, 3) for name, W in matrices.items()}
    wide = write_model(tmp_path / "wide", other)
    with pytest.raises(Mismatch, match=r"all 30 names fit, no shape.*is this the right base"):
        ftdiff.compare(base, wide)


def test_a_refusal_names_what_is_nearest(tmp_path: Path, base: Path) -> None:
    strange = {
        "block.0.query.weight": torch.zeros(3, 3),
        "block.0.up_proj.weight": torch.ones(2, 2),
    }
    with pytest.raises(
        Mismatch, match=r"no name fits: 'block.0.up_proj.weight', where the nearest"
    ):
        ftdiff.compare(base, write_model(tmp_path / "strange", strange))


# What a configuration excludes


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"target_modules": ["query", "value"]}, "the base has none of the target modules"),
        ({"target_modules": ["mlp"]}, "model.layers.0.mlp is a target, and a container"),
        ({"target_modules": ["norm", "q_proj"]}, "model.norm is a target, and a norm"),
        ({"target_modules": ".*_proj", "layers_to_transform": [1]}, "target_modules is a pattern"),
        ({"layers_pattern": "layers"}, "layers_to_transform is not"),
        ({"target_modules": "(q_proj"}, "is no pattern"),
    ],
)
def test_what_peft_refuses_is_said_with_its_reason(
    tmp_path: Path, base: Path, config: dict[str, Any], why: str
) -> None:
    found = told(base, write_lora(tmp_path / "lora", None, **config))
    assert found["live"] == 0 and found["reasons"][0] == "refused"
    assert why in found["said"]


# What loads all the same


def test_keys_without_a_place_are_a_caution_where_all_modules_load(
    tmp_path: Path, base: Path
) -> None:
    scale = {f"{PREFIX}{DOWN}.lora_magnitude_vector": torch.ones(32)}
    lora = write_lora(tmp_path / "lora", {**situations.factors(), **scale})
    assert told(base, lora) == {}
    diff = ftdiff.compare(base, lora)
    held = {one.rule: one.severity for one in ftdiff.audit(diff).findings}
    assert held["load-leaves-out"] == "caution" and "would-not-load" not in held
    assert any("lora_magnitude_vector" in note for note in diff.about["notes"])


def test_more_rows_of_a_vocabulary_load_once_the_model_is_resized(
    tmp_path: Path, base: Path
) -> None:
    more = torch.cat([situations.state()["lm_head.weight"], torch.ones(3, situations.HIDDEN)])
    saved = {f"{PREFIX}{name}.weight": more.clone() for name in ("lm_head", "model.embed_tokens")}
    lora = write_lora(tmp_path / "lora", {**situations.factors(), **saved})
    assert told(base, lora) == {}
    diff = ftdiff.compare(base, lora)
    assert {"code": "load-resized", "rows": dict.fromkeys(saved, 67)} in diff.about["reasons"]
    assert "would-not-load" not in alarms(diff)


def test_a_base_without_its_head_is_the_same_model(tmp_path: Path) -> None:
    bare = {n.removeprefix("model."): W for n, W in situations.state().items() if "head" not in n}
    base = write_model(tmp_path / "base", bare, config=situations.CONFIG)
    assert told(base, write_lora(tmp_path / "lora")) == {}
    short = kept(lambda key: _layer(key) < 3)
    assert told(base, write_lora(tmp_path / "short", short))["live"] == 9
    features = renamed(lambda key: key.replace("model.layers", "layers"))
    lora = write_lora(tmp_path / "features", features, task_type="FEATURE_EXTRACTION")
    assert told(write_base(tmp_path / "headed"), lora) == {}


def test_a_language_model_inside_another_is_where_its_loader_puts_it() -> None:
    at = "layers.0.self_attn.q_proj"
    key = f"{PREFIX}model.language_model.{at}"
    shapes = {f"{key}.lora_A.weight": (2, 4), f"{key}.lora_B.weight": (4, 2)}
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    text = {f"model.{at}.weight": (4, 4)}
    seeing = {**text, "visual.patch_embed.proj.weight": (4, 3, 2, 2)}
    older = {f"language_model.model.{at}.weight": (4, 4)}
    for base, live in ((text, 0), (seeing, 1), (older, 1)):
        found = rules.check(config, shapes, base)
        assert found is not None and len(found.live) == live
        assert len(found.states) == 1


def test_experts_that_the_base_stacks_are_renamed_by_their_loader() -> None:
    base = {
        "model.layers.0.mlp.experts.gate_up_proj": (2, 8, 4),
        "model.layers.0.mlp.experts.down_proj": (2, 4, 4),
        "model.layers.0.self_attn.q_proj.weight": (4, 4),
    }
    shapes = {}
    for path in ("self_attn.q_proj", "mlp.experts.0.up_proj", "mlp.experts.1.up_proj"):
        at = f"{PREFIX}model.layers.0.{path}"
        shapes |= {f"{at}.lora_A.weight": (2, 4), f"{at}.lora_B.weight": (4, 2)}
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "up_proj"]}
    found = rules.check(config, shapes, base)
    assert found is not None and found.live == {"model.layers.0.self_attn.q_proj"}
    assert found.states.keys() == found.live and not found.ignored
    experts = {key: shape for key, shape in shapes.items() if ".experts." in key}
    alone = rules.check({**config, "target_modules": ["up_proj"]}, experts, base)
    assert alone is not None and not alone.states and not alone.refused
    apart = {f"model.layers.0.mlp.experts.{i}.up_proj.weight": (4, 4) for i in (0, 1)}
    stacked = f"{PREFIX}model.layers.0.mlp.experts"
    shapes = {f"{stacked}.lora_A.weight": (4, 4), f"{stacked}.lora_B.weight": (8, 4)}
    config |= {"target_modules": None, "target_parameters": ["mlp.experts.gate_up_proj"]}
    other = rules.check(config, shapes, apart)
    assert other is not None and not other.states and not other.refused


def test_one_word_of_a_tied_head_is_a_module(tmp_path: Path) -> None:
    state = {name: W for name, W in situations.state().items() if name != "lm_head.weight"}
    config = {**situations.CONFIG, "tie_word_embeddings": True}
    base = write_model(tmp_path / "base", state, config=config)
    head = {
        f"{PREFIX}lm_head.lora_A.weight": torch.ones(4, situations.HIDDEN),
        f"{PREFIX}lm_head.lora_B.weight": torch.ones(situations.VOCAB, 4),
    }
    targets = [*situations.TARGETS, "lm_head"]
    lora = write_lora(tmp_path / "lora", {**situations.factors(), **head}, target_modules=targets)
    assert told(base, lora) == {}
    short = {**head, f"{PREFIX}lm_head.lora_B.weight": torch.ones(3, 4)}
    lora = write_lora(tmp_path / "short", {**situations.factors(), **short}, target_modules=targets)
    assert told(base, lora)["live"] == 0


# Other tools


def test_modules_of_another_tool_are_counted_by_their_places(tmp_path: Path, base: Path) -> None:
    from safetensors.torch import save_file

    tensors = {}
    for key, tensor in situations.factors().items():
        path, _, part = key.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        side = {"lora_A": "lora_down", "lora_B": "lora_up"}[part]
        path = path.replace("q_proj", "query_proj").replace(".", "_")
        tensors[f"lora_unet_{path}.{side}.weight"] = tensor
    save_file(tensors, tmp_path / "lora.safetensors")
    diff = ftdiff.compare(base, tmp_path / "lora.safetensors")
    (found,) = (one for one in diff.about["reasons"] if one["code"] == "misplaced")
    assert (found["live"], found["of"]) == (8, 12)
    assert "query_proj" in found["found"] and "q_proj" in found["expected"]
    assert any("8 of 12 modules find their place" in note for note in diff.about["notes"])


def test_loading_is_judged_from_headers_in_milliseconds() -> None:
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    names += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    paths = [f"model.layers.{layer}.{name}" for layer in range(28) for name in names]
    base = {f"{path}.weight": (64, 64) for path in paths}
    shapes = {}
    for path in paths:
        at = f"{PREFIX}{path}"
        shapes |= {f"{at}.lora_A.weight": (8, 64), f"{at}.lora_B.weight": (64, 8)}
    config = {"peft_type": "LORA", "r": 8, "rank_pattern": {"nothing": 2}}
    config["target_modules"] = [name.rpartition(".")[2] for name in names]
    rules.check(config, shapes, base)
    spent = []
    for _ in range(5):
        start = time.process_time()
        found = rules.check(config, shapes, base)
        spent.append(time.process_time() - start)
    assert found is not None and len(found.live) == 28 * 7
    assert min(spent) < 0.05


def test_a_configuration_may_say_anything(tmp_path: Path, base: Path) -> None:
    odd: list[Any] = [None, 3, "", [], {}, ["x", 3], {"a": None}, [[1]], True]
    fields = ("target_modules", "modules_to_save", "rank_pattern", "layers_to_transform", "r")
    fields += ("exclude_modules", "target_parameters", "trainable_token_indices", "layers_pattern")
    shapes = {key: tuple(t.shape) for key, t in situations.factors().items()}
    held = {name: tuple(t.shape) for name, t in situations.state().items()}
    for name in fields:
        for value in odd:
            config = json.loads(json.dumps({**situations.adapter_config(), name: value}))
            for where in (held, None):
                assert rules.check(config, shapes, where) is not None
