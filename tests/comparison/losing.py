"""An executor whose worker dies of some pieces, and one that notes in which order tasks began."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any


class Losing(Executor):
    """Runs tasks at once; one with a deadly piece is lost, and so is each bundle's first try."""

    def __init__(self, deadly: Callable[[Any], bool], *, bundles: bool = False) -> None:
        self.deadly, self.bundles = deadly, bundles
        self.tasks: list[list[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        pieces = [*args[1]]
        self.tasks.append(pieces)
        if any(map(self.deadly, pieces)) or (self.bundles and len(pieces) > 1):
            future.set_exception(BrokenExecutor("the worker is gone\nfor good"))
        else:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001
                future.set_exception(error)
        return future


def about(name: str) -> Callable[[Any], bool]:
    """Say of any piece whether it is of the tensor of that name."""

    def of_it(piece: Any) -> bool:
        one = piece[0] if isinstance(piece, tuple) else getattr(piece, "change", piece)
        return bool(one.address.name == name)

    return of_it
