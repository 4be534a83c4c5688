"""A run is one SQLite file.

While it is written the file is in write-ahead-log mode and every token, row and certificates
together, is one transaction: a kill loses the token in hand. When the writer is done the log is
folded in, so that the file stands alone and can be read from anywhere.

Tables, version 5 (``PRAGMA user_version``), marked by ``PRAGMA application_id``:

- ``meta(key, value)``: JSON values. ``settings`` (the readout's digest and shape, the domain, the
  tokens asked for, detectors and certifiers with their options), ``model`` (the name that loads
  the readout), ``versions`` (of geom, Python, packages and plugins), ``notes`` (what a
  reader should know of the readout), ``planned`` (true once the tokens to examine are known) and
  ``warnings``.
- ``tokens(token_id, token, self_argmax, argmax_id, argmax, flagged_by, verdict, proof,
  certifier, margin_lower, margin_upper, seconds, note, token_kind, argmax_kind, recipe)``: a row a
  token to examine, the fields of the exported row, what kind of token ``argmax`` is, and how a
  witness that is not stored is rebuilt; ``flagged_by`` is a JSON list, ``verdict`` NULL until the
  token is done, the kinds NULL without a tokenizer. ``recipe`` is ``own-direction`` where the
  witness is the token's own direction (`geom.exact.bulk.own_direction`), NULL elsewhere.
- ``evidence(token_id, kind, name, data)``: arrays in NumPy's own .npy format, ``witness`` with
  ``x``, ``weights`` with ``indices`` and ``values``.
- ``measures(token_id, measure, token, token_kind, value, error, unit, proven, note, seconds,
  options, x, indices, weights)``: a row a token and measure, of any tokens, examined or not.
  ``value`` is NULL where there is none, ``error`` where it is not known, ``proven`` is 1 where the
  error is a proven radius and not a standard error; ``options`` is a JSON object. ``x``, and
  ``weights`` on the tokens ``indices``, are arrays as in ``evidence``, NULL where there are none:
  they prove the number again.

Version 1 had no kinds of tokens, version 2 no recipes, version 3 no measures, version 4 no weights
of measures; they are refused: run again.
"""

from geom.store.opening import open_file
from geom.store.reading import Run
from geom.store.rows import MeasureRow, Outcome, Planned, TokenRow
from geom.store.writing import Writer, create_or_continue, recorder

__all__ = [
    "MeasureRow",
    "Outcome",
    "Planned",
    "Run",
    "TokenRow",
    "Writer",
    "create_or_continue",
    "open_file",
    "recorder",
]
