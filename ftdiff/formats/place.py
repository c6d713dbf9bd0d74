"""What the user names: a folder or a file in one, here, on the hub, or at an address."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ftdiff.errors import BadFile, near
from ftdiff.formats.folder import Folder, LocalFolder
from ftdiff.formats.irregular import refuse_irregular
from ftdiff.tensors import Source

#: Two words of letters, digits, dots, dashes and underscores; the second has no file's suffix.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_SUFFIXES = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".json", ".csv", ".parquet"),
    *(".index", ".zip", ".tar", ".npz", ".pkl"),
)
#: Names that are looked at for one that is nearly what was typed.
_BESIDE = 1000
_HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")
_CACHED = re.compile(r"models--[^/]+--[^/]+")


@dataclass(frozen=True)
class Place:
    """A folder, or what is called so in it, whether or not it is there.

    It is asked as a path is, wherever it lies. Its text is what `find` finds it by.

    Attributes
    ----------
    folder
        The folder that is meant, or that the file is in.
    file
        The name in it; "" where the folder itself is meant.
    """

    folder: Folder
    file: str = ""

    def __str__(self) -> str:
        return self.folder.called(self.file) if self.file else self.folder.name

    @property
    def name(self) -> str:
        """The last part of its text: the file's name, or the folder's."""
        return self.file or self.folder.name.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Place:
        """The folder that it is in."""
        return Place(self.folder) if self.file else Place(self.folder.above())

    @property
    def home(self) -> Place:
        """The folder that is meant: itself, or the one that the file is in."""
        return self if self.is_dir() else self.parent

    def __truediv__(self, name: str) -> Place:
        return Place(self.folder.within(self.file) if self.file else self.folder, name)

    def is_dir(self) -> bool:
        """Say whether it is a folder."""
        return not self.file or self.folder.has_folder(self.file)

    def is_file(self) -> bool:
        """Say whether it is a file that is there."""
        return bool(self.file) and self.folder.has_file(self.file)

    def exists(self) -> bool:
        """Say whether it is there."""
        return self.is_file() or self.is_dir()

    def files(self, *endings: str) -> list[Place]:
        """Return the files right in it whose names end so (all if none is named), by name.

        Raises
        ------
        BadFile
            What is named so is a pipe, a device, or a link to nowhere; of all, such are left out.
        """
        if not self.is_dir():
            return []
        folder = self.folder.within(self.file) if self.file else self.folder
        held = sorted(folder.files().items())
        if not endings:
            return [Place(folder, name) for name, size in held if size >= 0]
        named = [(name, size) for name, size in held if name.endswith(endings)]
        return [Place(folder, n) for n, size in named if size >= 0 or folder.has_file(n)]

    def folders(self) -> list[Place]:
        """Return the folders right in it, by name."""
        if not self.is_dir():
            return []
        folder = self.folder.within(self.file) if self.file else self.folder
        return [Place(folder.within(name)) for name in sorted(folder.folders())]

    def read(self, limit: int) -> bytes:
        """Return a small file whole; see `Folder`."""
        return self.folder.read(self.file, limit)

    def source(self) -> Source:
        """Return a file as a source of bytes; see `Folder`."""
        return self.folder.source(self.file)


def here(path: str | os.PathLike[str]) -> Place:
    """Return the place of a path of this machine, whether or not it is there."""
    at = Path(path)
    return Place(LocalFolder(at)) if at.is_dir() else Place(LocalFolder(at.parent), at.name)


def find(text: str | os.PathLike[str] | Place) -> Place:
    """Return the place that is meant.

    A path comes first. Only `name/name`, which is no path here, whose first part is no folder here
    and which has no suffix of a file, is taken for a repository of the hub; `./`, `../`, `/`, `~`
    and deeper paths never are, nor is a `pathlib.Path`.

    Raises
    ------
    BadFile
        There is no such thing.
    """
    if isinstance(text, Place):
        return text
    name = os.fspath(text)
    if not name:
        raise BadFile("'': an empty path; this folder is called .")
    try:
        scheme = urlsplit(name).scheme if "://" in name else ""
    except ValueError as error:
        raise BadFile(f"{name}: no address: {error}") from error
    if scheme == "hf":
        return _of_hub(name, name.removeprefix("hf://"))
    if scheme and scheme != "file":
        return _of_url(name, scheme)
    path = Path(unquote(urlsplit(name).path) if scheme else name).expanduser()
    try:
        if path.is_dir():
            return Place(LocalFolder(_snapshot(path)))
        refuse_irregular(path)
        if path.exists():
            return Place(LocalFolder(path.parent), path.name)
    except (OSError, ValueError, RuntimeError) as error:
        raise BadFile(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    if isinstance(text, str) and is_repository(name):
        return _of_hub(name, name)
    raise BadFile(f"{name}: no such file or folder{_perhaps(name)}{_near(path)}")


def again(text: str) -> Place | None:
    """Return the place that a result's source names; None where nothing is there any more."""
    try:
        return find(text)
    except BadFile:
        return None


