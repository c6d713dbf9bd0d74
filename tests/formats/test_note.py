"""A note is its sentence, and carries a code and data that rules read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

from ftdiff.formats import open_checkpoint
from ftdiff.formats.note import Note
from tests.conftest import llama, write_model


def test_a_note_is_its_sentence_and_travels_with_its_code() -> None:
    note = Note("rank-differs", "rank 4 where r is 8", rank=4)
    assert note == "rank 4 where r is 8" and isinstance(note, str)
    assert json.loads(json.dumps([note])) == ["rank 4 where r is 8"]
    for same in (pickle.loads(pickle.dumps(note)), next(iter(dict.fromkeys([note])))):
        assert (same, same.code, same.data) == (note, "rank-differs", {"rank": 4})
    assert note.record() == {"code": "rank-differs", "rank": 4}


def test_what_an_index_does_not_name_has_a_code(tmp_path: Path) -> None:
    write_model(tmp_path, llama(), shards=2)
    index = tmp_path / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"].popitem()
    index.write_text(json.dumps(told))
    (note,) = open_checkpoint(tmp_path).notes
    assert isinstance(note, Note)
    assert note.record() == {"code": "unindexed", "tensors": 1}
