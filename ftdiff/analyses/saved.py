"""Open any file that ftdiff writes: what kind of result it holds, and which commands take it.

To make another kind of result a file that commands take: its line in `KINDS`, and the commands in
`ftdiff.formats.written.TAKEN`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ftdiff.comparison import cut
from ftdiff.comparison.saved_kind import kind_of
from ftdiff.errors import BadCall, BadFile
from ftdiff.formats import format_of
from ftdiff.formats.place import here, is_repository
from ftdiff.formats.written import TAKEN, opened

if TYPE_CHECKING:
    import pandas as pd

    from ftdiff.analyses.claims import ClaimCheck
    from ftdiff.analyses.drift import Drift
    from ftdiff.analyses.lineage_result import Lineage
    from ftdiff.analyses.merges import MergeOf
    from ftdiff.analyses.probing import Probe
    from ftdiff.analyses.recovery import Recovery
    from ftdiff.analyses.similarity import Similarity
    from ftdiff.analyses.trajectory import Trajectory
    from ftdiff.analyses.verification import Verification
    from ftdiff.comparison.result import Diff

    Measured: TypeAlias = Diff | Similarity | Trajectory | Probe | Drift | MergeOf
    Result: TypeAlias = Measured | Verification | Recovery | Lineage | ClaimCheck


@dataclass(frozen=True)
class Kind:
    """A kind of saved result.

    Attributes
    ----------
    home, name
        The module of its class, imported when a file of this kind is opened, and the class.
    """

    home: str
    name: str

    def load(self, path: Path) -> Any:
        """Read a file of this kind."""
        return getattr(importlib.import_module(f"ftdiff.{self.home}"), self.name).load(path)


#: By the word in a file's format tag.
KINDS: Mapping[str, Kind] = {
    "diff": Kind("comparison.result", "Diff"),
    "similarity": Kind("analyses.similarity", "Similarity"),
    "trajectory": Kind("analyses.trajectory", "Trajectory"),
    "verification": Kind("analyses.verification", "Verification"),
    "recovery": Kind("analyses.recovery", "Recovery"),
    "lineage": Kind("analyses.lineage_result", "Lineage"),
    "merge": Kind("analyses.merges", "MergeOf"),
    "claim": Kind("analyses.claims", "ClaimCheck"),
    "probe": Kind("analyses.probing", "Probe"),
    "drift": Kind("analyses.drift", "Drift"),
}
#: Commands that take a published matrix, in CSV or JSON, too.
MATRICES = ("findings", "plot")
#: Commands that say something of a whole model, and what: they take no diff of parts of tensors.
OF_WHOLES = {"audit": "an audit", "card": "a card", "attest": "a claim"}


def load(path: str | Path) -> Result:
    """Open a file that ftdiff wrote: a diff (of tensors or of parts), a similarity, a trajectory,
    a verification, a recovery, a lineage, a merge, a check of a claim, a probe or a drift.

    Parameters
    ----------
    path
        JSON, as `save` of the result and `--format json` of its command write it.

    Raises
    ------
    BadFile
        The file is none of these, cannot be read, or contradicts itself.
    """
    path = Path(path)
    _no_model(path)
    found: Result = _known(path, kind_of(path)).load(path)
    return found


def load_for(command: str, path: str | Path, *, repeated: bool = False) -> Result | pd.DataFrame:
    """Open a file for a command: a result that it takes, or a matrix where it takes one.

    Columns of a matrix may be `repeated`, as tokens are in a text.

    Raises
    ------
    BadFile
        The file is nothing that the command takes, cannot be read, or contradicts itself.
    BadCall
        It holds another kind of result; the message names which, and the commands that take it.
        Or it is of parts of tensors, and the command speaks of whole models.
    """
    path = Path(path)
    _no_model(path, command)
    word = kind_of(path)
    if not word:
        _not_ours(path)
    if not word and command in MATRICES:
        from ftdiff.comparison.matrix_files import read_matrix

        return read_matrix(path, repeated=repeated)
    kind = _known(path, word)
    if command not in TAKEN[word]:
        takes = " or ".join(f"a {one}" for one, commands in TAKEN.items() if command in commands)
        others = ", ".join(TAKEN[word])
        raise BadCall(f"{path}: a saved {word}; {command} takes {takes}, and a {word} {others}")
    found: Result = kind.load(path)
    if word == "diff" and command in OF_WHOLES:
        cut.whole(cast("Diff", found), OF_WHOLES[command], str(path))
    return found


def _known(path: Path, word: str) -> Kind:
    if word in KINDS:
        return KINDS[word]
    _not_ours(path)
    raise BadFile(f"{path}: no result of ftdiff; what is opened is a saved {', '.join(KINDS)}")


def _not_ours(path: Path) -> None:
    """Refuse a file of ours that is no saved result, or a table of one, by what it is.

    Raises
    ------
    BadFile
        It is one: the message names what it is, and which commands take it.
    """
    try:
        ours = opened(path)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    if ours is not None and ours.word not in KINDS:
        raise BadFile(f"{path}: {ours}")


def _no_model(path: Path, command: str = "load") -> None:
    """Refuse what is not a saved result but a model: a folder, a repository, a file of weights.

    Raises
    ------
    BadFile
        It is one of these; the message names the commands that lead from there to a result.
    """
    text = str(path)
    if path.is_dir():
        if (path / "diff.json").is_file():
            raise BadFile(f"{text}: a folder; the saved result in it is {path / 'diff.json'}")
        what = "a folder"
    elif is_repository(text):
        what = "a repository of the hub, by its name"
    elif format_of(here(path)) is not None:
        what = "a file of weights" if path.is_file() else "no such file"
    else:
        return
    then = "ftdiff.load" if command == "load" else f"ftdiff {command}"
    steps = f"ftdiff compare BASE {text} -o out/, then {then} out/diff.json"
    raise BadFile(f"{text}: {what}, not a saved result; {steps}")
