"""A run is one SQLite file.

While it is being written the file is in write-ahead-log mode, and each token, its row together with
its certificates, is one transaction: a kill loses only the token in hand. The tokens that a run's
opening decides are stored a block at a time, each block in one transaction. At the end
the log is folded into the file, which then stands alone and can be read anywhere.

Tables, version 7 (``PRAGMA user_version``), marked by ``PRAGMA application_id``:

- ``meta(key, value)``: JSON values. ``settings`` (the readout's digest and shape, the domain, the
  tokens asked for, detectors and certifiers with their options, whether the run has an opening,
  how many of the hardest tokens to put in order), ``model`` (the name that loads the readout),
  ``versions`` (of geom, Python, packages and plugins), ``notes`` (what a reader should know about
  the readout), ``noun`` (what a row stands for: ``token``, ``class`` or ``item``), ``begun``
  (when the run began, in UTC, as ISO 8601 has it; absent in older runs),
  ``planned`` (true once the tokens to examine are known), ``ordered`` (true once
  nothing is left to do for the order of the hardest) and ``warnings``.
- ``tokens(token_id, token, self_argmax, argmax_id, argmax, flagged_by, verdict, proof,
  certifier, margin_lower, margin_upper, probability_upper, seconds, note, token_kind, argmax_kind,
  recipe)``: one row per token to examine, with the fields of the exported row, the kind of the
  token ``argmax``, and the recipe that rebuilds a witness that is not stored. ``flagged_by`` is a
  JSON list, ``verdict`` is NULL until the token is done, and the kinds are NULL without a
  tokenizer. ``recipe`` is ``own-direction`` if the witness is the token's own direction
  (`geom.exact.bulk.own_direction`), else NULL.
- ``evidence(token_id, kind, name, data)``: arrays in NumPy's .npy format, ``witness`` with ``x``,
  ``weights`` with ``indices`` and ``values``. On the hull of points a ``witness`` has the
  ``indices`` and ``values`` of the coefficients that are not zero in place of ``x``.
- ``measures(token_id, measure, token, token_kind, value, error, unit, proven, note, seconds,
  options, x, indices, weights)``: one row per token and measure, for any tokens, examined or not.
  ``value`` is NULL if there is no number, ``error`` if it is not known; ``proven`` is 1 if the
  error is a proven radius rather than a standard error; ``options`` is a JSON object. ``x``, and
  ``weights`` on the tokens ``indices``, prove the number again; they are arrays as in
  ``evidence``, or NULL if there are none.
- ``frame(name, data)``: only in a run on the hull of points or on an ellipsoid, whose vectors it
  keeps, row by row: the ``axes``, and the ``centre`` if there is one.

Version 1 had no kinds of tokens, version 2 no recipes, version 3 no measures, version 4 no weights
of measures, version 5 no ``opening`` in the settings. Runs of these versions are refused: run
again. Version 6 had no ``probability_upper``. Runs of this version are read, measured and verified,
and have no such bounds; ``geom run`` does not go on with them.
"""

from geom.store.opening import open_file
from geom.store.ranking import Ranking
from geom.store.reading import Run
from geom.store.rows import (
    LABELS,
    MeasureRow,
    Outcome,
    Planned,
    TokenRow,
    VerdictLabel,
    checked_label,
)
from geom.store.writing import Writer, create_or_continue, recorder

__all__ = [
    "LABELS",
    "MeasureRow",
    "Outcome",
    "Planned",
    "Ranking",
    "Run",
    "TokenRow",
    "VerdictLabel",
    "Writer",
    "checked_label",
    "create_or_continue",
    "open_file",
    "recorder",
]
