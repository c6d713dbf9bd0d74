"""What was decomposed once is kept on disk, under the identity of the bytes it was made from."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ftdiff.tensors import Array, LazyTensor

#: Counted up when what is kept changes its meaning.
_VERSION = 2


def remembered(
    tensor: LazyTensor,
    what: str,
    shapes: Mapping[str, tuple[int, ...]],
    make: Callable[[], Mapping[str, Array]],
) -> Mapping[str, Array]:
    """Return what `make` returns, from disk where the same was made of the same bytes.

    Parameters
    ----------
    tensor
        What it is made of. A tensor that is not in a file is not remembered.
    what
        What is made, with every number that it depends on.
    shapes
        Of the arrays that `make` returns, by name; what is kept in other shapes is not believed.
    make
        Makes arrays of float64.

    Notes
    -----
    Files are named by a digest of the file's identity (device, inode, size, time of its last
    change), the place in it, dtype and shape, so that a file that is written again is another one.
    They hold plain numbers (no pickle), and one that cannot be read is made again. The folder is
    $FTDIFF_CACHE, or ftdiff in the platform's cache folder; FTDIFF_CACHE= (empty) keeps nothing.
    """
    if tensor.storage is None:
        return make()
    identity = tensor.storage, tensor.dtype, tensor.shape, what
    found = kept(identity, shapes)
    if found is None:
        found = make()
        keep(identity, found)
    return found


def kept(identity: object, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Array] | None:
    """Return what `keep` has kept under an identity, in float64; None where it has not.

    Parameters
    ----------
    identity
        What it was made of, and every number that it depends on; its `repr` says all of it.
    shapes
        Of the arrays, by name; what is kept in other shapes is not believed.
    """
    path = _path(identity)
    unusable = suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
    if path is not None:
        with unusable, np.load(path, allow_pickle=False) as held:
            found = {name: np.asarray(held[name], np.float64) for name in shapes}
            if {name: array.shape for name, array in found.items()} == dict(shapes):
                return found
    return None


def keep(identity: object, arrays: Mapping[str, Array]) -> None:
    """Keep arrays under an identity, where there is a folder for them."""
    path = _path(identity)
    if path is not None:
        with suppress(OSError):  # a full disk or a read-only home costs time, nothing else
            _keep(path, arrays)


def _path(identity: object) -> Path | None:
    folder = _folder()
    if folder is None:
        return None
    asked = repr((_VERSION, identity))
    return folder / f"{hashlib.sha256(asked.encode()).hexdigest()}.npz"


def _keep(path: Path, made: Mapping[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **dict(made))
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _folder() -> Path | None:
    asked = os.environ.get("FTDIFF_CACHE")
    if asked is not None:
        return Path(asked) if asked else None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    places = {"darwin": home / "Library" / "Caches", "win32": home / "AppData" / "Local"}
    default = places.get(sys.platform, home / ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "ftdiff"
