"""The truths of these tests, each checked against a second one from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from support import truth


@pytest.mark.parametrize("seed", range(5))
def test_the_exact_simplex_agrees_with_qhull(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(9, 2)), rng.normal(size=9)
    free = {t for t in range(9) if truth.largest_margin(W, b, t) > 0}
    boxed = {t for t in range(9) if truth.largest_margin(W, b, t, 0.5) > 0}
    assert (free, boxed) == (truth.upper_hull_tokens(W, b), truth.box_tokens(W, b, 0.5))
