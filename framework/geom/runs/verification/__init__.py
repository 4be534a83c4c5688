"""Checking a stored run again, without a solver.

`verify` believes nothing that a run says of itself. With the weights at hand it checks again

- the settings: digest, V, d, the domain and its size, the form of the list of tokens;
- which rows there are: none is missing, and none too many. Candidates are searched for again by the
  detectors that are quick and exact (``self-argmax``); what others flag is taken as it is;
- of every row the verdict, the proof that it names and both margins, against the certificate that
  the run keeps or rebuilds; that one called undecided is not proven by its own evidence; the winner
  along its own direction; the texts and kinds of both, by the model's tokenizer; the detectors that
  flag it, where they are asked again; and the twin that its note names;
- of every measurement that is called proven the bounds, against the point and the weights kept of
  it; its unit, and the token's text.

What is not checked is said: always the certifiers' names and options, times, versions and the other
notes, which say how a result was found and not what it is; the estimates among the measures; and,
by its reason, whatever else cannot be. A run without a verdict, and one that did not come to its
end, is a fault.
"""

from __future__ import annotations

from geom.loading import weights_of
from geom.model import domains
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.progress import Watcher, track_progress, watched
from geom.runs.verification.faults import Fault, Found, Verification
from geom.runs.verification.measures import check_measures
from geom.runs.verification.rows import check_rows, comparable_texts
from geom.runs.verification.settings import check_settings
from geom.runs.verification.verdicts import checked
from geom.store import Run, TokenRow

__all__ = ["Fault", "Verification", "verify"]

NEVER = "names of certifiers, times, versions and notes"
"""What is not checked of any run: how it came about."""


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
        The weights. If None, they are loaded by the name that the run has for them. Weights with
        another digest confirm nothing: that is the one fault then.
    progress : callable, optional
        Called with stage, done, total and their unit.
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
    problem = Problem(readout, domains.from_settings(settings.get("domain", {}), readout.d))
    rows = list(run.rows())
    found = Found()
    with watched(progress):
        known = check_settings(problem, run, found)
        texts = comparable_texts(readout, rows, named, found)
        complete = known and check_rows(problem, run, rows, texts, found)
        for row, reasons in track_progress(checked(problem, run, rows), "verify", len(rows)):
            for reason in reasons:
                found.fault(row.token_id, reason)
        check_measures(problem, run, texts, found)
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
        f"tokens {asked if len(asked) <= 60 else f'{asked[:60]}...'}"
    )
    faults = tuple(sorted(found.faults, key=_place))
    return Verification(confirmed, faults, unchecked=tuple(found.unchecked), about=about)


def _check_end(run: Run, rows: list[TokenRow], complete: bool, found: Found) -> None:
    """A run that did not come to its end, or to any verdict, does not hold.

    One without rows does where there should be none, as no token is a candidate.
    """
    pending = len(run.pending())
    goes_on = "the command that made the run goes on with it"
    if not run.planned:
        found.fault(None, f"the run was interrupted before its tokens were known: {goes_on}")
    elif pending:
        found.fault(None, f"not examined yet: {pending}; {goes_on}")
    elif not (complete and not rows) and all(row.verdict == "undecided" for row in rows):
        found.fault(None, "no token has a verdict: there is nothing that could hold")


def _place(fault: Fault) -> int:
    return -1 if fault.token is None else fault.token
