"""What lies beside the weights: settings, tokenizer, chat template, code and pickles."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.analyses.audit import AUDIT
from ftdiff.cli import ftdiff as ftdiff_command
from ftdiff.comparison.beside import beside_weights, inside
from ftdiff.errors import BadFile
from ftdiff.formats import open_checkpoint
from tests.cases import situations
from tests.cases.situations import HIDDEN, LAYERS, VOCAB, write_lora
from tests.conftest import write_model

TEMPLATE = "{% for m in messages %}\n{{ m['content'] }}\n{% endfor %}"


def tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Return a small byte-level tokenizer of 60 tokens, made by the library."""
    words = ["<unk>", "<s>", "</s>", *(chr(97 + i) for i in range(26))]
    pairs = [(chr(97 + i), "e") for i in range(26)]
    words += ["".join(pair) for pair in pairs]
    vocab = {word: i for i, word in enumerate(words)}
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=pairs, unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, **tokens, **special)
    made.chat_template = TEMPLATE
    return made


def config(**changes: Any) -> LlamaConfig:
    told = {
        "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "vocab_size": VOCAB, "rope_theta": 10000.0,
        "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    return LlamaConfig(**{**told, **changes})


def write(
    folder: Path, state: dict[str, torch.Tensor] | None = None, held: Any = None, **changes: Any
) -> Path:
    """Write a whole model's folder with everything that transformers puts beside the weights."""
    write_model(folder, situations.state() if state is None else state)
    (tokenizer() if held is None else held).save_pretrained(folder)
    config(**changes).save_pretrained(folder)
    GenerationConfig(eos_token_id=2, bos_token_id=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("prepared")
    write(at / "base")
    write(at / "tuned", situations.merged())
    return at


@pytest.fixture
def pair(prepared: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A base and its fine-tune, their files alike."""
    for name in ("base", "tuned"):
        shutil.copytree(prepared / name, tmp_path / name)
    yield tmp_path / "base", tmp_path / "tuned"


def edit(path: Path, **changes: Any) -> None:
    told = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({k: v for k, v in (told | changes).items() if v is not ...}))


def said(base: Path, tuned: Path, rows: int | None = VOCAB) -> dict[str, dict[str, Any]]:
    """Return what is said of the files, by code, once an audit's rules say the same."""
    opened = open_checkpoint(base)
    _, notes = beside_weights(opened, open_tuned(tuned, opened), rows)
    records = [note.record() for note in notes]
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    for record, note in zip(records, notes, strict=True):
        about = {"reasons": [record]}
        (found,) = AUDIT[record["code"]].check(ftdiff.Diff({}, about))
        assert found.message[1:] == f"{note}."[1:] and "\n" not in note
        note.encode()
    return {record["code"]: record for record in records}


def whole(base: Path, tuned: Path) -> set[str]:
    """Return the codes of files that a diff has, once an audit and the saved diff have them too."""
    diff = ftdiff.compare(base, tuned)
    codes = {one["code"] for one in diff.about["reasons"]} & CODES
    again = ftdiff.Diff.load(diff.save(tuned.parent / "diff.json"))
    assert again.about["beside"] == diff.about["beside"]
    assert {one.rule for one in ftdiff.audit(again).findings} & CODES == codes
    return codes


CODES = {
    *("config-differs", "config-fields", "config-dtype", "generation-differs"),
    *("tokenizer-differs", "tokens-without-rows", "special-tokens-differ", "token-ids-disagree"),
    *("chat-template-differs", "chat-template-one-sided", "chat-template-twice"),
    *("code-beside", "code-as-base", "pickle-beside", "auto-mapping", "base-revision"),
    "beside-unreadable",
}


def shown(*arguments: object) -> str:
    done = CliRunner().invoke(ftdiff_command, [*map(str, arguments)], env={"COLUMNS": "300"})
    assert done.exit_code in (0, 1), done.output
    return done.output


def test_a_sound_pair_has_nothing_said_of_its_files(pair: tuple[Path, Path]) -> None:
    base, tuned = pair
    assert said(*pair) == said(base, base) == {} and whole(*pair) == set()
    for file in tuned.iterdir():  # one side that has nothing but weights
        if file.suffix != ".safetensors":
            file.unlink()
    assert said(*pair) == {}
    assert said(tuned, base) == {}


def test_another_rope_theta_is_another_function(pair: tuple[Path, Path]) -> None:
    config(rope_theta=500000.0).save_pretrained(pair[1])
    record = said(*pair)["config-differs"]
    assert record["fields"] == [{"field": "rope_theta", "base": 10000.0, "tuned": 500000.0}]
    text = shown("audit", *pair)
    assert "caution config-differs" in text and "rope_theta 10000.0 → 500000.0" in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_attention_heads", 4), ("rms_norm_eps", 1e-5), ("hidden_act", "gelu"),
        ("tie_word_embeddings", True), ("num_experts_per_tok", 2), ("sliding_window", 16),
        ("vocab_size", 65), ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("qk_norm_of_a_model_of_ours", 3),
    ],
)  # fmt: skip
def test_what_decides_what_weights_compute_is_a_caution(
    field: str, value: Any, pair: tuple[Path, Path]
) -> None:
    older = {"qk_norm_of_a_model_of_ours": 2} if field.startswith("qk") else {}
    edit(pair[0] / "config.json", **older)
    edit(pair[1] / "config.json", **{field: value, "rope_parameters": ..., "rope_theta": 10000.0})
    (one,) = said(*pair)["config-differs"]["fields"]
    assert one["field"] == field and "tuned" in one


def test_what_other_versions_write_otherwise_is_no_difference(pair: tuple[Path, Path]) -> None:
    edit(
        pair[1] / "config.json",
        rope_parameters=..., rope_theta=..., rope_scaling=None, head_dim=...,
        transformers_version="4.31", _name_or_path="x/y", use_cache=False, mlp_bias=...,
        attention_bias=..., pretraining_tp=...,
    )  # fmt: skip
    assert said(*pair) == {}
    edit(pair[0] / "config.json", dtype="bfloat16", attention_dropout=0.1)
    edit(pair[1] / "config.json", torch_dtype="float32", id2label={"0": "x"})
    found = said(*pair)
    assert found["config-dtype"]["fields"][0]["tuned"] == "float32"
    assert [one["field"] for one in found["config-fields"]["fields"]] == ["attention_dropout"]
    assert {*found} == {"config-dtype", "config-fields"}


def test_another_chat_template_is_shown_in_its_first_line(pair: tuple[Path, Path]) -> None:
    changed = tokenizer()
    changed.chat_template = TEMPLATE.replace("content", "role")
    changed.save_pretrained(pair[1])
    record = said(*pair)["chat-template-differs"]
    assert record["line"] == 2 and record["tuned"] == "{{ m['role'] }}"
    # the same text in the older file is the same template
    (pair[1] / "chat_template.jinja").unlink()
    edit(pair[1] / "tokenizer_config.json", chat_template=TEMPLATE + "\n")
    assert said(*pair) == {}
    edit(pair[1] / "tokenizer_config.json", chat_template=[{"name": "tool", "template": "x"}])
    assert said(*pair)["chat-template-one-sided"]["side"] in ("base", "tuned")


def test_two_templates_in_one_folder_are_said(pair: tuple[Path, Path]) -> None:
    edit(pair[1] / "tokenizer_config.json", chat_template="old")
    assert {*said(*pair)} == {"chat-template-twice"}
    assert "different chat templates" in shown("inspect", pair[1])


def test_an_added_token_with_its_row_is_counted(tmp_path: Path) -> None:
    base = write(tmp_path / "base")
    held = tokenizer()
    held.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    state = situations.merged()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.cat([state[name], torch.ones(1, HIDDEN)])
    tuned = write(tmp_path / "tuned", state, held, vocab_size=VOCAB + 1)
    found = said(base, tuned, VOCAB + 1)
    record = found["tokenizer-differs"]
    assert record["tokens"] == {"base": 55, "tuned": 56} and record["added"] == 1
    assert record["names"] == ["<|im_end|>"] and "merges" not in record and "parts" not in record
    assert found["special-tokens-differ"]["fields"] == [
        {"field": "additional_special_tokens", "tuned": '["<|im_end|>"]'}
    ]
    assert "tokens-without-rows" not in found
    assert "55 → 56 tokens (1 added: <|im_end|>)" in shown("compare", base, tuned)
    held.add_tokens([f"<extra{i}>" for i in range(12)])
    held.save_pretrained(tuned)
    assert whole(base, tuned) >= {"tokens-without-rows", "tokenizer-differs", "config-differs"}


def test_tokens_that_no_row_of_the_embedding_is_for_are_said(pair: tuple[Path, Path]) -> None:
    held = tokenizer()
    held.add_tokens([f"<extra{i}>" for i in range(12)])
    held.save_pretrained(pair[1])
    record = said(*pair)["tokens-without-rows"]
    assert (record["largest"], record["rows"]) == (66, 64)


def test_merges_and_how_a_text_is_cut_are_compared(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "tokenizer.json"
    told = json.loads(path.read_text())
    vocab = told["model"]["vocab"]
    told["model"]["vocab"] = dict(reversed(vocab.items()))  # order says nothing here
    told["model"]["merges"] = [" ".join(pair) for pair in told["model"]["merges"]]
    told["pre_tokenizer"].pop("use_regex")
    path.write_text(json.dumps(told))
    assert said(*pair) == {}
    told["model"]["merges"].reverse()
    told["pre_tokenizer"]["add_prefix_space"] = False
    path.write_text(json.dumps(told))
    record = said(*pair)["tokenizer-differs"]
    assert record["merges"] == {"base": 26, "tuned": 26, "shared": 26}
    assert record["parts"] == ["pre_tokenizer"]
    told["model"]["vocab"] |= {"a": vocab["b"], "b": vocab["a"]}
    path.write_text(json.dumps(told))
    assert said(*pair)["tokenizer-differs"]["moved"] == 2


def test_a_tokenizer_that_is_no_json_is_compared_by_bytes_and_added_tokens(
    pair: tuple[Path, Path],
) -> None:
    for folder in pair:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(b"model")
        edit(folder / "tokenizer_config.json", added_tokens_decoder={"2": {"content": "</s>"}})
    assert said(*pair) == {}
    (pair[1] / "tokenizer.model").write_bytes(b"other")
    edit(pair[1] / "added_tokens.json", **{"<pad>": 60})
    record = said(*pair)["tokenizer-differs"]
    assert record["files"] == ["tokenizer.model"]
    assert record["extra"] == {"base": 1, "tuned": 2} and record["names"] == ["<pad>"]


def test_an_end_of_text_on_which_files_disagree_is_said(pair: tuple[Path, Path]) -> None:
    GenerationConfig(eos_token_id=9, bos_token_id=1).save_pretrained(pair[1])
    found = said(*pair)
    assert found["special-tokens-differ"]["fields"] == [
        {"field": "eos_token_id (generation_config.json)", "base": 2, "tuned": 9}
    ]
    places = found["token-ids-disagree"]["places"]
    assert places == {"config.json": 2, "generation_config.json": 9, "the tokenizer": 2}
    GenerationConfig(eos_token_id=[2, 9], bos_token_id=1).save_pretrained(pair[1])
    assert "token-ids-disagree" not in said(*pair)
    shutil.copy(pair[1] / "generation_config.json", pair[0])  # the base's own doing
    assert said(*pair) == {}


def test_other_settings_of_generation_are_noted(pair: tuple[Path, Path]) -> None:
    made = GenerationConfig(eos_token_id=2, bos_token_id=1, do_sample=True, temperature=0.6)
    made.save_pretrained(pair[1])
    record = said(*pair)["generation-differs"]
    assert {one["field"] for one in record["fields"]} == {"do_sample", "temperature"}
    defaults = {"do_sample": False, "temperature": 1.0, "top_k": 50}
    edit(pair[1] / "generation_config.json", **defaults)
    assert said(*pair) == {}


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


def test_code_and_pickles_are_named_and_never_run(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in ("optimizer.pt", "training_args.bin", "pytorch_model.bin", "a.pkl", "b.ckpt"):
        (pair[1] / name).write_bytes(pickle.dumps(Bomb(ran)))
    (pair[1] / "modeling_x.py").write_text(f"import os\nos.mkdir({str(ran)!r})\n")
    edit(pair[1] / "config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X"})
    found = said(*pair)
    assert found["code-beside"]["files"] == ["modeling_x.py"]
    assert found["code-beside"]["auto_map"] == ["AutoModelForCausalLM: modeling_x.X (config.json)"]
    assert len(found["pickle-beside"]["files"]) == 5
    for text in (shown("compare", *pair), shown("inspect", pair[1]), shown("audit", *pair)):
        assert "modeling_x.py" in text and "trust_remote_code" in text and "a.pkl" in text
    about = ftdiff.compare(*pair).about["beside"]
    assert about["tuned"]["code"] == ["modeling_x.py"] and about["base"]["pickles"] == []
    assert not ran.exists()
    pickle.loads((pair[1] / "a.pkl").read_bytes())
    assert ran.exists()  # it is armed
    for name in ("modeling_x.py", "config.json"):
        shutil.copy(pair[1] / name, pair[0])
    assert {*said(*pair)} == {"code-as-base", "pickle-beside"}
    (pair[1] / "modeling_x.py").write_text("1")
    assert {*said(*pair)} == {"code-beside", "pickle-beside"}


def test_weights_in_a_pickle_are_none_that_lies_beside_them(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    torch.save(situations.merged(), tuned / "pytorch_model.bin")
    assert "unpickling" not in shown("compare", base, tuned)
    assert ftdiff.compare(base, tuned).about["beside"]["tuned"]["pickles"] == []
    torch.save({"state": {}}, tuned / "optimizer.pt")
    record = said(base, tuned)["pickle-beside"]
    assert record["files"] == ["optimizer.pt"]


def test_a_pickle_of_which_it_is_said_that_it_was_not_read_is_said_once(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    lora = situations.write_lora(tmp_path / "lora")
    torch.save(situations.factors(), lora / "adapter_model.bin")
    for command in (("compare", base, lora), ("inspect", lora), ("audit", base, lora)):
        assert shown(*command).count("adapter_model.bin") == 1
    torch.save({}, lora / "training_args.bin")
    record = said(base, lora)["pickle-beside"]
    assert record["files"] == ["training_args.bin"]


def test_code_of_another_repository_is_named_without_a_file(pair: tuple[Path, Path]) -> None:
    edit(pair[1] / "tokenizer_config.json", auto_map={"AutoTokenizer": ["a/b--tok.T", None]})
    record = said(*pair)["code-beside"]
    assert record["files"] == [] and "a/b--tok.T" in record["auto_map"][0]


def test_an_adapter_is_held_against_its_base_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    lora = write_lora(
        tmp_path / "lora",
        auto_mapping={"base_model_class": "X", "parent_library": "their.module"},
        revision="b" * 40,
    )
    assert {*said(pair[0], lora)} == {"auto-mapping"}
    snapshot = tmp_path / "models--acme--llama" / "snapshots" / ("a" * 40)
    shutil.copytree(pair[0], snapshot)
    assert said(snapshot, lora)["base-revision"]["given"] == "a" * 40
    write_lora(lora, auto_mapping=None, base_model_name_or_path="acme/llama")
    held = tokenizer()
    held.chat_template = "another"
    held.add_tokens([f"<extra{i}>" for i in range(12)])
    held.save_pretrained(lora)
    assert {*said(snapshot, lora)} == {
        "chat-template-differs", "tokenizer-differs", "tokens-without-rows",
    }  # fmt: skip
    for base, spoken in ((snapshot, 0), (pair[0], 1)):
        diff = ftdiff.compare(base, lora)
        assert len([*AUDIT["base-name"].check(diff)]) == spoken


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ', "[" * 100_000, '{"a":' * 100_000, "[1]", "",
        '{"chat_template": 3, "auto_map": 4}',
        '{"auto_map": {"x": [{"y": "\\ud800"}]}, "chat_template": [[], {"name": []}]}',
        '{"eos_token": "\\ud800", "temperature": NaN, "eos_token_id": 1e999}',
        '{"eos_token_id": [[1], {}], "extra_special_tokens": {"a": {"content": []}}}',
        '{"model": [], "added_tokens": {}}', "\x00\xff",
        '{{"auto_map": {{"x": {0}}}, "eos_token": {0}, "temperature": {0}, "y": {0}}}'.format(
            "[" * 900 + "]" * 900
        ),
    ],
)  # fmt: skip
def test_broken_files_are_a_note_and_no_failure(text: str, pair: tuple[Path, Path]) -> None:
    for name in (
        *("generation_config.json", "tokenizer_config.json", "tokenizer.json"),
        *("special_tokens_map.json", "added_tokens.json", "chat_template.json"),
    ):
        (pair[1] / name).write_text(text, encoding="latin-1")
    found = said(*pair)
    assert inside(open_tuned(pair[1])) is not None
    if text in ('{"a": ', "[1]", ""):
        assert "beside-unreadable" in found


def test_odd_names_and_links_are_no_failure(pair: tuple[Path, Path]) -> None:
    tuned = pair[1]
    (tuned / "loop.py").symlink_to("loop.py")
    (tuned / "nowhere.pkl").symlink_to("/no/such/file")
    (tuned / "folder.py").mkdir()
    (tuned / "chat_template.jinja").unlink()
    (tuned / "chat_template.jinja").symlink_to("/dev/zero")
    (tuned / "generation_config.json").unlink()
    os.mkfifo(tuned / "generation_config.json")
    with open(os.fsencode(tuned) + b"/\xff.py", "w") as file:
        file.write("1")
    with (tuned / "special_tokens_map.json").open("wb") as file:
        file.truncate(1 << 33)
    found = said(*pair)
    assert len(found["code-beside"]["files"]) == 1 and "pickle-beside" not in found
    base = open_checkpoint(pair[0])
    unread = {
        note.data["file"]
        for note in beside_weights(base, open_tuned(tuned, base), VOCAB)[1]
        if note.code == "beside-unreadable"
    }
    assert unread == {"chat_template.jinja", "generation_config.json", "special_tokens_map.json"}


def test_a_lone_file_speaks_for_its_folder_where_that_is_one_model(pair: tuple[Path, Path]) -> None:
    (pair[1] / "train.py").write_text("1")
    assert {*said(pair[0], pair[1] / "model.safetensors")} == {"code-beside"}
    (pair[1] / "config.json").unlink()
    assert {*said(pair[0], pair[1] / "model.safetensors")} == {"code-beside"}
    shutil.copy(pair[1] / "model.safetensors", pair[1] / "another.safetensors")
    assert said(pair[0], pair[1] / "model.safetensors") == {}


def test_a_saved_record_that_lacks_its_data_is_refused(pair: tuple[Path, Path]) -> None:
    diff = ftdiff.compare(*pair)
    for broken in ({"fields": 3}, {}, {"fields": [{"base": 1}]}):
        about = {**diff.about, "reasons": [{"code": "config-differs", **broken}]}
        path = ftdiff.Diff(diff.columns, about).save(pair[0].parent / "diff.json")
        with pytest.raises(BadFile, match="config-differs"):
            ftdiff.Diff.load(path)


def test_what_is_in_memory_has_a_configuration_alone(pair: tuple[Path, Path]) -> None:
    (pair[1] / "train.py").write_text("1")
    diff = ftdiff.compare(situations.state(), situations.merged())
    assert diff.about["reasons"] == []
    assert diff.about["beside"]["tuned"] == {
        "settings": [], "code": [], "pickles": [], "auto_map": [],
    }  # fmt: skip
