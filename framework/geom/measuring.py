"""Measure tokens: numbers for how hard each token is to speak, from the installed measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from geom.certificates import Finding
from geom.errors import GeomError, InputError, Raised, answered, one_line, several
from geom.exact.bulk import own_direction
from geom.loading import load
from geom.machine.threads import limited_threads
from geom.model.domains import Domain
from geom.model.in_memory import Live
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.nouns import Noun
from geom.numbers.arrays import Floats
from geom.plugins.chosen import Chosen
from geom.plugins.domain_options import domain as chosen_domain
from geom.plugins.options import as_plain, by_plugin
from geom.plugins.records import Measure
from geom.plugins.registry import installed
from geom.plugins.results import Measurement
from geom.plugins.selection import choose, distinct, refuse_unused
from geom.progress import Watcher, track_progress, watched
from geom.reprs import short_repr
from geom.runs.detection import candidates
from geom.runs.findings import as_kept
from geom.store import MeasureRow, Run, recorder
from geom.store.frames import frame
from geom.store.notebook import SHOWN, table_html
from geom.text import harmless, visible
from geom.token_spec import ALL, CANDIDATES, asked_ids, few_ids

if TYPE_CHECKING:
    import pandas


BATCH_SECONDS = 10.0
"""The seconds that a batch of tokens should take: as much is lost if a measure is stopped."""

_KEPT = ("options", "x", "weights")
"""The fields of a measurement that a run keeps but no table shows."""


@dataclass(frozen=True, eq=False)
class MeasureTable:
    """The measurements of some tokens: iterate over it for its rows, token by token.

    Attributes
    ----------
    rows : tuple of MeasureRow
        One row per token and measure.
    noun : Noun
        What the tokens are called.
    """

    rows: tuple[MeasureRow, ...]
    noun: Noun = Noun.TOKEN

    __repr__ = short_repr

    def __iter__(self) -> Iterator[MeasureRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def _repr_html_(self) -> str:
        cells = (
            (
                str(row.token_id),
                visible(row.token, row.token_kind),
                row.measure,
                row.shown,
                row.unit,
                "-" if row.note is None else harmless(row.note),
            )
            for row in self.rows[:SHOWN]
        )
        names = ("id", "token", "measure", "value", "unit", "note")
        return table_html(names, cells, len(self), "to_pandas()")

    def notes(self) -> list[str]:
        """Collect the measures' remarks.

        Returns
        -------
        list of str
            One line per remark, with the tokens that it is about.
        """
        about: dict[tuple[str, str], list[int]] = {}
        for row in self.rows:
            if row.note is not None:
                about.setdefault((row.measure, row.note), []).append(row.token_id)
        return [
            f"{measure} of {few_ids(ids, self.noun)}: {note}"
            for (measure, note), ids in about.items()
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """Make a DataFrame of the rows, one column per field.

        Returns
        -------
        pandas.DataFrame
            All fields except the options, points and weights.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        names = [name for name in MeasureRow.__dataclass_fields__ if name not in _KEPT]
        return frame(self.rows, names)


