"""The zip file of `torch.save`: members are stored as they are, so that each is a place in it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from ftdiff.errors import BadFile
from ftdiff.formats import source_file
from ftdiff.formats.pickles import LARGEST
from ftdiff.tensors import Source

_LOCAL = 30  # bytes of a member's own header before its name
_ALIGNED = 64  # torch lets each member's bytes begin at a multiple of so many
#: Bytes of what follows a member, if its flags tell of it: sizes of 32 or 64 bits.
_DESCRIPTORS, _DESCRIBED = (16, 24), 8
#: Sizes and places from which on a zip archive writes 64 bits.
_LARGE = 0xFFFFFFFF
_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Archive:
    """An opened archive.

    Attributes
    ----------
    pickle
        The bytes of `data.pkl`.
    places
        Where in the source each member below `data/` begins, and its bytes.
    digest
        Of the pickle and the places.
    """

    pickle: bytes
    places: Mapping[str, tuple[int, int]]
    digest: str


def is_zip(source: Source) -> bool:
    """Say whether a file begins as a zip archive does."""
    with source.lend(0, min(4, source.size)) as lent:
        return bytes(lent) == _MAGIC


def read(
    source: Source, start: int = 0, stop: int | None = None, window: int = source_file.BUFFER
) -> Archive:
    """Read the directory of an archive and its pickle; no tensor.

    Parameters
    ----------
    source, start, stop
        The bytes that the archive is; all of them by default.
    window
        Bytes that are read at a time.

    Raises
    ------
    BadFile
        It is no archive of `torch.save`, is truncated, or a member is compressed or encrypted.
    """
    stop = source.size if stop is None else stop
    file = source_file.opened(source, start, stop, window)
    try:
        with zipfile.ZipFile(file) as opened:
            members = opened.infolist()
            prefix = _prefix(source, members)
            raw = _small(source, opened, f"{prefix}data.pkl", LARGEST)
            order = f"{prefix}byteorder"
            ordered = any(one.filename == order for one in members)
            if ordered and _small(source, opened, order, 64).strip() != b"little":
                raise BadFile(f"{source.name}: big-endian; save it again on another machine")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        reason = f"truncated, or no archive of torch.save ({error})"
        raise BadFile(f"{source.name}: {reason}") from error
    inside = _places(source, file, members, f"{prefix}data/", stop - start)
    places = {name: (start + begin, size) for name, (begin, size) in inside.items()}
    digest = hashlib.sha256(raw + repr(sorted(inside.items())).encode()).hexdigest()
    return Archive(raw, places, digest)


def _prefix(source: Source, members: list[zipfile.ZipInfo]) -> str:
    names = [one.filename for one in members]
    if len({*names}) < len(names):
        raise BadFile(f"{source.name}: two members of the archive have one name")
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].count("/") > 1:
        raise BadFile(f"{source.name}: a zip archive without data.pkl, so not one of torch.save")
    if any(name.endswith("/constants.pkl") or name == "constants.pkl" for name in names):
        raise BadFile(f"{source.name}: a TorchScript program; save its state_dict()")
    return pickles[0].removesuffix("data.pkl")


def _small(source: Source, opened: zipfile.ZipFile, name: str, limit: int) -> bytes:
    member = opened.getinfo(name)
    if member.file_size > limit:
        raise BadFile(f"{source.name}: {name} has {member.file_size:,} bytes, which is too large")
    if member.compress_type != zipfile.ZIP_STORED:
        raise BadFile(f"{source.name}: {name} is compressed; save it again with torch.save")
    return opened.read(member)


def _places(
    source: Source,
    file: io.BufferedReader,
    members: list[zipfile.ZipInfo],
    prefix: str,
    size: int,
) -> dict[str, tuple[int, int]]:
    """Return where the bytes of each member begin: after its own header, which is read."""
    found = {}
    laid = {} if source.is_local else _laid(members)
    for member in members:
        name = member.filename
        if not name.startswith(prefix):
            continue
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise BadFile(
                f"{source.name}: {name} is compressed or encrypted, so that it cannot be read in "
                "part; save it again with torch.save"
            )
        begin = laid.get(name)
        if begin is None:
            file.seek(member.header_offset)
            head = file.read(_LOCAL)
            if len(head) < _LOCAL or head[:4] != _MAGIC:
                raise BadFile(f"{source.name}: {name} is not where the archive says it is")
            lengths = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
            begin = member.header_offset + _LOCAL + sum(lengths)
        if begin + member.file_size > size:
            raise BadFile(f"{source.name}: truncated: {name} ends after the file does")
        found[name.removeprefix(prefix)] = begin, member.file_size
    return found


def _laid(members: list[zipfile.ZipInfo]) -> dict[str, int]:
    """Return where members begin whose place torch's way of laying them out leaves no doubt of.

    A member's own header, which alone says how much torch put in for the alignment, lies before its
    bytes: a request for each, of a remote file. So a member is believed to be where torch aligns it
    to, if it then ends just where the next one begins.
    """
    found = {}
    ordered = sorted(members, key=lambda member: member.header_offset)
    for member, after in pairwise(ordered):
        size, cursor = member.file_size, member.header_offset
        wide = (16 if size >= _LARGE else 0) + (8 if cursor >= _LARGE else 0)
        start = cursor + _LOCAL + len(member.filename.encode()) + 4 + (wide + 4 if wide else 0)
        begin = -(-start // _ALIGNED) * _ALIGNED
        ends = _DESCRIPTORS if member.flag_bits & _DESCRIBED else (0,)
        if after.header_offset - begin - size in ends:
            found[member.filename] = begin
    return found
