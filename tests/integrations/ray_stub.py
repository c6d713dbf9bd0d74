"""A stand-in of Ray: the calls that are made of it, on this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any


class WorkerCrashedError(Exception):
    """Called as Ray's is."""


class Ref:
    """What a task will have given."""

    def __init__(self, outcome: Future[Any]) -> None:
        self._outcome = outcome

    def future(self) -> Future[Any]:
        return self._outcome


class Ray(SimpleNamespace):
    """A cluster that runs a task when it is handed out; one that is given 5 ends its worker."""

    def __init__(self, cpus: float, *, running: bool = True) -> None:
        super().__init__(cpus=cpus, running=running, made=[])

    def is_initialized(self) -> bool:
        return bool(self.running)

    def init(self, address: str = "") -> None:
        self.running = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} if self.cpus else {}

    def remote(self, *function: Callable[..., Any], **options: Any) -> Any:
        if options:
            assert not function
            return lambda function: self._made(function, options)
        return self._made(*function, {})

    def _made(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        self.made.append((function, options))
        return SimpleNamespace(remote=lambda *args: Ref(self._run(function, args)))

    def _run(self, function: Callable[..., Any], args: Any) -> Future[Any]:
        there, (fn, given, more) = pickle.loads(pickle.dumps((function, args)))
        outcome: Future[Any] = Future()
        try:
            if 5 in given[1]:
                raise WorkerCrashedError("The worker died")
            outcome.set_result(there(fn, given, more))
        except Exception as error:  # noqa: BLE001 - as Ray's: it is raised where it is asked for
            outcome.set_exception(error)
        return outcome