def is_repository(text: str) -> bool:
    """Say whether a text that is no path here is written as a repository of the hub is."""
    return (
        _REPOSITORY.fullmatch(text) is not None
        and not text.lower().endswith(_SUFFIXES)
        and not os.path.lexists(text)
        and not os.path.isdir(text.partition("/")[0])
    )


def _of_hub(name: str, rest: str) -> Place:
    """Read `org/name[@revision][/path]`."""
    from ftdiff.formats.remote import hub

    found = re.fullmatch(r"([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?", rest)
    if found is None:
        raise BadFile(f"{name}: a repository is written hf://org/name, hf://org/name@revision")
    if found[1].partition("/")[0] in ("datasets", "spaces"):
        raise BadFile(f"{name}: a repository of {found[1].partition('/')[0]}, not of models")
    folder: Folder = hub.open_(hub.Repository(found[1], unquote(found[2] or "")))
    words = [word for word in (found[3] or "").split("/") if word]
    for word in words[:-1]:
        folder = folder.within(word)
    if not words:
        return Place(folder)
    if folder.has_file(words[-1]):
        return Place(folder, words[-1])
    if folder.has_folder(words[-1]):
        return Place(folder.within(words[-1]))
    raise BadFile(f"{name}: no {'/'.join(words)} in the repository")


def _of_url(name: str, scheme: str) -> Place:
    from ftdiff.formats.remote import filesystems, urls

    if scheme not in urls.SCHEMES:
        if not filesystems.is_known(scheme):
            raise BadFile(f"{name}: addresses of {scheme}:// are not read")
        place = Place(*filesystems.split(name))
        if not place.file and not (place.files() or place.folders()):
            raise BadFile(f"{place}: there is no such file or folder")
        return place
    parts = urlsplit(name)
    if parts.hostname in _HUB_HOSTS:
        found = re.fullmatch(
            r"/([^/]+/[^/]+)/?(?:/(?:tree|blob|resolve)/([^/]+)(?:/(.*))?)?", parts.path
        )
        if found is not None:
            revision = f"@{found[2]}" if found[2] else ""
            return _of_hub(name, f"{found[1]}{revision}/{found[3] or ''}")
    folder, file = urls.split(name)
    if parts.scheme in urls.BUCKETS and file and not folder.has_file(file):
        folder, file = folder.within(file), ""
    if not file and parts.scheme in urls.WEB:
        raise BadFile(f"{name}: a web server does not tell what a folder holds; name a file in it")
    if file and not folder.has_file(file):
        raise BadFile(f"{folder.called(file)}: there is no such file")
    return Place(folder, file)


def _snapshot(path: Path) -> Path:
    """Return the snapshot in a repository's folder of the hub's cache; any other folder itself."""
    if _CACHED.fullmatch(path.resolve().name) is None or not (path / "snapshots").is_dir():
        return path
    main = path / "refs" / "main"
    held = sorted(one for one in (path / "snapshots").iterdir() if one.is_dir())
    if main.is_file() and main.stat().st_size <= 4096:  # a revision
        named = path / "snapshots" / main.read_text(encoding="utf-8", errors="replace").strip()
        if named in held:
            return named
    if len(held) == 1:
        return held[0]
    raise BadFile(f"{path}: the hub's cache, with {len(held)} snapshots; name one of them")


def _near(path: Path) -> str:
    """Suggest what is nearly called so beside it; "" where nothing is."""
    try:
        return near(path.name, (one.name for one in islice(path.parent.iterdir(), _BESIDE)))
    except OSError:
        return ""


def _perhaps(name: str) -> str:
    if _REPOSITORY.fullmatch(name) and not name.lower().endswith(_SUFFIXES):
        return f", and no repository is asked for, since {name.partition('/')[0]} is a folder here"
    return ""
