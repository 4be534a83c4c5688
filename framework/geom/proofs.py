"""Bounds and proofs in exact arithmetic, for measures, certifiers and comparisons.

Each function takes the result of a search, a point or weights, and returns only bounds that hold
for the exact numbers. `geom.judge` draws a verdict from a point and weights.
"""

from geom.exact.angles import angle_bounds
from geom.exact.balls import ball_bounds
from geom.exact.bulk import own_direction, prove_own_directions, prove_points
from geom.exact.changes import freeing_bounds, silencing_bounds
from geom.exact.habits import surprise_bounds
from geom.exact.margins import margin_bounds
from geom.exact.probability import probability_bounds
from geom.exact.ranks import joined_weights, rank_bounds, separate_weights
from geom.exact.rational import rational_weights
from geom.exact.scatter import Scatter
from geom.exact.thresholds import threshold_bounds

__all__ = [
    "Scatter",
    "angle_bounds",
    "ball_bounds",
    "freeing_bounds",
    "joined_weights",
    "margin_bounds",
    "own_direction",
    "probability_bounds",
    "prove_own_directions",
    "prove_points",
    "rank_bounds",
    "rational_weights",
    "separate_weights",
    "silencing_bounds",
    "surprise_bounds",
    "threshold_bounds",
]
