"""The zip file of `torch.save`: members are stored as they are, so that each is a place in it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftdiff.errors import BadFile
from ftdiff.formats.torch_zip.records import LARGEST
from ftdiff.tensors import stamp

_LOCAL = 30  # bytes of a member's own header before its name
_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Archive:
    """An opened archive.

    Attributes
    ----------
    pickle
        The bytes of `data.pkl`.
    places
        Where each member below `data/` begins, and its bytes.
    marks
        The file's stamp when it was opened.
    digest
        Of the pickle and the places.
    """

    pickle: bytes
    places: Mapping[str, tuple[int, int]]
    marks: tuple[int, int, int, int]
    digest: str


def is_zip(path: Path) -> bool:
    """Say whether a file begins as a zip archive does."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def read(path: Path) -> Archive:
    """Read the directory of an archive and its pickle; no tensor.

    Raises
    ------
    BadFile
        It is no archive of `torch.save`, is truncated, or a member is compressed or encrypted.
    """
    marks = stamp(path)
    try:
        with zipfile.ZipFile(path) as opened:
            members = opened.infolist()
            prefix = _prefix(path, members)
            raw = _small(path, opened, f"{prefix}data.pkl", LARGEST)
            order = f"{prefix}byteorder"
            ordered = any(one.filename == order for one in members)
            if ordered and _small(path, opened, order, 64).strip() != b"little":
                raise BadFile(f"{path}: big-endian; save it again on a little-endian machine")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise BadFile(f"{path}: truncated, or no archive of torch.save ({error})") from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    places = _places(path, members, f"{prefix}data/", marks[2])
    digest = hashlib.sha256(raw + repr(sorted(places.items())).encode()).hexdigest()
    return Archive(raw, places, marks, digest)


def _prefix(path: Path, members: list[zipfile.ZipInfo]) -> str:
    names = [one.filename for one in members]
    if len({*names}) < len(names):
        raise BadFile(f"{path}: two members of the archive have one name")
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].count("/") > 1:
        raise BadFile(f"{path}: a zip archive, but not one of torch.save: it has no data.pkl")
    if any(name.endswith("/constants.pkl") or name == "constants.pkl" for name in names):
        raise BadFile(f"{path}: a TorchScript program, not a state dict; save its state_dict()")
    return pickles[0].removesuffix("data.pkl")


def _small(path: Path, opened: zipfile.ZipFile, name: str, limit: int) -> bytes:
    member = opened.getinfo(name)
    if member.file_size > limit:
        raise BadFile(f"{path}: {name} has {member.file_size:,} bytes, which is too large")
    if member.compress_type != zipfile.ZIP_STORED:
        raise BadFile(f"{path}: {name} is compressed; save it again with torch.save")
    return opened.read(member)


def _places(
    path: Path, members: list[zipfile.ZipInfo], prefix: str, size: int
) -> dict[str, tuple[int, int]]:
    """Return where the bytes of each member begin: after its own header, which is read."""
    found = {}
    with path.open("rb") as file:
        for member in members:
            if not member.filename.startswith(prefix):
                continue
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise BadFile(
                    f"{path}: {member.filename} is compressed or encrypted, so that it cannot be "
                    "read in part; save it again with torch.save"
                )
            file.seek(member.header_offset)
            head = file.read(_LOCAL)
            if len(head) < _LOCAL or head[:4] != _MAGIC:
                raise BadFile(f"{path}: {member.filename} is not where the archive says it is")
            name, extra = (int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
            begin = member.header_offset + _LOCAL + name + extra
            if begin + member.file_size > size:
                raise BadFile(f"{path}: truncated: {member.filename} ends after the file does")
            found[member.filename.removeprefix(prefix)] = begin, member.file_size
    return found
