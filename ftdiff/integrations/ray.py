"""Ray's workers as an executor: `ftdiff.compare(base, tuned, executor=RayExecutor())`.

Any other scheduler of tasks becomes one in the same way: `submit`, and `threads` where it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from ftdiff.errors import require


class RayExecutor(Executor):
    """The workers of the Ray cluster that this process is connected to, or starts.

    Every worker needs ftdiff of this version and the same paths, with the files or copies of them.

    Parameters
    ----------
    **options
        Of `ray.remote`: `num_cpus`, `max_retries`, `scheduling_strategy`, …

    Raises
    ------
    MissingExtra
        Ray is not installed.

    Examples
    --------
    ::

        ray.init("auto")
        ftdiff.compare(base, tuned, executor=RayExecutor(num_cpus=1))
    """

    def __init__(self, **options: Any) -> None:
        ray = require("ray", "ray", "RayExecutor")
        if not ray.is_initialized():
            ray.init()
        self._cpus = options.get("num_cpus", 1)
        self._call = ray.remote(**options)(_call) if options else ray.remote(_call)
        self._ray = ray

    @property
    def threads(self) -> int:
        """How many tasks run at a time, on all nodes that are there."""
        there = self._ray.cluster_resources().get("CPU", 0)
        return int(there // self._cpus) if self._cpus else int(there)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call `fn`."""
        future: Future[Any] = self._call.remote(fn, args, kwargs).future()
        return future


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)