def measure(
    run_or_readout: Run | Readout | Live | str,
    measures: str | Sequence[str] | None = None,
    tokens: str | Iterable[int | str] = CANDIDATES,
    options: Mapping[str, Any] | None = None,
    *,
    domain: str | Domain | None = None,
    progress: Watcher | None = None,
) -> MeasureTable:
    """Measure tokens: how hard each is to speak, with the error of the number.

    One measure after the other is taken of all tokens. For a run, each measurement is stored in the
    run as soon as it is made, and one that the run already holds, with the same options, is not
    made again; a measure also gets the run's finding for the token. For a readout nothing is
    stored. A measure that raises loses only its own numbers: they are None, and the note says why.

    Parameters
    ----------
    run_or_readout : Run, Readout, str or object
        A run, or anything that `geom.load` takes.
    measures : str or sequence of str, optional
        The names of the measures; if None, those that are quick for all tokens.
    tokens : str or iterable of int or str, optional
        Ids or texts, or a spec: ``5,9,100-120``, a text, ``all`` (for a run, the tokens it
        examined) or ``candidates`` (the flagged tokens; for a readout, those that the default
        detector flags).
    options : mapping of str to object, optional
        ``{"KIND.NAME.OPTION": value}``.
    domain : str or Domain, optional
        The set where x lives, ``auto`` if None; leave it out for a run, which has its own domain.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.

    Returns
    -------
    MeasureTable
        One row per token and measure.

    Raises
    ------
    InputError
        If a name, an option or the list of tokens is unknown or does not fit.
    PluginError
        If a source breaks.
    StoreError
        If the run cannot be written.
    """
    given = by_plugin(options or {})
    names = _named(measures)
    chosen = choose("measure", names, given)
    if isinstance(run_or_readout, Run) and (
        domain is not None or any(kind == "domain" for kind, _ in given)
    ):
        raise InputError("a run has its own domain: leave domain out")
    run = run_or_readout if isinstance(run_or_readout, Run) else None
    with watched(progress), limited_threads(), ExitStack() as stack:
        if isinstance(run_or_readout, Run):
            problem = run_or_readout.problem
        else:
            readout = load(run_or_readout, given)
            problem = Problem(readout, chosen_domain(readout, domain or "auto", given))
        stack.enter_context(watched(progress, problem.readout.noun))
        used = {"source": [problem.readout.source.name], "measure": names}
        refuse_unused(given, used)
        chosen = [_settled(problem, item) for item in chosen]
        ids = _tokens(problem, run, tokens)
        store = None if run is None else stack.enter_context(recorder(run))
        kept = {} if run is None else run.measured()
        rows = {name: dict[int, MeasureRow]() for name in names}
        for item in chosen:
            found = rows[item.record.name]
            for token in ids:
                old = kept.get(token, {}).get(item.record.name)
                if old is not None and old.options == as_plain(item.options):
                    found[token] = old
            todo = [token for token in ids if token not in found]
            batches = _batches(problem, run, todo, item, store)
            stage = f"measure {item.record.name}"
            for batch in track_progress(batches, stage, len(todo), "numbers", len):
                found |= {row.token_id: row for row in batch}
    return MeasureTable(
        tuple(rows[name][token] for token in ids for name in names), problem.readout.noun
    )


def by_price() -> tuple[list[str], dict[str, str]]:
    """Return the names of the quick measures, and what a number of each of the others costs."""
    listed = [item.record for item in installed().listed() if item.kind == "measure"]
    quick = [record.name for record in listed if record.quick]
    return quick, {record.name: record.price for record in listed if not record.quick}


def _named(measures: str | Sequence[str] | None) -> list[str]:
    """Return the names of the measures to take. Raises InputError if there are none."""
    quick, others = by_price()
    if measures is None:
        measures = quick
    names = distinct("measure", [measures] if isinstance(measures, str) else list(measures))
    if not names:
        raise InputError(
            f"no measure is named: give some of {', '.join(sorted([*quick, *others]))}"
        )
    return names


def _settled(problem: Problem, item: Chosen[Measure[Any]]) -> Chosen[Measure[Any]]:
    """Return the measure with the options that it settles for; raises what it refuses them by."""
    settle = item.record.settle
    if settle is None:
        return item
    options = item.call(
        lambda _, given: answered(settle(problem, given), type(item.options), "settled for"),
        "settle",
    )
    return replace(item, options=options)


def _tokens(problem: Problem, run: Run | None, asked: str | Iterable[int | str]) -> list[int]:
    """Return the ids asked for, ascending."""
    if not isinstance(asked, str):
        return asked_ids(asked, problem.readout)
    if asked == CANDIDATES:
        return candidates(problem, run)
    if asked == ALL and run is not None:
        return [row.token_id for row in run.rows()]
    return asked_ids(asked, problem.readout)


def _batches(
    problem: Problem,
    run: Run | None,
    tokens: Sequence[int],
    measure: Chosen[Measure[Any]],
    store: Callable[[MeasureRow], None] | None,
) -> Iterator[list[MeasureRow]]:
    """Yield the checked rows of some tokens at a time, stored; as many as suit the time they take.

    What a measure raised is not stored, so it is asked again next time.
    """
    done, size = 0, 1
    while done < len(tokens):
        batch = tokens[done : done + size]
        priors = [Finding() if run is None else _prior(problem, run, token) for token in batch]
        answers, rows = _answers(problem, batch, priors, measure), []
        begun = started = perf_counter()
        for token in batch:
            answer = next(answers)
            rows.append(_row(problem, token, answer, measure, perf_counter() - started))
            if store is not None and not isinstance(answer, Raised):
                store(rows[-1])
            started = perf_counter()
        done += len(batch)
        size = _next_size(measure.record, len(batch), perf_counter() - begun)
        yield rows


