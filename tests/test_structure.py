"""The map of the code: imports go down, no circles, names hide nothing, tests mirror packages."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ftdiff
from ftdiff.comparison.statuses import STATUSES

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ftdiff"
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def _modules() -> frozenset[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], "ftdiff.")
    return frozenset({one.name for one in found} - {"ftdiff.__main__"})


def test_no_name_hides_a_module() -> None:
    modules = {name: importlib.import_module(name) for name in _modules()}
    for name, module in modules.items():
        parent, _, stem = name.rpartition(".")
        assert getattr(importlib.import_module(parent), stem) is module, name
    for name in ftdiff.__all__:
        public = getattr(ftdiff, name)
        assert inspect.ismodule(public) or callable(public), name


def _imports(path: Path) -> Iterator[str]:
    """Yield every module of ours that a file imports anywhere, for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in _modules())
        elif isinstance(node, ast.ImportFrom) and (node.module or "") in _modules() | {"ftdiff"}:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            below = [name for name in names if name in _modules()]
            yield from below
            if len(below) < len(names):
                yield str(node.module)


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def test_no_circle_among_files() -> None:
    # the front door names every result, and a result's method is a call of the front door
    graph = {_name(path): {*_imports(path)} - {"ftdiff"} for path in FILES}
    del graph["ftdiff"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_every_package_has_its_folder_of_tests() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= {path.parent.name for path in TESTS.glob("*/test_*.py")}


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def _lines(node: ast.FunctionDef) -> int:
    """Return how many lines a function has, its docstring aside."""
    first = node.body[0]
    said = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0
    return (node.end_lineno or 0) - node.lineno + 1 - said


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_fits_on_a_screen(path: Path) -> None:
    assert [node.name for node in _functions(path) if _lines(node) > 60] == []


def _constants(node: ast.expr) -> Iterator[object]:
    yield from (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))


def _of_status(node: ast.expr) -> bool:
    return ast.unparse(node) == "status" or "status" in _constants(node)


def test_words_for_what_became_of_a_tensor_are_written_once() -> None:
    """No other file compares a status with a literal; a verification has words of its own."""
    for path in FILES:
        if path.parent.name == "verification":
            continue
        held: list[ast.expr] = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and _of_status(node.left):
                held += node.comparators
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("].isin"):
                held += node.args if _of_status(node.func) else []
        words = {word for one in held for word in _constants(one)}
        assert words.isdisjoint(STATUSES), path


def test_commands_decide_their_options_into_few_values() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        for node in _functions(path):
            assert len(node.args.args) + len(node.args.kwonlyargs) <= 9, f"{path}: {node.name}"


def _hands_out(path: Path) -> bool:
    """Say whether a file submits tasks or waits for futures."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr in ("submit", "as_completed"))
        or (isinstance(node, ast.alias) and node.name == "as_completed")
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_one_place_gathers_futures() -> None:
    executors = ("cluster", "executors", "gathering", "processes")  # two of them are executors
    home = [f"ftdiff.comparison.{name}" for name in executors]
    assert sorted(_name(path) for path in FILES if _hands_out(path)) == home


def test_results_are_saved_and_loaded_in_one_place() -> None:
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in FILES}
    home = "comparison/storage.py"
    atomic = [name for name, text in texts.items() if "os.replace(" in text]
    assert {*atomic} - {"metrics/linalg/cache.py"} == {home}  # a cache of numbers is no result
    assert [name for name, text in texts.items() if '["format"]' in text] == [home]
    for result in ("Diff(NextSteps)", "Similarity", "Trajectory", "SavedResult(ABC)"):
        (text,) = (text for text in texts.values() if f"\nclass {result}:" in text)
        assert "storage.save(Path(path), " in text and "storage.load(Path(path), " in text, result
    kinds = ("Verification", "Lineage", "MergeOf", "Recovery", "ClaimCheck", "Probe", "Drift")
    assert all(
        any(f"\nclass {kind}(SavedResult):" in text for text in texts.values()) for kind in kinds
    )


def _lists_places(path: Path) -> bool:
    """Say whether a file writes out the words of a tensor's place."""
    words = {"stack", "layer", "block", "role", "component", "module", "param", "expert"}
    return any(
        words <= {*_constants(node)}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict)
    )


def test_the_columns_of_a_place_are_listed_once() -> None:
    # naming says which they are, the frame of which type
    homes = ["ftdiff.comparison.frame", "ftdiff.naming"]
    assert [_name(path) for path in FILES if _lists_places(path)] == homes


def _prose(node: ast.expr) -> bool:
    """Say whether an expression is what a person reads: a note, a sentence, a message."""
    words = {"note", "notes", "said", "message", "messages", "sentence", "sentences"}
    if isinstance(node, ast.Subscript):
        return bool(words & {*_constants(node.slice)}) or _prose(node.value)
    if isinstance(node, ast.Call):
        return _prose(node.func) or any(map(_prose, node.args[:1]))
    if isinstance(node, ast.Attribute):
        return node.attr in words or _prose(node.value)
    return isinstance(node, ast.Name) and node.id in words


_MATCHES = ("contains", "startswith", "endswith", "match", "fullmatch", "search", "find")


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if {"analyses", "reports"} & {*path.relative_to(PACKAGE).parts}],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_rule_matches_a_sentence(path: Path) -> None:
    """What one module tells people, another reads as a code with data, or not at all."""
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            mapping = isinstance(node.left, ast.Constant) and str(node.left.value).isidentifier()
            assert mapping or not _prose(node.comparators[0]), where
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            assert not _prose(node.left) or node.comparators[0] == "", where
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            told = [node.func.value, *node.args]
            assert node.func.attr not in _MATCHES or not any(map(_prose, told)), where


def _codes_of_notes() -> set[str]:
    """Return the codes that the package gives notes, where they are made or by their names."""
    named = {
        target.id: node.value.value
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [
        node.args[0]
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Note" and node.args
    ]
    literal = {str(one.value) for one in calls if isinstance(one, ast.Constant)}
    return literal | {str(named[one.id]) for one in calls if isinstance(one, ast.Name)}


def test_every_code_of_a_note_is_held_by_a_test() -> None:
    texts = [path.read_text() for path in TESTS.rglob("test_*.py")]
    codes = _codes_of_notes()
    assert {"target-missing", "row-order-unknown"} < codes
    assert {code for code in codes if not any(f'"{code}"' in text for text in texts)} == set()
