"""Where the measuring happens: threads here, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ftdiff.comparison.threads import pool
from ftdiff.errors import BadCall, require


@contextmanager
def executor(*, threads: int | None = None, dask: str | None = None) -> Iterator[Executor | None]:
    """Lend an executor; None stands for the engine's own choice, a thread for each core.

    Parameters
    ----------
    threads
        Number of threads of this process.
    dask
        Address of a Dask scheduler, such as "tcp://host:8786"; its workers need the same paths.

    Raises
    ------
    BadCall
        Both are given, or fewer than one thread.
    MissingExtra
        Dask is not installed.
    """
    if threads is not None and dask is not None:
        raise BadCall("either threads of this process (-j) or a Dask cluster (--dask), not both")
    if dask is not None:
        with _dask(dask) as workers:
            yield workers
    elif threads is not None:
        if threads < 1:
            raise BadCall(f"-j {threads}: at least one thread is needed")
        with pool(threads) as workers:
            yield workers
    else:
        yield None


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    distributed = require("distributed", "dask", "--dask")
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise BadCall(f"--dask {address}: no scheduler answers there") from error
    with client:
        # pure=False: a file that has changed must be read again, not remembered
        yield client.get_executor(pure=False)
