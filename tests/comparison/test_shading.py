from __future__ import annotations

import numpy as np
import pytest

from ftdiff.comparison.shading import Shading, shading
from ftdiff.metrics import METRICS

BOTH, POSITIVE = np.array([-0.5, 0.2, np.nan]), np.array([0.1, 0.9, np.nan])


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("relative_norm", POSITIVE, Shading()),
        ("lift", POSITIVE, Shading("about", 1.0, log=True)),
        ("cosine", POSITIVE, Shading("sequential")),
        ("cosine", BOTH, Shading("about", 0.0)),
        ("energy_share", POSITIVE, Shading("sequential")),
        ("projection_energy_left", POSITIVE, Shading("sequential")),
        ("slope", BOTH, Shading("about", 0.0)),
        ("a number of elsewhere", BOTH, Shading()),
    ],
)
def test_colours_are_chosen_by_what_the_numbers_are(
    metric: str, values: np.ndarray, expected: Shading
) -> None:
    assert shading(metric, values) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_colours_that_grow_with_it(metric: str) -> None:
    values = np.geomspace(0.01, 0.99, 9)
    found = shading(metric, values)
    shares = [found.share(value, 0.01, 0.99) for value in values.tolist()]
    assert shares == sorted(shares) and shares[0] < shares[-1]
    assert all(0 <= share <= 1 for share in shares)


def test_a_lift_and_its_inverse_are_as_far_from_white() -> None:
    about = Shading("about", 1.0, log=True)
    assert about.share(1.0, 0.1, 3.0) == 0.5
    assert about.share(3.0, 0.1, 3.0) - 0.5 == pytest.approx(0.5 - about.share(1 / 3, 0.1, 3.0))
    assert about.share(0.0, 0.1, 3.0) == 0.0
