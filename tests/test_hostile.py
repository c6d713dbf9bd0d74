"""Hostile and broken files end in one clear line, in bounded time and memory."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import ftdiff
from ftdiff.adapters.peft.by_peft.sizes import refuse_outsized
from ftdiff.adapters.peft.patterns import matches
from ftdiff.analyses import claims
from ftdiff.analyses.audit import ci_formats
from ftdiff.analyses.claims import keys
from ftdiff.analyses.claims.held import Held
from ftdiff.analyses.inspection import inspect
from ftdiff.analyses.saved import load_for
from ftdiff.comparison import csv_text
from ftdiff.comparison.journal import writer
from ftdiff.comparison.result import Diff
from ftdiff.deltas.forms import LowRank
from ftdiff.errors import BadAdapter, BadCall, BadFile, FtdiffError
from ftdiff.formats.quantised import bits4
from tests.conftest import llama, nudge, write_model

MODULE = "model.layers.0.self_attn.q_proj"


def _adapter(folder: Path, config: str | Mapping[str, Any], rank: int = 2) -> Path:
    folder.mkdir()
    state = {
        f"base_model.model.{MODULE}.lora_A.weight": torch.ones(rank, 16),
        f"base_model.model.{MODULE}.lora_B.weight": torch.ones(16, rank),
    }
    save_file(state, folder / "adapter_model.safetensors")
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "adapter_config.json").write_text(text)
    return folder


def _raw(path: Path, header: bytes, body: bytes = b"") -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base", llama())


@pytest.mark.parametrize("value", ["1" + "0" * 400, "-1" + "0" * 400, "NaN", "1e308", "-Infinity"])
@pytest.mark.parametrize("field", ["lora_alpha", "alpha_pattern"])
def test_a_scale_beyond_float32_is_refused(
    tmp_path: Path, base: Path, field: str, value: str
) -> None:
    told = value if field == "lora_alpha" else f'{{"q_proj": {value}}}'
    config = f'{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "{field}": {told}}}'
    with pytest.raises(BadAdapter, match="not a finite number") as caught:
        ftdiff.compare(base, _adapter(tmp_path / "a", config))
    assert len(str(caught.value)) < 300


def test_a_rank_of_four_hundred_digits_is_a_note(tmp_path: Path, base: Path) -> None:
    config = f'{{"peft_type": "LORA", "lora_alpha": 4, "r": 1{"0" * 400}}}'
    diff = ftdiff.compare(base, _adapter(tmp_path / "a", config))
    assert "unreadable" not in set(diff.frame["status"])


@pytest.mark.parametrize(
    "pattern",
    ["((.*)*)*z", "(a|a)*b", "(([a-z._0-9])+)+!", r"(\w+\.?){30}z", ".*" * 9 + "z", "(.+?)*?z"],
)
def test_a_pattern_that_backtracks_for_hours_is_refused(
    tmp_path: Path, base: Path, pattern: str
) -> None:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {pattern: 2}}
    with pytest.raises(BadAdapter, match="could be matched for hours"):
        ftdiff.compare(base, _adapter(tmp_path / "a", config))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(.*\.)?(q_proj)",
        r".*layers\.\d+\.self_attn\.(q|k|v)_proj",
        r"model\.layers\.([0-9]|1[0-5])\..*[a-z*+]_proj",
        r".*?(?:layers|blocks).*?(?:self_attn|mlp).*?(?:q_proj|[(]+x)",
        r"(?:model\.)?layers\.0\..*|model\..*q_proj",
    ],
)
def test_a_pattern_that_people_write_is_matched(pattern: str) -> None:
    assert matches(pattern, MODULE, "alpha_pattern")


@pytest.mark.parametrize("name", ["\\ud800", "layers.\\uDFFF.weight"])
def test_half_a_character_in_a_name_is_refused(tmp_path: Path, name: str) -> None:
    header = f'{{"{name}": {{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}}}'
    file = _raw(tmp_path / "m.safetensors", header.encode(), b"\0")
    with pytest.raises(BadFile, match="not valid JSON"):
        ftdiff.compare(file, file)


def test_an_emoji_in_a_name_is_kept(tmp_path: Path) -> None:
    header = r'{"\ud83d\ude00": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}'
    file = _raw(tmp_path / "m.safetensors", header.encode(), b"\0")
    assert list(ftdiff.compare(file, file).frame["tensor"]) == ["\U0001f600"]


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path: Path, base: Path) -> None:
    folder = _adapter(tmp_path / "a", "")
    config = b'\xef\xbb\xbf{"peft_type": "LORA", "r": 2, "lora_alpha": 4}'
    (folder / "adapter_config.json").write_bytes(config)
    assert ftdiff.compare(base, folder).about["kind"] == "lora"


@pytest.mark.parametrize("name", ["p.safetensors", "p.gguf", "p.json", "p.csv", "f/model"])
def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").mkdir()
    pipe = tmp_path / (f"{name}.safetensors" if name == "f/model" else name)
    os.mkfifo(pipe)
    call = f"ftdiff.compare({str(pipe)!r}, {str(pipe)!r})"
    if name == "f/model":
        call = f"ftdiff.compare({str(pipe.parent)!r}, {str(pipe.parent)!r})"
    elif pipe.suffix in (".json", ".csv"):
        call = f"ftdiff.analyses.saved.load_for('plot', {str(pipe)!r})"
    code = (
        "import ftdiff, ftdiff.analyses.saved\nfrom ftdiff.errors import BadFile\n"
        f"try:\n    {call}\nexcept BadFile as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert said.returncode == 0
    assert pipe.stem in said.stdout or "f" in said.stdout


def test_an_endless_device_is_no_matrix(tmp_path: Path) -> None:
    for name in ("/dev/zero", tmp_path / "z.json"):
        if name != "/dev/zero":
            (tmp_path / "z.json").symlink_to("/dev/zero")
        with pytest.raises(BadFile, match="a pipe or a device"):
            load_for("plot", name)


@pytest.mark.parametrize("side", [0, 1])
def test_an_empty_path_is_not_this_folder(base: Path, side: int) -> None:
    sides = [("", base), (base, "")][side]
    with pytest.raises(BadFile, match="an empty path"):
        ftdiff.compare(*sides)


def test_a_file_cut_short_while_it_is_measured_ends_no_process(tmp_path: Path) -> None:
    state = {"w": torch.ones(1 << 20), "v": torch.ones(1 << 20)}
    base = write_model(tmp_path / "b", state)
    tuned = write_model(tmp_path / "t", nudge(state)) / "model.safetensors"
    code = (
        "import os\nfrom ftdiff.formats import open_checkpoint as o\n"
        "from ftdiff.errors import BadFile\n"
        f"tensors = o({str(tuned)!r}).tensors\n"
        "tensors['v'].read()\n"
        f"os.truncate({str(tuned)!r}, 4096)\n"
        "try:\n    tensors['w'].read()\nexcept BadFile as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert said.returncode == 0
    assert "cut short since it was opened" in said.stdout
    assert base.exists()


def test_a_rank_larger_than_the_change_costs_the_change(tmp_path: Path, base: Path) -> None:
    B, A = np.ones((2, 300_000), np.float32), np.ones((300_000, 2), np.float32)
    assert LowRank(B, A, 0.5).sumsq() == pytest.approx(4 * (0.5 * 300_000) ** 2)


def test_a_change_too_large_for_memory_is_one_unreadable_row(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(self: LowRank) -> float:
        raise MemoryError("9 TiB")

    monkeypatch.setattr(LowRank, "sumsq", too_much)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    diff = ftdiff.compare(base, _adapter(tmp_path / "a", config))
    assert diff.about["unreadable"] == {
        f"{MODULE}.weight": f"{MODULE}.weight: not enough memory (9 TiB)"
    }


def test_a_spectrum_too_large_for_memory_is_said(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(self: LowRank) -> None:
        raise MemoryError("9 TiB")

    monkeypatch.setattr(LowRank, "singular_values", too_much)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    diff = ftdiff.compare(base, _adapter(tmp_path / "a", config), ["stable_rank"])
    assert "not enough memory (9 TiB)" in json.dumps(diff.about)


def test_a_group_size_of_a_billion_is_refused(tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_qalora": True}
    folder = _adapter(tmp_path / "a", {**config, "qalora_group_size": 10**9})
    with pytest.raises(BadAdapter, match="qalora_group_size is 1000000000"):
        ftdiff.compare(None, folder)


def test_a_path_that_is_not_utf8_is_saved_and_read_back(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    write_model(folder, llama())
    diff = ftdiff.compare(folder, folder)
    diff.save(tmp_path / "diff.json")
    assert Diff.load(tmp_path / "diff.json").about["base"] == str(folder)
    diff.save(tmp_path / "diff.csv")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("about",), "x"),
        (("about",), True),
        (("about", "versions"), [None]),
        (("about", "renamed"), [1]),
        (("about", "adapter"), "1e999"),
        (("about", "coverage"), "x"),
        (("about", "coverage"), 10**400),
        (("about", "files", "base"), 5),
        (("about", "files", "base"), ["x"]),
        (("about", "base"), {}),
        (("about", "reasons"), {}),
        (("about", "reasons"), ["x"]),
        (("format",), "9" * 5000),
        (("tensors", 0), None),
        (("tensors", 0, "delta_sq"), 10**400),
        (("tensors", 0, "sign_flips"), 10**19),
        (("tensors", 0, "shape"), ["a"]),
        (("tensors", 0, "shape"), [-1]),
        (("tensors", 0, "layer"), "x"),
    ],
)
def test_a_saved_diff_of_wrong_types_is_refused(
    tmp_path: Path, base: Path, at: tuple[Any, ...], value: Any
) -> None:
    document = json.loads(ftdiff.compare(base, base).save(tmp_path / "d.json").read_text())
    part = document
    for step in at[:-1]:
        part = part[step]
    part[at[-1]] = value
    (tmp_path / "d.json").write_text(json.dumps(document))
    with pytest.raises(BadFile) as caught:
        Diff.load(tmp_path / "d.json")
    assert "d.json" in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("sources",), []),
        (("versions",), "x"),
        (("sources", "tuned"), {}),
        (("sources", "tuned", 0), "x"),
        (("sources", "tuned", 0, "files"), None),
        (("sources", "tuned", 0, "files", 0), {"path": "x"}),
    ],
)
def test_a_saved_result_that_lies_about_its_files_is_refused(
    tmp_path: Path, base: Path, at: tuple[Any, ...], value: Any
) -> None:
    tuned = [write_model(tmp_path / str(i), nudge(llama(), seed=i)) for i in (1, 2)]
    saved = ftdiff.similarity(tuned, base=base).save(tmp_path / "s.json")
    document = json.loads(saved.read_text())
    part = document["about"]
    for step in at[:-1]:
        part = part[step]
    part[at[-1]] = value
    saved.write_text(json.dumps(document))
    with pytest.raises(BadFile, match=r"about\.sources"):
        ftdiff.load(saved)


@pytest.mark.parametrize("scale", ["1" + "0" * 400, "1e999", "NaN", "true", '"2"'])
def test_a_scale_of_mlx_beyond_float32_is_refused(tmp_path: Path, base: Path, scale: str) -> None:
    (tmp_path / "a").mkdir()
    state = {f"{MODULE}.lora_a": torch.ones(16, 2), f"{MODULE}.lora_b": torch.ones(2, 16)}
    save_file(state, tmp_path / "a" / "adapters.safetensors")
    told = f'{{"fine_tune_type": "lora", "lora_parameters": {{"rank": 2, "scale": {scale}}}}}'
    (tmp_path / "a" / "adapter_config.json").write_text(told)
    with pytest.raises(BadAdapter, match="no finite scale"):
        ftdiff.compare(base, tmp_path / "a")


@pytest.mark.parametrize(
    "shard", [None, [], "", ".", "..", "../m.safetensors", "/etc/passwd", "a\0b", "x" * 5000]
)
def test_an_index_names_files_beside_it_alone(tmp_path: Path, shard: Any) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(BadFile):
        ftdiff.compare(tmp_path, tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_header_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    good = (write_model(tmp_path / "m", llama(layers=1)) / "model.safetensors").read_bytes()
    length = int.from_bytes(good[:8], "little")
    file = tmp_path / "damaged.safetensors"
    for _ in range(100):
        damaged = bytearray(good)
        for _ in range(draw.integers(1, 4)):
            damaged[draw.integers(0, 8 + length)] = draw.choice(list(b'0197"{}[]:,-\\e\0\xff'))
        file.write_bytes(damaged)
        try:
            inspect(file)
        except FtdiffError as error:
            assert "damaged" in str(error)


def test_a_message_is_bounded_whatever_a_file_holds(tmp_path: Path, base: Path) -> None:
    folder = _adapter(tmp_path / "a", {"peft_type": "x" * 1_000_000})
    call = [sys.executable, "-m", "ftdiff", "compare", str(base), str(folder)]
    said = subprocess.run(call, timeout=60, capture_output=True, text=True)
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert len(said.stderr) < 3000


def test_names_in_csv_are_no_formulas_and_steer_no_terminal(tmp_path: Path) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "a\x1b[2J\nb", "<script>x</script>", "q=1"]
    base = write_model(tmp_path / "b", {name: torch.ones(3, 2) for name in names})
    tuned = [write_model(tmp_path / "=t", nudge({n: torch.ones(3, 2) for n in names}))]
    tuned.append(write_model(tmp_path / "u", nudge({n: torch.ones(3, 2) for n in names}, seed=2)))
    diff = ftdiff.compare(base, tuned[0])
    shown = {"'=1+1", "'+1", "'-1", "'@SUM(A1)", "a\\x1b[2J\\nb", "<script>x</script>", "q=1"}
    with diff.save(tmp_path / "d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["tensor"] for row in rows} == shown
    assert {*Diff.load(diff.save(tmp_path / "d.json")).frame["tensor"]} == {*names}
    printed = io.StringIO()
    csv_text.write(diff.frame, printed)
    assert {row["tensor"] for row in csv.DictReader(printed.getvalue().splitlines())} == shown
    assert {float(row["relative_norm"]) for row in rows} == {*diff.frame["relative_norm"]}
    csv_text.write(ftdiff.similarity(tuned, base=base).matrix, tmp_path / "m.csv", index=True)
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == ",'=t,u"


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "rank_pattern"])
@pytest.mark.parametrize("pattern", ["((.*)*)*z", "(a|a)*b", ".*" * 9 + "z"])
def test_no_pattern_of_a_configuration_is_matched_for_long(
    tmp_path: Path, base: Path, field: str, pattern: str
) -> None:
    told: Any = {pattern: 2} if field == "rank_pattern" else pattern
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "q_proj"}
    folder = _adapter(tmp_path / "a", {**config, field: told})
    begun = time.process_time()
    with suppress(BadAdapter):
        ftdiff.compare(base, folder)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("offset", ["1" + "0" * 400, "1e999", "NaN", '"x"'])
def test_an_offset_of_four_bits_beyond_float32_is_refused(offset: str) -> None:
    absmax = ftdiff.open_checkpoint({"a": np.zeros(1, np.uint8)}).tensors["a"]
    state = json.loads(f'{{"nested_blocksize": 256, "nested_offset": {offset}}}')
    with pytest.raises(BadFile, match="nested_offset"):
        bits4._nested("w", {}, state, absmax)


@pytest.mark.parametrize("mark", ["\x7f", "\x9b2J", "\u202e", "\u2028"])
def test_json_steers_no_terminal_and_keeps_the_name(tmp_path: Path, mark: str) -> None:
    base = write_model(tmp_path / "b", {f"a{mark}": torch.ones(3, 2)})
    diff = ftdiff.compare(base, base)
    saved = diff.save(tmp_path / "d.json")
    for text in (saved.read_text(), ci_formats.as_json(ftdiff.audit(diff))):
        assert mark not in text
    assert [*Diff.load(saved).frame["tensor"]] == [f"a{mark}"]


@pytest.mark.parametrize("value", ["Infinity", "NaN", "1e999", "[NaN]"])
def test_a_setting_that_json_does_not_have_is_saved_as_its_word(
    tmp_path: Path, value: str, fixtures: Path
) -> None:
    model = write_model(tmp_path / "m", llama(layers=1))
    (model / "config.json").write_text(f'{{"model_type": "llama", "num_hidden_layers": {value}}}')
    saved = ftdiff.compare(model, model).save(tmp_path / "d.json")
    assert Diff.load(saved).about["config"]["tuned"] == {"model_type": "llama"}  # it is no count
    lora = shutil.copytree(fixtures / "lora", tmp_path / "lora")
    told = json.loads((lora / "adapter_config.json").read_text()) | {"base_model_name_or_path": "@"}
    (lora / "adapter_config.json").write_text(json.dumps(told).replace('"@"', value))
    saved = ftdiff.compare(fixtures / "base", lora).save(tmp_path / "d.json")
    kept = Diff.load(saved).about["adapter"]["base_model_name_or_path"]
    assert kept in ("Infinity", "NaN", ["NaN"])


@pytest.mark.parametrize("harm", [{"sentences": []}, {"status": "untouc}ed"}])
def test_a_verdict_without_a_sentence_is_refused(
    tmp_path: Path, fixtures: Path, harm: dict[str, Any]
) -> None:
    sides = (fixtures / name for name in ("base", "lora", "merged_f32"))
    saved = ftdiff.verify(*sides).save(tmp_path / "v.json")
    document = json.loads(saved.read_text())
    (document["tensors"][0] if "status" in harm else document).update(harm)
    saved.write_text(json.dumps(document))
    with pytest.raises(BadFile, match="not a verification"):
        ftdiff.load(saved)


@pytest.mark.parametrize("subject", ["x", None, {"digest": "x"}, {"digest": []}])
def test_a_claim_of_subjects_that_are_none_is_refused(tmp_path: Path, subject: Any) -> None:
    base = write_model(tmp_path / "b", llama(layers=1))
    keys.new_key(tmp_path / "k")
    claim = claims.attest(ftdiff.compare(base, base), tmp_path / "k")
    harmed = json.loads(json.dumps(claim.statement)) | {"subject": [subject, subject]}
    with pytest.raises(BadFile, match="no predicate of version 1"):
        Held.of(harmed, "c.jsonl")


@pytest.mark.parametrize("told", [2, "q_proj", {"a": 1}, [None, 3]])
def test_saved_modules_that_are_no_names_are_none(tmp_path: Path, base: Path, told: Any) -> None:
    config = {"peft_type": "POLY", "r": 2, "modules_to_save": told}
    diff = ftdiff.compare(base, _adapter(tmp_path / "a", config))
    assert "no base weight changes" in json.dumps(diff.about)


@pytest.mark.parametrize(
    ("settings", "shape", "told"),
    [
        ({"r": 2**40}, (16, 16), "r is 1099511627776"),
        ({"rank_pattern": {"q_proj": 2000}}, (16, 16), "rank_pattern is 2000"),
        ({"n_frequency": 10**9}, (16, 16), "n_frequency is 1000000000"),
        ({"num_cayley_neumann_terms": 2000}, (4096, 16), "num_cayley_neumann_terms is 2000"),
    ],
)
def test_peft_is_not_asked_for_more_than_a_module_has(
    settings: dict[str, Any], shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(BadAdapter, match=told):
        refuse_outsized(settings, [shape])


def test_peft_is_asked_for_what_a_module_can_have() -> None:
    told = {"r": 2000, "n_frequency": 5000, "random_seed": 10**9, "lora_alpha": 10**6, "bias": "no"}
    refuse_outsized({**told, "scaling": 1e9, "use_rslora": True}, [(4096, 16)])


def test_a_lock_is_not_written_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(BadFile, match="cannot be written"), writer.alone(tmp_path / "lock"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("kind", ["http://127.0.0.1:9/x", "s3://bucket/x", "file:///etc"])
def test_an_address_that_an_adapter_names_is_not_asked(tmp_path: Path, kind: str) -> None:
    folder = _adapter(tmp_path / "a", {"peft_type": "LORA", "base_model_name_or_path": kind})
    with pytest.raises(BadCall, match="no folder here and no repository"):
        ftdiff.base_of(folder)


def test_the_base_of_a_long_card_is_read_soon(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "a", {"peft_type": "LORA"})
    (tmp_path / "base").mkdir()
    rows = "".join(f"- {i}: [a, b]\n" for i in range(200_000))
    (folder / "README.md").write_text(f"---\nx:\n{rows}base_model:\n- ../base\n- b\n---\n# A\n")
    begun = time.process_time()
    assert ftdiff.base_of(folder) == str(tmp_path / "base")
    assert time.process_time() - begun < 1
