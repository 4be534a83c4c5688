"""The best mixture of a hull's points as a linear program in HiGHS, rival by rival.

The largest margin of token t over the hull of points ``p_i`` is the value of

    maximise m  subject to  M y + m <= 0,  y >= 0,  sum(y) = 1,

with ``M_ji = a_j . p_i + c_j`` (`geom_plugins.solvers.mixtures`). Rivals that its answer violates
are added, and the dual simplex continues from the last basis.
"""

from __future__ import annotations

import math

import numpy as np

from geom_plugins.certifiers.simplex import RowProgram
from geom_plugins.solvers.mixtures import Board


def solved(board: Board, rounds: int, tolerance: float) -> str | None:
    """Search for the best mixture and weights; return why it ended without them, or None."""
    n = len(board.points)
    cost = np.append(np.zeros(n), -1.0)
    low, high = np.append(np.zeros(n), -math.inf), np.append(np.ones(n), math.inf)
    program = RowProgram(cost, low, high, tolerance)
    program.add_rows(np.append(np.ones(n), 0.0)[None], np.ones(1), np.ones(1))
    added = 0
    for _ in range(rounds):
        rows = board.payoffs[added:] / board.scale
        added = len(board.payoffs)
        rows = np.column_stack([rows, np.ones(len(rows))])
        program.add_rows(rows, np.full(len(rows), -math.inf), np.zeros(len(rows)))
        status = program.solve()
        if status is not None:
            return f"HiGHS ended with {status}"
        y, m = program.point()
        board.weigh(board.ids, program.multipliers()[1:])
        grew = board.grow(y, (m - tolerance) * board.scale)
        if board.settled():
            return None
        if not grew:
            return "the largest margin is too near to zero"
    return f"no answer in {rounds} rounds"
