"""The tokens that the filters of sampling drop at every state, by proof.

Samplers divide the logits by a temperature T and drop all tokens but the likeliest. *Top-k* keeps
the k likeliest. *Min-p* drops a token whose probability is less than q times the highest. *Top-p*
goes down from the likeliest and drops a token if those before it have a mass of p or more, so the
token that crosses p is kept. Let V tokens be given, let n = V - 1 be the rivals of t, z_j the logit
of j minus that of t, and L the least of ``log sum_j exp(z_j / T)`` over the domain, so that the
probability of t is nowhere above ``P = 1 / (1 + exp L)``. At every x:

- *top-k* drops t if k rivals are above it everywhere (`geom.exact.ranks`);
- *min-p* drops t if its largest margin m is below ``T log q`` (`geom.exact.thresholds`);
- *top-p* drops t if ``(V - k) P <= 1 - p``, with k rivals above t everywhere: the other V - k
  tokens, t among them, have no more than P each, so that what is above has a mass of at least p.

Where t reaches a probability of more than 1 - p, what is above it has a mass of less than p, and
*top-p* keeps it. Where the largest margin is 0 or more, *min-p* keeps t whatever q is: without
biases all tokens tie at x = 0, so on a domain that has that point min-p drops no token everywhere.

If only *ties* are left open, so that the k rivals are as high as t or higher, t may be kept where
it ties with the last token kept: some programs keep all that tie there, others some of them.

*Bounds on L* come from k rivals as high as t (``L >= log k``), from the largest margin
(``L >= -m / T``, as one rival is ahead by that), and from a bound at another temperature S. As
``sum u_j^s >= (sum u_j)^s`` for s up to 1, and the logarithm of the mean of ``exp(z_j / T)``, times
T, falls as T grows::

    L(T) >= (S / T) L(S)                                  if T >= S,                      (1)
    L(T) >= (S / T) L(S) - (S / T - 1) log n              if T <= S.                      (2)

*Several filters*, one after another at one temperature, drop no less: each keeps the tokens down to
some logit, and so t and all above it or not t. If t is left by those before, the rivals above it
and the likeliest token are left too, and scaling what is left to the sum 1 makes the mass above t
no smaller. So what one filter drops on its own is dropped in every order. Nothing is said about
tokens that are dropped only by several filters together.

All of it is about exact numbers: a program that adds up float32 may err by some 1e-6 of a mass.

Source: A. Holtzman and others, The curious case of neural text degeneration, ICLR 2020, for top-p;
A. Fan, M. Lewis and Y. Dauphin, Hierarchical neural story generation, ACL 2018, for top-k; for (1)
and (2), G. H. Hardy, J. E. Littlewood and G. Polya, Inequalities, Cambridge 1934, sections 2.9 and
2.10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from flint import arb, ctx

from geom.numbers.ball_ends import ball, ball_above, ball_below

_BITS = 128

_MOST = 10**6
"""Log-odds above this, the odds of less than one in 10^400,000, count as this."""

Drop = Literal["always", "but for ties"]
"""Whether a filter drops a token at every state, or at every state where it does not tie."""


@dataclass(frozen=True)
class Standing:
    """What is proven of one token over the domain; the defaults prove nothing.

    ``margin`` is an upper bound on its largest margin, in logits. At least ``above`` rivals are
    higher than the token everywhere, and at least ``level`` are as high or higher. Each of ``caps``
    is a temperature and an upper bound on the decimal logarithm of its largest probability there.
    """

    rivals: int
    margin: float = math.inf
    above: int = 0
    level: int = 0
    caps: tuple[tuple[float, Fraction], ...] = ()

    def dropped_by_top_k(self, k: int) -> Drop | None:
        """Say whether top-k drops the token; None if it may not, or nothing proves it."""
        if self.above >= k:
            return "always"
        return "but for ties" if self.level >= k else None

    def dropped_by_min_p(self, q: float, temperature: float) -> Drop | None:
        """Say whether min-p with threshold ``q`` drops the token; None if nothing proves it."""
        return "always" if margin_below(self.margin, q, temperature) else None

    def dropped_by_top_p(self, p: float, temperature: float) -> Drop | None:
        """Say whether top-p drops the token; None if it may not, or nothing proves it."""
        with ctx.workprec(_BITS):
            likelihood = 1 / (1 + self._odds(temperature).exp())
            rest = ball(1 - Fraction(p))
            if (1 + self.rivals - self.above) * likelihood <= rest:
                return "always"
            if (1 + self.rivals - self.level) * likelihood <= rest:
                return "but for ties"
        return None

    def _odds(self, temperature: float) -> arb:
        """Return a number that is proven not to be above L at this temperature."""
        T = Fraction(temperature)
        known = [arb(-_MOST)]
        ahead = max(self.above, self.level)
        if ahead:
            known.append(arb(ahead).log())
        if math.isfinite(self.margin):
            known.append(ball(min(-Fraction(self.margin) / T, Fraction(_MOST))))
        for at, log10 in self.caps:
            if log10 < 0:
                odds = ((ball(min(-log10, Fraction(_MOST))) * arb(10).log()).exp() - 1).log()
                known.append(self._carried(odds, Fraction(at) / T))
        return max(known, key=ball_below)

    def _carried(self, odds: arb, ratio: Fraction) -> arb:
        """Return the bound on L that follows from one at ``ratio`` times the temperature."""
        if ratio > 1:
            odds -= ball(1 - 1 / ratio) * arb(self.rivals).log()
        return ball(ratio) * odds


def log10_above(probability: float) -> Fraction:
    """Return a number not below the decimal logarithm of a probability above 0."""
    with ctx.workprec(_BITS):
        return Fraction(ball_above(ball(Fraction(probability)).log() / arb(10).log()))


def margin_below(margin: float, q: float, temperature: float) -> bool:
    """Return whether ``margin < temperature * log q`` for sure, with ``0 < q <= 1``."""
    if not -math.inf < margin < 0.0:
        return False
    with ctx.workprec(_BITS):
        return bool(ball(Fraction(margin)) < ball(Fraction(temperature)) * ball(Fraction(q)).log())


def margin_reaches(margin: float, q: float, temperature: float) -> bool:
    """Return whether ``margin >= temperature * log q`` for sure, with ``0 < q <= 1``."""
    if margin >= 0.0:
        return True
    if not -math.inf < margin:
        return False
    with ctx.workprec(_BITS):
        return bool(ball(Fraction(margin)) >= ball(Fraction(temperature)) * ball(Fraction(q)).log())


def crosses(log10: Fraction, p: float) -> bool:
    """Return whether a probability with that decimal logarithm is above ``1 - p`` for sure."""
    with ctx.workprec(_BITS):
        likely = (ball(max(log10, Fraction(-_MOST))) * arb(10).log()).exp()
        return bool(likely > ball(1 - Fraction(p)))
