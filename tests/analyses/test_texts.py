"""Texts become rows of tokens, and only what should count counts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from ftdiff.analyses import texts, tokens
from ftdiff.analyses.probing import positions
from ftdiff.errors import BadCall, BadFile
from tests.analyses.live_models import byte_tokenizer, token_rows, written

CHAT = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def test_a_line_is_a_text_padded_on_the_right(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abc\n\nab\r\n")
    found = texts.read(path, byte_tokenizer())
    assert found.mask.tolist() == [[True, True, True], [True, True, False]]
    assert found.ids[1, 2] == 0 and found.scored.tolist() == found.mask.tolist()
    assert found.offsets is not None and found.offsets[0].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert found.about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.about["texts"], found.about["tokens"]) == (2, 5)


def test_of_a_prompt_and_an_answer_the_answer_counts(tmp_path: Path) -> None:
    path = written([{"prompt": "2+2=", "answer": "4."}], tmp_path / "a.jsonl")
    found = texts.read(path, byte_tokenizer())
    assert found.scored[0].tolist() == [False] * 4 + [True] * 2
    slow = byte_tokenizer()
    slow.__class__ = type("Slow", (type(slow),), {"is_fast": False})
    assert (texts.read(path, slow).scored == found.scored).all()


def test_a_beginning_does_not_count_and_a_chat_has_one(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(chat_template=CHAT)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 256)]
    )
    told = [{"role": "user", "content": "hi"}]
    path = written([{"text": "ab"}, {"messages": told}], tmp_path / "chat.jsonl")
    found = texts.read(path, tokenizer)
    assert (found.ids == 256).sum(axis=1).tolist() == [1, 1]
    assert found.scored[:, 0].tolist() == [False, False]
    with pytest.raises(BadCall, match=r"chat.jsonl, line 2: messages, and .* no chat template"):
        texts.read(path, byte_tokenizer())


def test_tokens_need_no_tokenizer_and_texts_do(tmp_path: Path) -> None:
    rows = token_rows(3)
    found = texts.read(written(rows, tmp_path / "ids.jsonl"), None)
    assert [row[mask].tolist() for row, mask in zip(found.ids, found.mask, strict=True)] == rows
    assert found.offsets is None
    with pytest.raises(BadCall, match="no tokenizer"):
        texts.read(written([{"text": "a"}], tmp_path / "t.jsonl"), None)


def test_a_draw_is_the_same_for_a_seed_and_stays_in_order(tmp_path: Path) -> None:
    path = written(token_rows(30), tmp_path / "ids.jsonl")
    one, again, other = (
        texts.read(path, None, max_texts=8, max_tokens=6, seed=seed) for seed in (3, 3, 4)
    )
    assert (one.ids == again.ids).all() and one.ids.shape == (8, 6)
    assert not np.array_equal(one.ids, other.ids)
    whole = texts.read(path, None).ids[:, :6].tolist()
    at = [whole.index(row) for row in one.ids.tolist()]
    assert at == sorted(at) and one.about["cut"] == 8 and one.about["texts_in_file"] == 30
    with pytest.raises(BadCall, match="a seed is"):
        texts.read(path, None, max_texts=8, seed=-1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it has no text"),
        ("\n \n", "it has no text"),
        ("{", "line 1: not valid JSON"),
        ("[1]", "line 1: expected a JSON object, found list"),
        ('{"label": 1}', "line 1: a row has one of"),
        ('{"input_ids": [1, "a"]}', "expected a list of whole numbers"),
        ('{"input_ids": [-1, 2]}', "expected a list of whole numbers"),
        ('{"input_ids": [1, 99999999999999999999]}', "expected a list of whole numbers"),
        ('{"text": 3}', "text: expected a text"),
        ('{"input_ids": [5]}', "no token is left to predict in 1 texts"),
    ],
)
def test_what_is_no_text_is_said_in_a_line(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(BadFile, match=told) as raised:
        texts.read(path, byte_tokenizer())
    assert "\n" not in str(raised.value)


def test_a_tokenizer_that_its_files_make_fail_is_said_in_a_line(tmp_path: Path) -> None:
    path = written([{"text": "ab"}], tmp_path / "a.jsonl")
    with pytest.raises(BadFile, match="the tokenizer fails on a text: '>' not supported"):
        texts.read(path, byte_tokenizer(model_max_length="x"))


def test_a_text_that_is_cut_is_not_warned_of_by_transformers() -> None:
    tokenizer = byte_tokenizer(model_max_length=4)
    tokens.encoded(tokenizer, "abcdefgh", special=False)
    positions.read(tokenizer, "abcdefgh", None, {})
    assert not tokenizer.deprecation_warnings


def test_a_prompt_that_fills_the_row_leaves_nothing_to_predict(tmp_path: Path) -> None:
    rows = [{"prompt": "abcdef", "answer": "g"}, {"prompt": "a", "answer": "b"}]
    path = written(rows, tmp_path / "x.jsonl")
    found = texts.read(path, byte_tokenizer(), max_tokens=4)
    assert (len(found), found.about["left_out"]) == (1, 1)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_no_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "text.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(BadFile, match="a pipe or a device"):
        texts.rows_of(path)
