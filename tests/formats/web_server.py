"""A web server that answers as the hub does, with its files on another host, and as it fails."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


#: How files are called that the hub keeps on another host.
LARGE = (".safetensors", ".bin", ".gguf", ".distcp", ".tar")


@dataclass
class Web:
    """What is served, how it fails, and what was asked.

    `repositories` are folders by id. Every `cut`-th body of a range ends in its middle. `answers`
    holds statuses that are given in turn before anything else; `status` is given always. Ranges
    behind a file's beginning wait for `stall` seconds.
    """

    repositories: dict[str, Path]
    cut: int = 0
    status: int = 0
    gated: bool = False
    answers: list[int] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    sent: int = 0
    stall: float = 0.0
    bodies: int = 0
    hub: str = ""
    files: str = ""

    def ranges(self) -> list[tuple[int, int]]:
        """Return the ranges that the files' host was asked for."""
        found = (re.fullmatch(r"bytes=(\d+)-(\d+)", rng) for _, _, rng in self.asked if rng)
        return [(int(one[1]), int(one[2]) + 1) for one in found if one]


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    """Serve until the block ends: the hub at one address, the files at another."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_Hub, web))
    files = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_Files, web))
    web.hub = f"http://127.0.0.1:{hub.server_port}"
    web.files = f"http://127.0.0.1:{files.server_port}"
    for server in (hub, files):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield web
    finally:
        for server in (hub, files):
            server.shutdown()
            server.server_close()


def _handler(kind: type[_Handler], web: Web) -> type[_Handler]:
    return type(kind.__name__, (kind,), {"web": web})


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        raise NotImplementedError

    def give(self, status: int, raw: bytes = b"", body: bool = True, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw)
            self.web.sent += len(raw)


class _Hub(_Handler):
    def answer(self, *, body: bool) -> None:
        web, path = self.web, urlsplit(self.path).path
        web.asked.append((self.command, f"hub{path}", ""))
        if web.answers and (status := web.answers.pop(0)) != 200:
            return self.give(status, b"{}", body)
        if web.status:
            return self.give(web.status, b"{}", body)
        if web.gated:
            return self.give(403, b"{}", body, X_Error_Code="GatedRepo")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        if api:
            return self._info(api[1], api[2] or "main", body)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not file or file[1] not in web.repositories:
            return self.give(401, b"{}", body, X_Error_Code="RepoNotFound")
        at = web.repositories[file[1]] / file[3]
        if not at.is_file():
            return self.give(404, b"{}", body, X_Error_Code="EntryNotFound")
        raw = at.read_bytes()
        told = {"X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        if at.suffix in LARGE:
            linked = {"X_Linked_Etag": f'"{_sha(raw)}"', "X_Linked_Size": str(len(raw))}
            place = f"{web.files}/{file[1]}/{file[3]}?signature=secret"
            return self.give(302, b"", body, Location=place, **linked, **told)
        return self.give(200, raw, body, ETag=f'"{_sha(raw)}"', **told)

    def _info(self, name: str, revision: str, body: bool) -> None:
        root = self.web.repositories.get(name)
        if root is None:
            return self.give(401, b"{}", body, X_Error_Code="RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.give(404, b"{}", body, X_Error_Code="RevisionNotFound")
        siblings = []
        for at in sorted(root.rglob("*")):
            if at.is_file():
                raw = at.read_bytes()
                one = {"rfilename": str(at.relative_to(root)), "size": len(raw), "blobId": "b"}
                if at.suffix in LARGE:
                    one["lfs"] = {"sha256": _sha(raw), "size": len(raw), "pointerSize": 134}
                siblings.append(one)
        info = {"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
        return self.give(200, json.dumps(info).encode(), body, Content_Type="application/json")


class _Files(_Handler):
    def answer(self, *, body: bool) -> None:
        web, path = self.web, urlsplit(self.path).path
        web.asked.append((self.command, f"files{path}", self.headers.get("Range", "")))
        web.tokens += [self.headers["Authorization"]] if self.headers["Authorization"] else []
        if web.answers and (status := web.answers.pop(0)) != 200:
            return self.give(status, b"", body)
        name, _, inside = path.removeprefix("/").partition("/")
        name, _, inside = f"{name}/{inside}".partition("/")[0], "", path
        root = next((r for i, r in web.repositories.items() if path.startswith(f"/{i}/")), None)
        key = next((i for i in web.repositories if path.startswith(f"/{i}/")), "")
        at = None if root is None else root / inside.removeprefix(f"/{key}/")
        if at is None or not at.is_file():
            return self.give(404, b"", body)
        raw = at.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        told = {"Accept_Ranges": "bytes", "ETag": f'"{_sha(raw)}"'}
        told["Last_Modified"] = "Sat, 28 Nov 2026 10:00:00 GMT"
        if wanted is None:
            return self.give(200, raw, body, **told)
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(raw))
        part = raw[start:stop]
        told["Content_Range"] = f"bytes {start}-{stop - 1}/{len(raw)}"
        web.bodies += 1
        time.sleep(web.stall if start else 0)
        if web.cut and web.bodies % web.cut == 0 and len(part) > 1:
            told["Content_Length"] = str(len(part))
            self.close_connection = True
            return self.give(206, part[: len(part) // 2], body, **told)
        return self.give(206, part, body, **told)


def _sha(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