def _next_size(record: Measure[Any], size: int, seconds: float) -> int:
    """Return how many tokens to take next, after so many took so long; at most four times more."""
    if record.measure_many is None:
        return 1
    suits = 4 * size if seconds <= 0.0 else int(min(4.0, BATCH_SECONDS / seconds) * size)
    return max(1, min(record.batch, suits))


def _answers(
    problem: Problem,
    tokens: Sequence[int],
    priors: Sequence[Finding],
    measure: Chosen[Measure[Any]],
) -> Iterator[Measurement | Raised]:
    """Yield one valid measurement per token, or what was raised in its place."""
    many = measure.record.measure_many
    if many is None:
        for token, prior in zip(tokens, priors, strict=True):
            yield measure.attempt(partial(_alone, problem, token, prior), "measure")
        return
    given, noun = 0, problem.readout.noun
    for answer in measure.draw(
        lambda record, options: several(many(problem, tokens, priors, options), "Measurement"),
        "measure_many",
    ):
        if isinstance(answer, Raised):
            missing = answer
            break
        yield measure.look(partial(_sane, answer, problem), "measure_many")
        given += 1
    else:
        wrong = ValueError(f"{given} measurements for {noun.counted(len(tokens))}")
        missing = Raised(wrong, many)
    yield from repeat(missing, len(tokens) - given)


def _alone(
    problem: Problem, token: int, prior: Finding, record: Measure[Any], options: Any
) -> Measurement:
    """Return a valid measurement of one token. Raises what the measure raises."""
    return _sane(record.measure(problem, token, prior, options), problem)


def _row(
    problem: Problem,
    token: int,
    answer: Measurement | Raised,
    measure: Chosen[Measure[Any]],
    seconds: float,
) -> MeasureRow:
    """Return the row of a measurement, or of the reason why there is none."""
    readout = problem.readout
    found = Measurement(math.nan, note=_reason(answer)) if isinstance(answer, Raised) else answer
    return MeasureRow(
        token_id=token,
        token=readout.text(token),
        token_kind=readout.kind(token),
        measure=measure.record.name,
        value=None if math.isnan(found.value) else found.value,
        error=found.error,
        unit=measure.record.unit,
        proven=found.proven,
        note=found.note,
        seconds=seconds,
        options=as_plain(measure.options),
        x=found.x,
        weights=found.weights,
    )


def _reason(what: Raised) -> str:
    """Say why there is no number: a refusal in its own words, any other error with its type."""
    if isinstance(what.error, GeomError):
        return str(what.error)
    return f"it raised {what.first_line}"


def _prior(problem: Problem, run: Run, token: int) -> Finding:
    """Return the run's finding for the token, or its own direction if the run keeps no point."""
    if run.recipe(token) is not None:
        return Finding(own_direction(problem, token))
    return run.evidence(token)


def _sane(found: object, problem: Problem) -> Measurement:
    """Return the measurement with our own copies of its numbers.

    Raises TypeError or ValueError if it is not a valid measurement.
    """
    found = answered(found, Measurement)
    error = None if found.error is None else float(found.error)
    if error is not None and not error >= 0.0:
        raise ValueError(f"its error is {error}")
    x: Floats | None = None
    if found.x is not None:
        x = np.array(found.x, dtype=np.float64)
        k = problem.domain.coordinates
        if x.shape != (k,) or not np.isfinite(x).all():
            raise ValueError(f"its point is not a vector of {k} finite numbers")
    weights = found.weights
    if weights is not None:
        weights = as_kept(Finding(weights=weights)).weights
        if weights is None or weights.indices.shape != weights.values.shape:
            raise ValueError("its weights are not Weights with one value per index")
    value = float(found.value)
    note = None if found.note is None else one_line(str(found.note))
    if math.isnan(value) and not note:
        raise ValueError("it returned NaN, which is no number, and no note that says why")
    return Measurement(value, error, proven=bool(found.proven), note=note, x=x, weights=weights)
