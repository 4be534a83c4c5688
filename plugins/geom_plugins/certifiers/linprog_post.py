"""The ``linprog-post`` certifier: the blog post's linear program, kept for the record.

The post ("A mechanistic explanation for SolidGoldMagikarp-like tokens in GPT2", LessWrong, 2023)
called a token unspeakable when SciPy's `linprog` found no x in the box ``|x_i| <= 1`` with

    (w_j - w_t) . x <= -margin        for every row j of W

"Every row" is its slip: row t itself reads ``0 <= -margin``, which no x satisfies. If the margin
is above the solver's feasibility tolerance, 1e-7 in HiGHS, every token of every model comes out
infeasible. At 1e-7 the answer depends on what the tolerance lets pass, and below it a token deep
inside the hull can come out feasible, at an x near 0. The biases were left out at first, so even
without the slip the program did not ask about the model's own argmax. And either answer rested on
the word of a floating-point solver.

Here the program runs as it was, or corrected option by option, so that its tables can be compared
with proven ones. Its findings are marked *historical*, and like any finding they count for nothing
until `geom.judge` has proven them. It never says unspeakable, because it gives no weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from geom import Certifier, Finding, Floats, Problem, hookimpl

OPTIMAL, INFEASIBLE = 0, 2
"""The values of SciPy's ``status`` that mean an answer."""


@dataclass(frozen=True)
class PostOptions:
    """How the post's program is posed; the defaults are the post's."""

    margin: Annotated[float, Meta(gt=0, description="margin asked for, in logits")] = 1e-7
    bias: Annotated[bool, Meta(description="use the biases, which the post left out")] = False
    own_row: Annotated[
        bool, Meta(description="keep the token's own row, 0 <= -margin: the post's slip")
    ] = True


def certify(problem: Problem, token: int, prior: Finding, options: PostOptions) -> Finding:
    """Return the point of HiGHS if it calls the program feasible; otherwise only a note."""
    answer = solve(problem, token, options)
    name = "the post's program" if options.own_row else "the post's program without its own row"
    if answer.status == INFEASIBLE:
        said = f"calls it infeasible (HiGHS status {answer.status}); that proves nothing"
        return Finding(note=f"historical: {name} {said}")
    if answer.status != OPTIMAL or answer.x is None:
        said = f"got no answer (HiGHS status {answer.status})"
        return Finding(note=f"historical: {name} {said}")
    x: Floats = np.asarray(answer.x, dtype=np.float64)
    note = f"historical: {name} calls it feasible at margin {options.margin}"
    if not problem.domain.contains(x):
        x = problem.domain.fit(x)
        note += f"; its point was fitted into the domain {problem.domain}"
    return Finding(x=x, note=note)


def solve(problem: Problem, token: int, options: PostOptions) -> Any:
    """Return SciPy's result for the program: ``status`` 0 feasible, 2 infeasible, and ``x`` (d,).

    The objective raises the token's own logit, so that no point near 0 comes back if a longer one
    will do. It changes nothing about feasibility.
    """
    from scipy.optimize import linprog  # type: ignore[import-untyped]  # SciPy has no types

    V = problem.readout.V
    rows = np.arange(V) if options.own_row else np.delete(np.arange(V), token)
    a, c = problem.differences(token, rows)
    room = -options.margin - (c if options.bias else np.zeros(rows.size))
    own = problem.readout.rows[token]
    return linprog(-own, A_ub=a, b_ub=room, bounds=(-1.0, 1.0), method="highs")


def prepare(problem: Problem, options: PostOptions) -> None:
    """Raise InputError for the hull of points and an ellipsoid: the post did not ask about them."""
    problem.asked.domain.refuse_frame("linprog-post", "use maxent or highs")


@hookimpl
def geom_certifiers() -> Iterator[Certifier[PostOptions]]:
    yield Certifier(
        "linprog-post",
        "the blog post's linear program, slips and all: historical, never a proof",
        certify,
        PostOptions,
        prepare=prepare,
    )
