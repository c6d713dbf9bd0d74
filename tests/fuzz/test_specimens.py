"""Every reader has a specimen: a format, a family, a type, a scheme, a kind of result."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from ftdiff.adapters import identify
from ftdiff.adapters.families import ADAPTERS
from ftdiff.adapters.peft.capabilities import read_table
from ftdiff.analyses.saved import KINDS
from ftdiff.comparison.saved_kind import kind_of
from ftdiff.errors import FtdiffError
from ftdiff.formats import FORMATS
from ftdiff.formats.place import here
from ftdiff.formats.quantised import SCHEMES, described
from ftdiff.formats.written import TAKEN
from tests.fuzz import mutations, specimens, strategies
from tests.fuzz.specimens import Specimen

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def every(good: Path) -> list[Specimen]:
    return specimens.read(good)


def _targets(every: list[Specimen]) -> list[Path]:
    return [one.folder / one.target for one in every]


def test_every_format_and_every_family_has_a_specimen(every: list[Specimen]) -> None:
    formats, families = set(), set()
    for one in every:
        for path in (one.folder / "tuned", one.folder / one.target):
            if not path.exists():
                continue
            formats |= {name for name, known in FORMATS.items() if known.recognises(here(path))}
            with contextlib.suppress(FtdiffError):
                found = identify(str(path)).adapter
                families |= {name for name, known in ADAPTERS.items() if known is found}
    assert formats == {*FORMATS}
    assert families == {*ADAPTERS}


def test_every_type_of_peft_has_a_specimen(every: list[Specimen]) -> None:
    configs = [path for path in _targets(every) if path.name == "adapter_config.json"]
    assert {json.loads(path.read_text()).get("peft_type") for path in configs} >= {*read_table()}


def test_every_scheme_has_a_specimen(every: list[Specimen]) -> None:
    claimed = set()
    for path in {path.parent for path in _targets(every) if path.name == "model.safetensors"}:
        opened = FORMATS["safetensors"].open_(here(path))
        told = described.Told(opened.config, opened.metadata)
        claimed |= {name for name, s in SCHEMES.items() if s.claims(dict(opened.tensors), told)}
    assert claimed == {*SCHEMES}


def test_every_kind_of_result_has_a_specimen(every: list[Specimen]) -> None:
    saved = [path for path in _targets(every) if path.name == "r.json"]
    assert {kind_of(path) for path in saved} == {*KINDS}
    commands = {words[0] for one in every for words in one.commands}
    assert {name for taken in TAKEN.values() for name in taken} <= commands


def test_every_way_of_damage_is_used(every: list[Specimen]) -> None:
    assert {one.kind for one in every} >= {*mutations.WAYS, *strategies.FILES}
