"""A linear program in HiGHS to which rows are added, solved by the simplex method."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from geom import Floats


class _Silent(highspy.Highs):
    """A solver that prints nothing, not even the banner that versions from 1.16 print at once."""

    def enableCallbacks(self) -> None:  # noqa: N802  # the constructor calls this first
        super().setOptionValue("output_flag", False)
        super().enableCallbacks()  # type: ignore[no-untyped-call]  # highspy's own gap


class RowProgram:
    """``minimise cost . v`` for ``low <= v <= high`` in HiGHS, with rows added over time.

    The last entry of ``v`` is the margin m, the others are ``y``.
    """

    def __init__(self, cost: Floats, low: Floats, high: Floats, tolerance: float) -> None:
        self._d = cost.size - 1
        self._highs: Any = _Silent()  # type: ignore[no-untyped-call]  # highspy's own gap
        options: dict[str, Any] = {
            "threads": 1,
            "parallel": "off",
            "presolve": "off",  # a basis is kept from round to round
            "solver": "simplex",
            "simplex_strategy": 1,  # dual: a new row leaves the basis dual feasible
            "primal_feasibility_tolerance": tolerance,
            "dual_feasibility_tolerance": tolerance,
            "small_matrix_value": 1e-12,  # the default drops entries below 1e-9
        }
        for name, value in options.items():
            self._highs.setOptionValue(name, value)
        none = np.zeros(0, dtype=np.int32)
        self._highs.addCols(cost.size, cost, low, high, 0, none, none, np.zeros(0))

    def add_rows(self, rows: Floats, low: Floats, high: Floats) -> None:
        """Add dense rows (n, d + 1) with their bounds (n,)."""
        n, width = rows.shape
        starts = np.arange(0, n * width, width, dtype=np.int32)
        columns = np.tile(np.arange(width, dtype=np.int32), n)
        self._highs.addRows(n, low, high, n * width, starts, columns, rows.ravel())

    def solve(self) -> str | None:
        """Run to the optimum; return None, or the status that HiGHS ended with.

        The dual simplex can cycle on degenerate programs; past an iteration limit, the primal
        simplex tries from scratch.
        """
        self._highs.setOptionValue("simplex_iteration_limit", 5000 + 50 * self._d)
        self._highs.run()
        if self._optimal():
            return None
        self._highs.clearSolver()
        self._highs.setOptionValue("simplex_strategy", 4)
        self._highs.run()
        self._highs.setOptionValue("simplex_strategy", 1)
        return None if self._optimal() else str(self._highs.getModelStatus()).rpartition(".")[2]

    def point(self) -> tuple[Floats, float]:
        """Return ``y`` (d,) and m at the optimum."""
        values = np.array(self._highs.getSolution().col_value)
        return values[:-1], float(values[-1])

    def multipliers(self) -> Floats:
        """Return the rows' multipliers, >= 0 where a row keeps m from growing."""
        return np.asarray(np.maximum(-np.array(self._highs.getSolution().row_dual), 0.0))

    def _optimal(self) -> bool:
        return bool(self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal)
