"""A format is one file and one line: what is in `FORMATS` is found wherever weights are."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftdiff
from ftdiff.cli.compare_facets import names
from ftdiff.deltas.recipes import Added, Replaced
from ftdiff.errors import BadFile
from ftdiff.formats import FORMATS, find, format_of, lone_file
from ftdiff.formats.container import Format, Header
from ftdiff.formats.place import Place, here
from ftdiff.tensors import Array, ArrayTensor

PACKAGE = Path(ftdiff.__file__).parent
#: Who reads GGUF beside `FORMATS`: its adapters need typed fields, and its models are refused;
#: a claim takes the digest of blocks as they are stored.
OF_ONE_FORMAT = {"formats.gguf": {"adapters/llama_cpp.py", "analyses/claims/stored.py"}}


def read_toy(path: Place) -> Header:
    """Read a dict of nested lists, and of texts."""
    try:
        held = json.loads(path.read(1 << 20))
    except ValueError as error:
        raise BadFile(f"{path}: not a toy ({error})") from error
    tensors = {name: ArrayTensor(np.array(rows, "f4")) for name, rows in held["tensors"].items()}
    return Header(tensors, {"name": path.name, "bytes": path.source().size}, held["metadata"])


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**FORMATS, "toy": Format("toy", ".toy", read_toy)}
    monkeypatch.setattr(FORMATS, "_items", rows)


def write(path: Path, tensors: Mapping[str, Array], **metadata: str) -> Path:
    """Write a toy."""
    path.parent.mkdir(exist_ok=True)
    rows = {name: tensor.tolist() for name, tensor in tensors.items()}
    path.write_text(json.dumps({"tensors": rows, "metadata": metadata}), "utf-8")
    return path


def random(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype("f4")


Q = "model.layers.0.self_attn.q_proj"
WEIGHT = {f"{Q}.weight": random(6, 4)}
FACTORS = {"A": random(2, 4), "B": random(6, 2)}
PEFT = {f"base_model.model.{Q}.lora_{side}.weight": M for side, M in FACTORS.items()}


def change(source: Path, scaling: float) -> None:
    """Hold the change of q_proj to scaling · B A."""
    tuned = ftdiff.open_tuned(source, ftdiff.open_checkpoint(WEIGHT))
    recipe = tuned.recipes[f"{Q}.weight"]
    assert isinstance(recipe, Added)
    wanted = scaling * FACTORS["B"] @ FACTORS["A"]
    np.testing.assert_allclose(recipe.delta(None).dense(), wanted, rtol=1e-5)
    assert [file["name"].rpartition(".")[2] for file in tuned.files] == ["toy"]
    assert not tuned.unmatched


def test_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.toy", WEIGHT, made="here")
    opened = ftdiff.open_checkpoint(path)
    assert opened.format == "toy" and opened.metadata == {"made": "here"}
    np.testing.assert_array_equal(opened.tensors[f"{Q}.weight"].read(), WEIGHT[f"{Q}.weight"])
    assert isinstance(ftdiff.open_tuned(path).recipes[f"{Q}.weight"], Replaced)


def test_a_model_s_folder(tmp_path: Path) -> None:
    write(tmp_path / "model.toy", WEIGHT)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for source in (ftdiff.open_checkpoint(tmp_path), ftdiff.open_tuned(tmp_path)):
        assert source.config == {"model_type": "llama"}
        assert [file["name"] for file in source.files] == ["model.toy"]


@pytest.mark.parametrize("indexed", [True, False])
def test_shards(tmp_path: Path, indexed: bool) -> None:
    parts = {f"w{i}": random(2, 2) for i in (1, 2)}
    files = {name: f"model-0000{name[1]}-of-00002.toy" for name in parts}
    for name, file in files.items():
        write(tmp_path / file, {name: parts[name]})
    if indexed:
        (tmp_path / "model.toy.index.json").write_text(json.dumps({"weight_map": files}))
    assert set(ftdiff.open_checkpoint(tmp_path).tensors) == set(parts)
    (tmp_path / files["w2"]).unlink()
    with pytest.raises(BadFile, match=r"00002-of-00002\.toy"):
        ftdiff.open_checkpoint(tmp_path)


def test_a_peft_adapter_as_a_folder_and_as_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "adapter_model.toy", PEFT)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 6}')
    change(tmp_path, 3)
    change(path, 3)


def test_a_file_with_peft_s_factors_alone(tmp_path: Path) -> None:
    change(write(tmp_path / "lora.toy", PEFT, lora_alpha="6"), 3)
    change(tmp_path, 3)


def test_a_file_of_kohya_s(tmp_path: Path) -> None:
    path = f"lora_unet_{Q.replace('.', '_')}"
    sides = {"down": FACTORS["A"], "up": FACTORS["B"]}
    tensors = {f"{path}.lora_{side}.weight": M for side, M in sides.items()}
    change(write(tmp_path / "style.toy", tensors | {f"{path}.alpha": np.float32(4)}), 2)
    change(tmp_path, 2)


def test_a_folder_of_mlx_s(tmp_path: Path) -> None:
    tensors = {f"{Q}.lora_{side.lower()}": M.T for side, M in FACTORS.items()}
    path = write(tmp_path / "adapters.toy", tensors)
    (tmp_path / "adapter_config.json").write_text('{"lora_parameters": {"scale": 5}}')
    change(tmp_path, 5)
    change(path, 5)


def test_a_folder_of_two_formats_is_opened_as_the_first(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    write(tmp_path / "model.toy", {"toy": random(2)})
    write(tmp_path / "style.toy", {"toy": random(2)})
    save_file(WEIGHT, tmp_path / "model.safetensors")
    assert set(ftdiff.open_checkpoint(tmp_path).tensors) == set(WEIGHT)
    folder = here(tmp_path)
    assert lone_file(folder) == find(folder, "model") == folder / "model.safetensors"


def test_what_is_looked_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"looked for \*\.safetensors, .*, \*\.toy"):
        ftdiff.open_checkpoint(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 6}')
    with pytest.raises(BadFile, match=r"no adapter_model\.safetensors or .* or adapter_model\.toy"):
        ftdiff.open_tuned(tmp_path)
    (tmp_path / "broken.toy").write_text("{")
    with pytest.raises(BadFile, match="not a toy"):
        ftdiff.open_tuned(tmp_path / "broken.toy")


def test_a_diff_s_file_is_named_without_the_suffix() -> None:
    assert names(["a.toy", "b.safetensors", "c.other"]) == ["a", "b", "c.other"]


def test_a_format_is_listed_by_its_own_name() -> None:
    assert {name: known.name for name, known in FORMATS.items()} == {n: n for n in FORMATS}
    assert format_of(here("model.safetensors")) is FORMATS["safetensors"]
    assert format_of(here("model.safetensors.index.json")) is None


def test_no_other_file_knows_a_format() -> None:
    outside = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    for inside, path in outside.items():
        if inside.startswith("formats/"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for reader in ("formats.safetensors", "formats.gguf"):
            if any(reader in name for name in _imported(tree)):
                assert inside in OF_ONE_FORMAT.get(reader, set()), f"{inside} imports {reader}"
        suffixes = [v for v in _texts(tree) if v.endswith(".safetensors") and " " not in v]
        assert suffixes == [], f"{inside} looks for {suffixes}: the suffix is in FORMATS"


def _imported(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _texts(tree: ast.AST) -> list[str]:
    nodes: list[Any] = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [node.value for node in nodes if isinstance(node.value, str)]
