"""What the user names: a folder or a file in one, here, on the hub, or at an address."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ftdiff.errors import BadFile
from ftdiff.formats.folder import Folder, LocalFolder
from ftdiff.formats.remote import hub, urls

#: Two words of letters, digits, dots, dashes and underscores; the second has no file's suffix.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_SUFFIXES = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".json", ".csv", ".parquet"),
    *(".index", ".zip", ".tar", ".npz", ".pkl"),
)
_HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")
_CACHED = re.compile(r"models--[^/]+--[^/]+")


@dataclass(frozen=True)
class Place:
    """A folder, or a file in it.

    Attributes
    ----------
    folder
        The folder that is meant, or that the file is in.
    file
        The file's name; "" where the folder itself is meant.
    name
        As the user wrote it.
    """

    folder: Folder
    file: str
    name: str

    @property
    def is_folder(self) -> bool:
        """Whether the folder itself is meant."""
        return not self.file


def find(text: str | os.PathLike[str]) -> Place:
    """Return the place that is meant.

    A path comes first. Only `name/name`, which is no path here, whose first part is no folder here
    and which has no suffix of a file, is taken for a repository of the hub; `./`, `../`, `/`, `~`
    and deeper paths never are.

    Raises
    ------
    BadFile
        There is no such thing.
    """
    name = os.fspath(text)
    if not name:
        raise BadFile("'': an empty path; this folder is called .")
    scheme = urlsplit(name).scheme if "://" in name else ""
    if scheme == "hf":
        return _of_hub(name, name.removeprefix("hf://"))
    if scheme in urls.SCHEMES:
        return _of_url(name)
    if scheme and scheme != "file":
        raise BadFile(f"{name}: addresses of {scheme}:// are not read")
    path = Path(unquote(urlsplit(name).path) if scheme else name).expanduser()
    if path.is_dir():
        return Place(LocalFolder(_snapshot(path)), "", name)
    if path.exists():
        return Place(LocalFolder(path.parent), path.name, name)
    if is_repository(name):
        return Place(hub.open_(hub.Repository(name)), "", name)
    raise BadFile(f"{name}: no such file or folder{_perhaps(name)}")


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
    found = re.fullmatch(r"([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?", rest)
    if found is None:
        raise BadFile(f"{name}: a repository is written hf://org/name, hf://org/name@revision")
    revision = unquote(found[2] or "")
    folder: Folder = hub.open_(hub.Repository(found[1], revision))
    words = [word for word in (found[3] or "").split("/") if word]
    for word in words[:-1]:
        folder = folder.within(word)
    if not words:
        return Place(folder, "", name)
    if words[-1] in folder.files():
        return Place(folder, words[-1], name)
    if words[-1] in folder.folders():
        return Place(folder.within(words[-1]), "", name)
    raise BadFile(f"{name}: no {'/'.join(words)} in the repository")


def _of_url(name: str) -> Place:
    parts = urlsplit(name)
    if parts.hostname in _HUB_HOSTS:
        found = re.fullmatch(
            r"/([^/]+/[^/]+)/?(?:/(?:tree|blob|resolve)/([^/]+)(?:/(.*))?)?", parts.path
        )
        if found is not None:
            revision = f"@{found[2]}" if found[2] else ""
            return _of_hub(name, f"{found[1]}{revision}/{found[3] or ''}")
    folder, file = urls.split(name)
    if parts.scheme in urls.BUCKETS and file and file not in folder.files():
        folder, file = folder.within(file), ""
    if not file and parts.scheme in urls.WEB:
        raise BadFile(f"{name}: a web server does not tell what a folder holds; name a file in it")
    return Place(folder, file, name)


def _snapshot(path: Path) -> Path:
    """Return the snapshot in a repository's folder of the hub's cache; any other folder itself."""
    if _CACHED.fullmatch(path.resolve().name) is None or not (path / "snapshots").is_dir():
        return path
    main = path / "refs" / "main"
    held = sorted(one for one in (path / "snapshots").iterdir() if one.is_dir())
    if main.is_file():
        named = path / "snapshots" / main.read_text(encoding="utf-8", errors="replace").strip()
        if named in held:
            return named
    if len(held) == 1:
        return held[0]
    raise BadFile(f"{path}: the hub's cache, with {len(held)} snapshots; name one of them")


def _perhaps(name: str) -> str:
    if _REPOSITORY.fullmatch(name) and not name.lower().endswith(_SUFFIXES):
        return f", and no repository is asked for, since {name.partition('/')[0]} is a folder here"
    return ""
