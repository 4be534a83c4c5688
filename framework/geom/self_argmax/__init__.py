"""The winner along each token's own direction, exact and faster than the whole product.

Along token t's own direction ``w_t``, token j has the score ``w_j . w_t``. By Cauchy-Schwarz a row
shorter than ``w_t`` scores below ``|w_t|^2``, which is t's own score: with the rows sorted by
length, half of the product ``W W^T`` decides who wins. Most of that half need not be computed
either. A block of tokens is taken through a few stages, each of which bounds the scores of the
rivals left from above by one matrix product, and leaves those rivals that may still be the highest
for some token of the block:

- screens: if ``p`` are a row's leading principal coordinates and ``r`` is the length of the rest,
  then ``w_j . w_t`` is at most ``p_j . p_t + r_j r_t``, a product of a few columns
  (`geom.self_argmax.screen`);
- whole rows in float32, with their error bound as one more column, for the rivals left;
- whole rows in float64, for the tokens left: those that lose, and the few that float32 cannot tell
  from losers;
- integers, for the rivals that float64 cannot tell apart.

A rival is left only if its bound reaches the token's own score, and the best score known to be
another rival's: the highest rival is named, and a rival known to be lower does not matter. Tokens
that have similar directions share a block, because they share their rivals. Rows that are equal are
taken as one. The result is that of exact arithmetic, on any device.
"""

from geom.self_argmax.winners import DEFAULT_MEMORY_MIB, own_winners, own_winners_memory

__all__ = ["DEFAULT_MEMORY_MIB", "own_winners", "own_winners_memory"]
