"""What the tests can see: the least trend that so many layers show, and the measured table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftdiff.analyses.findings import nulls
from ftdiff.analyses.findings.curves import Curve, components, magnitude

#: A trend "could be seen" where it would be in so many models of a hundred.
SEEN = 0.8


def least_trend(tested: Sequence[Curve], q: float = 0.01, seen: float = SEEN) -> float:
    """Return the trend, in percent over all layers, that would be seen in one component.

    That of the median component: its noise around the line and the pooled φ decide; infinite
    where nothing was tested.
    """
    from scipy.special import ndtri, stdtrit

    sizes = []
    mine = components(tested)
    for curve in mine:
        n = len(curve.log)
        white = nulls.shapes(n, curve.phi).whiten
        depth = np.linspace(0, 1, n)
        line = white @ depth
        unit = line / np.linalg.norm(line)
        left = white @ nulls.clipped(curve.log)
        left = left - (left @ unit) * unit
        noise = np.sqrt(left @ left / (n - 2) + nulls.LEAST_SQ)
        needed = stdtrit(n - 2, 1 - q / (2 * (len(mine) + 1))) + ndtri(seen)
        sizes.append(float(noise * needed / np.linalg.norm(line)))
    return magnitude(float(np.median(sizes))) if sizes else float("inf")
