"""Where an exact spectrum is worked out: by NumPy, or on a device of torch's that is named."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ftdiff.errors import BadCall, one_line, require
from ftdiff.tensors import Array

#: What torch raises for a name that it does not know, and for a device that is not there.
_ABSENT = (RuntimeError, AssertionError, ImportError, ValueError, TypeError)


def seen(device: str) -> None:
    """Take an eigenvalue on a device, so that it is known to be there before work begins.

    Raises
    ------
    BadCall
        Torch does not know the device, does not see it here, or has no float64 there.
    MissingExtra
        Torch is not installed.
    """
    torch = _torch(device)
    try:
        with warnings.catch_warnings():  # of a driver that is missing: the error says so
            warnings.simplefilter("ignore")
            eigenvalues(placed(np.ones((1, 1)), device))
    except _ABSENT as error:
        cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        there = ", ".join(["cpu", *cuda])
        raise BadCall(
            f"--device {one_line(device)}: torch sees no such device with float64; it sees {there}"
        ) from error


def placed(M: Array, device: str | None) -> Any:
    """Return a float64 matrix where it is worked on: itself, or a tensor on the device."""
    if device is None:
        return M
    torch = _torch(device)
    return torch.from_numpy(np.require(M, requirements=["C", "W"])).to(device)


def eigenvalues(G: Any) -> Array:
    """Return the eigenvalues of a symmetric matrix, smallest first, from where it is."""
    if isinstance(G, np.ndarray):
        values: Array = np.linalg.eigvalsh(G)
        return values
    found: Array = _torch(str(G.device)).linalg.eigvalsh(G).cpu().numpy()
    return found


@contextmanager
def working(device: str | None) -> Iterator[None]:
    """Translate what torch says when a device fails, such as that its memory is full.

    Raises
    ------
    BadCall
        The device failed.
    """
    try:
        yield
    except RuntimeError as error:
        if device is None:
            raise
        said = one_line(str(error).partition("\n")[0])
        raise BadCall(
            f"--device {device}: {said}; fewer tensors at a time (-j 1), or no device, need less"
        ) from error


def _torch(device: str) -> Any:
    return require("torch", "gpu", f"--device {one_line(device)}")
