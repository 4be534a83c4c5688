"""Checking a stored run again, without a solver.

`verify` believes nothing that a run says about itself. With the weights at hand it checks again

- the settings: digest, V, d, the domain and its size, the form of the list of tokens;
- the set of rows: none is missing and there are none too many. The detectors that are quick and
  exact (``self-argmax``) search for the candidates again; what other detectors flag is accepted;
- in every row: the verdict, the proof it names, both margins and the bound on the probability,
  against the certificate that the run keeps or rebuilds; that its own evidence does not prove a
  token called undecided; the winner along its own direction; the texts and kinds of both tokens, by
  the model's tokenizer; the detectors that flag it, if they are asked again; and the twin that its
  note names;
- in every measurement called proven: its bounds, against the point and the weights kept for it;
  its unit, and the token's text.

The result lists what is not checked: always the certifiers' names and options, times, versions and
the other notes, which say how a result was found and not what it is; the estimates among the
measures; and, with the reason, anything else that cannot be checked. A run without a verdict is a
fault, and so is a run that did not finish.
"""

from __future__ import annotations

from geom.loading import weights_of
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.opening.twins import find_twins
from geom.progress import Watcher, track_progress, watched
from geom.runs.verification.faults import Fault, Found, Verification
from geom.runs.verification.measures import check_measures
from geom.runs.verification.rows import check_rows, comparable_texts
from geom.runs.verification.settings import check_settings
from geom.runs.verification.verdicts import checked, rebuild_recipes
from geom.store import Run, TokenRow

__all__ = ["Fault", "Verification", "verify"]

NEVER = "names of certifiers, times, versions and notes"
"""The part that is not checked in any run: how the result was found."""


def verify(
    run: Run,
    readout: Readout | None = None,
    progress: Watcher | None = None,
    *,
    allow_fetch: bool = False,
) -> Verification:
    """Check a run against the weights, in exact arithmetic: everything that a reader relies on.

    Parameters
    ----------
    run : Run
        The run.
    readout : Readout, optional
        The weights. If None, they are loaded by the name stored in the run. Weights with another
        digest confirm nothing: the mismatch is then the only fault.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.
    allow_fetch : bool, optional
        Whether weights may be loaded from outside the run's own folder.

    Returns
    -------
    Verification
        How many tokens hold, every fault, and what was not checked.

    Raises
    ------
    InputError
        If the model cannot be read.
    StoreError
        If the run cannot be read.
    """
    settings = run.settings
    named = readout is not None
    if readout is None:
        with watched(progress):
            readout = weights_of(run, allow_fetch)
    if readout.digest != settings.get("digest"):
        reason = f"the run was made with other weights than {readout.source}: name its own"
        return Verification({}, (Fault(None, reason),))
    if readout.d != run.domain.d:
        reason = f"its d is {run.domain.d}, and the model's is {readout.d}"
        return Verification({}, (Fault(None, reason),))
    problem = Problem(readout, run.domain)
    rows = list(run.rows())
    found = Found(readout.noun)
    with watched(progress, readout.noun):
        known = check_settings(problem, run, found)
        _check_noun(run, readout, named, found)
        rebuild_recipes(problem, run, rows)
        texts = comparable_texts(readout, rows, named, found)
        twins = find_twins(readout)
        complete = known and check_rows(problem, run, rows, twins, texts, found)
        judged = checked(problem, run, rows, twins)
        for row, reasons in track_progress(judged, "verify", len(rows)):
            for reason in reasons:
                found.fault(row.token_id, reason)
        check_measures(problem, run, texts, found, allow_fetch)
    _check_end(run, rows, complete, found)
    if named:
        found.leave("that its own name of the model loads these weights")
    found.leave(NEVER)
    wrong = {fault.token for fault in found.faults}
    confirmed: dict[str, int] = {}
    for row in rows:
        if row.token_id not in wrong:
            confirmed[row.verdict] = confirmed.get(row.verdict, 0) + 1
    asked = str(settings.get("tokens"))
    about = (
        f"{readout.source}, V = {readout.V}, d = {readout.d}, domain {problem.domain}, "
        f"{readout.noun.plural} {asked if len(asked) <= 60 else f'{asked[:60]}...'}"
    )
    faults = tuple(sorted(found.faults, key=_place))
    return Verification(confirmed, faults, unchecked=tuple(found.unchecked), about=about)


def _check_noun(run: Run, readout: Readout, named: bool, found: Found) -> None:
    """Compare what the rows are called; a user who names the weights may leave that out."""
    if run.noun == readout.noun:
        return
    if named:
        found.leave(
            f"that its rows are {run.noun.plural}: those of {readout.source} are "
            f"{readout.noun.plural}"
        )
    else:
        found.fault(None, f"its rows are {run.noun.plural}, and the model's {readout.noun.plural}")


def _check_end(run: Run, rows: list[TokenRow], complete: bool, found: Found) -> None:
    """Add a fault for a run that did not finish or has no verdict.

    A run without rows holds if it should have none because no token is a candidate.
    """
    pending, many = len(run.pending()), run.noun.plural
    goes_on = "the command that made the run goes on with it"
    if not run.planned:
        found.fault(None, f"the run was interrupted before its {many} were known: {goes_on}")
    elif pending:
        found.fault(None, f"not examined yet: {pending}; {goes_on}")
    elif not (complete and not rows) and all(row.verdict == "undecided" for row in rows):
        found.fault(None, f"no {run.noun} has a verdict: there is nothing that could hold")


def _place(fault: Fault) -> int:
    return -1 if fault.token is None else fault.token
