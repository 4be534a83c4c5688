"""The margin of a token at a point as every arithmetic sees it, beside what it is exactly.

The points are the directions that a run's certificates hold, the tokens' own directions, points
that the user gives, or the directions that a certifier returned, before `exact` looked at them. A
precision plugin computes as its machine would; the truth is `geom.exact.points.margin_at`, in
rationals, and no plugin has a part in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from geom import domains, exact
from geom.certificates import Finding, VerdictName, Weights
from geom.certification import as_kept
from geom.domains import Domain
from geom.errors import GeomError, InputError, PluginError, StoreError, unknown
from geom.exact.bulk import own_direction
from geom.exact.points import margin_at
from geom.live import Live
from geom.loading import load, split
from geom.options import Given, by_plugin, validate
from geom.plugins import HOOKS, installed
from geom.problem import Problem
from geom.progress import Watcher, track, watched
from geom.readout import Readout
from geom.records import Certifier, Precision
from geom.rounding import Floats
from geom.store import Run
from geom.text import TokenKind
from geom.threads import limited_threads
from geom.token_spec import ALL, check_tokens, parse_tokens

if TYPE_CHECKING:
    import pandas

BORDERLINE = "borderline"

MULTIPLE = 8.0
"""Multiples of `EPSILON` within which a relative margin is borderline, unless told otherwise."""

EPSILON = 2.0**-23
"""The distance from 1 to the next float32."""

LIMIT = 20
"""Tokens of a run that are compared where none are named: those nearest the border."""

_BLOCK_BYTES = 64 * 2**20

Chosen = tuple[Precision[Any], Any]


@dataclass(frozen=True)
class ComparisonRow:
    """What one precision says of one token.

    ``margin`` is None where the plugin gave no answer, and NaN where its arithmetic came to that.
    ``sign`` is the margin's sign, None where it has none, and ``agrees`` whether it is the exact
    one. ``error`` is the radius that the precision itself claims around its margin, where it does.
    """

    token_id: int
    token: str | None
    precision: str
    margin: float | None
    argmax_id: int | None
    sign: int | None
    agrees: bool
    error: float | None = None

    @property
    def proven(self) -> bool:
        """Whether the precision's own error radius leaves no doubt about its sign."""
        if self.margin is None or self.error is None or self.sign is None:
            return False
        return self.error < abs(self.margin) or self.error == self.margin == 0.0

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it: without ``error``, and null for what is no finite number."""
        out = asdict(self)
        del out["error"]
        if self.margin is not None and not math.isfinite(self.margin):
            out["margin"] = None
        return out


@dataclass(frozen=True, eq=False)
class ComparedPoint:
    """A token at a point ``x`` (d,), which has ``origin``; ``margin`` is the exact one there.

    ``scale`` is ``|w||x|``, in float64: what rounding errors grow with.
    """

    token_id: int
    token: str | None
    token_kind: TokenKind | None
    x: Floats
    origin: str
    margin: Fraction
    scale: float

    @property
    def sign(self) -> int:
        """The exact sign of the margin: 1, 0 or -1."""
        return (self.margin > 0) - (self.margin < 0)

    @property
    def rounded(self) -> float:
        """The exact margin, rounded once to float64."""
        try:
            return float(self.margin)
        except OverflowError:
            return math.copysign(math.inf, self.sign)

    @property
    def relative(self) -> float:
        """The margin over ``|w||x|``, in float64."""
        return float(_relative(np.array([self.rounded]), np.array([self.scale]))[0])


@dataclass(frozen=True)
class SolverClaim:
    """What a certifier returned for a token, and what `exact` made of it.

    ``bound`` is what its weights claim no margin exceeds, were they to cancel the rows exactly,
    and ``residual`` the length of what they leave; both None without weights. ``direction`` says
    whether it returned a point, and ``inside`` whether that lies in the domain.
    """

    token_id: int
    solver: str
    direction: bool
    inside: bool
    bound: float | None
    residual: float | None
    verdict: VerdictName
    note: str | None

    def __str__(self) -> str:
        parts = []
        if self.direction:
            parts.append("a direction" + ("" if self.inside else " outside the domain"))
        if self.bound is not None:
            parts.append(
                f"weights that claim a margin <= {self.bound:.3g} and leave {self.residual:.2g}"
            )
        returned = f"returned {' and '.join(parts) or 'nothing'}"
        said = f" ({self.note})" if self.note else ""
        proves = "nothing" if self.verdict == "undecided" else f"it {self.verdict}"
        return f"token {self.token_id}: {self.solver} {returned}{said}; that proves {proves}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Tokens by precisions: iterate over it for its rows, token by token, coarse to fine.

    ``precisions`` are names with their unit roundoffs, coarse to fine; NaN where one is not known.
    ``claims`` say what a solver returned, where one was asked, ``notes`` what went wrong on the
    way and which tokens were left out.
    """

    points: tuple[ComparedPoint, ...]
    precisions: dict[str, float]
    rows: tuple[ComparisonRow, ...]
    claims: tuple[SolverClaim, ...] = ()
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[ComparisonRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Comparison: {len(self.points)} tokens by {len(self.precisions)} precisions>"

    @cached_property
    def _cells(self) -> dict[tuple[int, str], ComparisonRow]:
        return {(row.token_id, row.precision): row for row in self.rows}

    def cell(self, token: int, precision: str) -> ComparisonRow:
        """One token in one precision. Raises InputError where the comparison has it not."""
        try:
            return self._cells[token, precision]
        except KeyError:
            raise InputError(f"token {token} in {precision!r} was not compared") from None

    def least(self) -> dict[int, str | None]:
        """The coarsest precision that is right on each token, and so is every finer one.

        A coarse one may be right by luck, which is why the finer ones must bear it out. None where
        there is none. One that gave no answer at all counts neither way.
        """
        out: dict[int, str | None] = {}
        for point in self.points:
            found = None
            for name in reversed(self.precisions):
                row = self._cells[point.token_id, name]
                if row.margin is None:
                    continue
                if not row.agrees:
                    break
                found = name
            out[point.token_id] = found
        return out

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a DataFrame, a column a field. Raises InputError without pandas."""
        try:
            import pandas
        except ImportError:
            raise InputError("pandas is not installed: pip install pandas") from None
        return pandas.DataFrame([asdict(row) for row in self.rows], columns=_COLUMNS)

    def plot(self, path: str | Path) -> None:
        """Draw margin against unit roundoff to a .png or .svg file, see `geom.figures`.

        Raises InputError without matplotlib, for another ending, and where it cannot be written.
        """
        from geom.figures import plot_comparison

        plot_comparison(self, Path(path))


_COLUMNS = list(ComparisonRow.__dataclass_fields__)


def compare(
    run_or_readout: Run | Readout | Live | str,
    tokens: str | Iterable[int] | None = None,
    precisions: Sequence[str] | None = None,
    at: ArrayLike | None = None,
    solver: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    domain: str | Domain | None = None,
    multiple: float | None = None,
    progress: Watcher | None = None,
) -> Comparison:
    """The margins of tokens in each precision, and which of them have the right sign.

    Of a run, each token is taken at the point that the run keeps for it, or at its own direction;
    of a readout (or what `geom.load` takes) at its own direction in ``domain`` (``auto`` unless
    told). ``at``, float32 or float64 of shape (d,) for one token or (n, d) for n, gives the points
    instead, and ``solver`` names a certifier whose returned directions they are. ``tokens`` are
    ids or a spec: ``5,9,100-120``, ``all``, ``borderline`` (relative margin within ``multiple``
    epsilons of float32) or ``borderline=N`` (the N nearest); None is those of the run nearest the
    border. ``precisions`` are names, all that are installed where None; ``options`` are
    ``{"KIND.NAME.OPTION": value}``. ``progress`` is called with stage, done, total and their unit.

    A precision that raises costs its own cells. Raises InputError for what cannot be asked.
    """
    given = by_plugin(options or {})
    chosen = _precisions(precisions, given)
    _refuse_at_odds(isinstance(run_or_readout, Run), tokens, at, solver, domain, multiple)
    with watched(progress), limited_threads():
        if isinstance(run_or_readout, Run):
            subject = _Subject(run_or_readout.problem, run_or_readout)
        else:
            readout = load(run_or_readout, given)
            subject = _Subject(Problem(readout, _domain(readout, domain or "auto")))
        return _compared(subject, tokens, chosen, at, solver, given, multiple)


def _refuse_at_odds(
    of_run: bool,
    tokens: str | Iterable[int] | None,
    at: ArrayLike | None,
    solver: str | None,
    domain: str | Domain | None,
    multiple: float | None,
) -> None:
    """Refuse what cannot go together, before anything large is loaded."""
    if of_run and domain is not None:
        raise InputError("a run has its own domain: leave domain out")
    if at is not None and solver is not None:
        raise InputError("points are given and a solver is named: leave one of them out")
    if multiple is not None and tokens != BORDERLINE:
        raise InputError("a multiple goes with the tokens 'borderline' alone: leave it out")
    if multiple is not None and not (math.isfinite(multiple) and multiple > 0.0):
        raise InputError(f"multiple {multiple}: give a number above zero")
    borderline = isinstance(tokens, str) and tokens.startswith(BORDERLINE)
    if at is not None and (tokens is None or borderline):
        raise InputError("points are given: list the token of each, as in 5,9,100-120")
    if tokens is None and not of_run:
        raise InputError(
            "no token is named: give ids as in 5,9,100-120, borderline, borderline=20 or all"
        )
    if solver is not None:
        installed().get("certifier", solver)


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is compared: a problem, and the run that knows points of it, if there is one."""

    problem: Problem
    run: Run | None = None

    @cached_property
    def examined(self) -> dict[int, VerdictName] | None:
        """The tokens of the run with their verdicts, None where there is no run."""
        if self.run is None:
            return None
        V = self.problem.readout.V
        return {row.token_id: row.verdict for row in self.run.rows() if 0 <= row.token_id < V}

    def point(self, token: int) -> tuple[Floats, str]:
        """The token's point and its origin. Raises InputError where the run has not the token."""
        if self.run is not None and self.examined is not None:
            if token not in self.examined:
                self.run.row(token)  # says what to do
            x = self.run.evidence(token).x
            if x is not None:
                d = self.problem.readout.d
                if x.dtype != np.float64 or x.shape != (d,) or not np.isfinite(x).all():
                    raise StoreError(
                        f"{self.run.path}: the point of token {token} is no vector of {d} finite "
                        "float64 numbers: check the run with geom verify"
                    )
                return x, "witness" if self.examined[token] == "speakable" else "best point"
        return own_direction(self.problem, token), "own direction"


def _compared(
    subject: _Subject,
    tokens: str | Iterable[int] | None,
    chosen: Sequence[Chosen],
    at: ArrayLike | None,
    solver: str | None,
    given: Given,
    multiple: float | None,
) -> Comparison:
    """`compare`, once it is known what is compared."""
    problem = subject.problem
    if problem.readout.V == 1:
        raise InputError("the readout has one token, so there is no margin: give one with more")
    certifier = None if solver is None else _solver(problem, solver, given)
    names = {
        "source": [split(problem.readout.source)[0]],
        "precision": [precision.name for precision, _ in chosen],
        "certifier": [] if solver is None else [solver],
    }
    _refuse_unused(given, names)
    claims: tuple[SolverClaim, ...] = ()
    notes: tuple[str, ...] = ()
    if at is not None and tokens is not None:
        found = _given_points(problem.readout, tokens, at)
    else:
        ids, notes = _tokens(subject, tokens, multiple)
        if certifier is None:
            found = [(token, *subject.point(token)) for token in ids]
        else:
            found, claims = _returned(problem, ids, *certifier)
    points = tuple(
        _with_truth(problem, *item) for item in track(found, "exact", len(found), "tokens")
    )
    roundoffs, faults = _roundoffs(chosen)
    ordered = sorted(chosen, key=lambda item: _coarse_first(item[0].name, roundoffs))
    rows, failed = _rows(problem.readout, ordered, points)
    return Comparison(
        points,
        {precision.name: roundoffs[precision.name] for precision, _ in ordered},
        rows,
        claims,
        (*notes, *faults, *failed),
    )


# Which tokens


def _tokens(
    subject: _Subject, asked: str | Iterable[int] | None, multiple: float | None
) -> tuple[list[int], tuple[str, ...]]:
    """The tokens to compare, ascending, and what should be said of the choice."""
    examined, V = subject.examined, subject.problem.readout.V
    known = list(range(V)) if examined is None else list(examined)
    if not known:
        raise InputError("the run examined no token: let geom run finish first")
    if asked is None:
        if len(known) <= LIMIT:
            return known, ()
        note = f"the {LIMIT} of {len(known)} tokens nearest the border; tokens 'all' compares all"
        return _nearest(subject, known, LIMIT), (note,)
    if not isinstance(asked, str):
        return check_tokens(asked, V), ()
    if asked.startswith(BORDERLINE):
        return _borderline(subject, known, asked, multiple)
    return (known if asked == ALL else parse_tokens(asked, V)), ()


def _borderline(
    subject: _Subject, known: Sequence[int], asked: str, multiple: float | None
) -> tuple[list[int], tuple[str, ...]]:
    """The tokens within a multiple of float32's epsilon, or the N nearest."""
    parts = re.fullmatch(rf"{BORDERLINE}(?:=([1-9]\d{{0,8}}))?", asked)
    if parts is None:
        raise InputError(f"tokens {asked!r}: write borderline, or borderline=20 for the 20 nearest")
    if parts[1]:
        return _nearest(subject, known, int(parts[1])), ()
    multiple = MULTIPLE if multiple is None else multiple
    relative = np.abs(_relative_margins(subject, known))
    within = [token for token, r in zip(known, relative, strict=True) if r <= multiple * EPSILON]
    if within:
        return within, ()
    note = (
        f"no token's relative margin is within {multiple:g} epsilons of float32: the least is "
        f"{relative.min():.2g}, of token {known[int(relative.argmin())]}; borderline=20 takes the "
        "20 nearest"
    )
    return [], (note,)


def _nearest(subject: _Subject, known: Sequence[int], n: int) -> list[int]:
    """The n tokens with the smallest relative margins, ascending by id."""
    order = np.argsort(np.abs(_relative_margins(subject, known)), kind="stable")
    return sorted(known[i] for i in order[:n])


def _relative_margins(subject: _Subject, tokens: Sequence[int]) -> Floats:
    """Margins over ``|w||x|`` (n,) in float64, of the tokens at their points."""
    readout = subject.problem.readout
    height = max(1, _BLOCK_BYTES // (8 * max(readout.V, readout.d)))
    blocks = [tokens[start : start + height] for start in range(0, len(tokens), height)]
    out = []
    for block in track(blocks, "borderline", len(tokens), "tokens", len):
        points = np.array([subject.point(token)[0] for token in block])
        with np.errstate(all="ignore"):
            logits = readout.logits(points)
            each = np.arange(len(block))
            own = logits[each, block].copy()
            logits[each, block] = -np.inf
            scale = np.linalg.norm(points, axis=1) * np.linalg.norm(readout.W[block], axis=1)
            out.append(_relative(own - logits.max(axis=1), scale))
    return np.concatenate(out)


def _relative(margin: Floats, scale: Floats) -> Floats:
    """``margin / scale``, zero over zero taken for zero, and nonsense for far from the border."""
    with np.errstate(all="ignore"):
        out = np.where(margin == 0.0, 0.0, margin / scale)
    return np.where(np.isnan(out), np.inf, out)


# Which points


def _given_points(
    readout: Readout, tokens: str | Iterable[int], at: ArrayLike
) -> list[tuple[int, Floats, str]]:
    """The points given, one a token, in the order in which the tokens are listed."""
    ids = _listed(tokens, readout.V)
    for token in ids:
        if ids.count(token) > 1:
            raise InputError(f"token {token} is listed twice: give a point for each token once")
    array = np.asarray(at)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise InputError(f"points have dtype {array.dtype}: give float32 or float64")
    points = np.array(array, dtype=np.float64, ndmin=2)
    if array.ndim not in (1, 2) or points.shape != (len(ids), readout.d):
        alone = f"({readout.d},) or " if len(ids) == 1 else ""
        raise InputError(
            f"points have shape {array.shape}: {len(ids)} tokens ask for {alone}"
            f"({len(ids)}, {readout.d})"
        )
    if not np.isfinite(points).all():
        raise InputError("points hold NaN or infinity: give finite numbers")
    return [(token, x, "given") for token, x in zip(ids, points, strict=True)]


def _listed(tokens: str | Iterable[int], V: int) -> list[int]:
    """The ids in the order in which they are listed."""
    if not isinstance(tokens, str):
        ids = [int(token) for token in tokens]
        check_tokens(ids, V)
        return ids
    ordered = parse_tokens(tokens, V)
    if tokens == ALL:
        return ordered
    text = tokens
    if tokens.startswith("@"):
        text = ",".join(Path(tokens[1:]).read_text(encoding="utf-8").split())
    parts = filter(None, (piece.strip() for piece in text.split(",")))
    return [token for part in parts for token in parse_tokens(part, V)]


def _with_truth(problem: Problem, token: int, x: Floats, origin: str) -> ComparedPoint:
    """The point with the exact margin there, in an array that no plugin can write to."""
    x = np.array(x, dtype=np.float64)
    x.flags.writeable = False
    margin = margin_at(problem, token, x)
    assert margin is not None  # there is more than one token
    readout = problem.readout
    with np.errstate(all="ignore"):
        scale = float(np.linalg.norm(readout.W[token]) * np.linalg.norm(x))
    return ComparedPoint(token, readout.text(token), readout.kind(token), x, origin, margin, scale)


# What a solver returned


def _solver(problem: Problem, name: str, given: Given) -> tuple[Certifier[Any], Any]:
    """The certifier of that name with its options, ready for the problem."""
    certifier = installed().get("certifier", name)
    values = validate("certifier", certifier, given.get(("certifier", name), {}))
    if certifier.prepare is not None:
        try:
            certifier.prepare(problem, values)
        except GeomError:
            raise
        except Exception as error:  # a stranger's certifier may raise anything
            raise PluginError(f"certifier {name} raised {_reason(error)}") from error
    return certifier, values


def _returned(
    problem: Problem, tokens: Sequence[int], certifier: Certifier[Any], options: Any
) -> tuple[list[tuple[int, Floats, str]], tuple[SolverClaim, ...]]:
    """The directions that the certifier returns, as they are, and what it claims."""
    found, claims = [], []
    for token in track(tokens, certifier.name, len(tokens)):
        try:
            answer = certifier.certify(problem, token, Finding(), options)
            if not isinstance(answer, Finding):
                raise TypeError(f"it returned {type(answer).__name__}, no Finding")
            claim, x = _claim(problem, token, certifier.name, answer)
        except Exception as error:  # a stranger's certifier may raise anything
            note = f"it raised {_reason(error)}"
            claim = SolverClaim(token, certifier.name, False, False, None, None, "undecided", note)
            x = None
        claims.append(claim)
        if x is not None:
            found.append((token, x, certifier.name))
    return found, tuple(claims)


def _claim(
    problem: Problem, token: int, solver: str, answer: Finding
) -> tuple[SolverClaim, Floats | None]:
    """What a finding claims, and its direction where that is a vector of finite numbers."""
    kept = as_kept(answer)
    verdict = exact.judge(problem, token, kept)
    x, note = kept.x, kept.note
    if x is not None and (x.shape != (problem.readout.d,) or not np.isfinite(x).all()):
        x, note = None, "its direction is no vector of finite numbers"
    bound = residual = None
    if kept.weights is not None:
        bound, residual = _weighed(problem, token, kept.weights)
    inside = x is not None and problem.domain.contains(x)
    claim = SolverClaim(token, solver, x is not None, inside, bound, residual, verdict.name, note)
    return claim, x


def _weighed(problem: Problem, token: int, weights: Weights) -> tuple[float, float]:
    """``-sum lam_j c_j`` and ``|sum lam_j a_j|`` of the weights, normalised, in float64."""
    with np.errstate(all="ignore"):
        lam = weights.values / weights.values.sum()
        r, g = np.zeros(problem.readout.d), 0.0
        for start in range(0, lam.size, 8192):
            part = slice(start, start + 8192)
            a, c = problem.differences(token, weights.indices[part])
            r, g = r + lam[part] @ a, g + float(lam[part] @ c)
        return 0.0 - g, float(np.linalg.norm(r))


# Precisions


def _precisions(names: Sequence[str] | None, given: Given) -> list[Chosen]:
    """The precisions asked for, all that are installed where None, with their options."""
    plugins = installed()
    if names is None:
        names = [item.record.name for item in plugins.listed() if item.kind == "precision"]
    if not names:
        raise InputError("no precision to compare: install a plugin that brings one, or name one")
    for name in names:
        if list(names).count(name) > 1:
            raise InputError(f"precision {name} is named twice")
    records = [plugins.get("precision", name) for name in names]
    return [(r, validate("precision", r, given.get(("precision", r.name), {}))) for r in records]


def _roundoffs(chosen: Iterable[Chosen]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The unit roundoffs by name; NaN, and a note, where a precision does not say."""
    out, faults = {}, []
    for precision, options in chosen:
        try:
            value = float(precision.roundoff(options))
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{value} is no unit roundoff")
        except Exception as error:  # a stranger's precision may raise anything
            faults.append(f"precision {precision.name} has no unit roundoff: {_reason(error)}")
            value = math.nan
        out[precision.name] = value
    return out, tuple(faults)


def _coarse_first(name: str, roundoffs: Mapping[str, float]) -> tuple[bool, float, str]:
    roundoff = roundoffs[name]
    return not math.isnan(roundoff), 0.0 if math.isnan(roundoff) else -roundoff, name


def _rows(
    readout: Readout, chosen: Sequence[Chosen], points: Sequence[ComparedPoint]
) -> tuple[tuple[ComparisonRow, ...], tuple[str, ...]]:
    """Every cell, by token and then from coarse to fine, and a note a kind of failure.

    A precision sees all points before the next one's turn, as it may keep the weights rounded.
    """
    work = [(i, j) for j in range(len(chosen)) for i in range(len(points))]
    cells: dict[tuple[int, int], ComparisonRow] = {}
    failed: dict[tuple[str, str], list[int]] = {}
    for i, j in track(work, "compare", len(work), "margins"):
        cell = _cell(readout, *chosen[j], points[i])
        if isinstance(cell, str):
            name, point = chosen[j][0].name, points[i]
            failed.setdefault((name, cell), []).append(point.token_id)
            cell = ComparisonRow(point.token_id, point.token, name, None, None, None, False)
        cells[i, j] = cell
    notes = tuple(
        f"precision {name} raised {reason}: token {tokens[0]}"
        + (f" and {len(tokens) - 1} more" if len(tokens) > 1 else "")
        for (name, reason), tokens in failed.items()
    )
    return tuple(cells[key] for key in sorted(cells)), notes


def _cell(
    readout: Readout, precision: Precision[Any], options: Any, point: ComparedPoint
) -> ComparisonRow | str:
    """What a precision says of a point, or the reason why it says nothing."""
    try:
        with np.errstate(all="ignore"):  # its overflows are part of its answer
            found = precision.margin(readout, point.token_id, point.x, options)
        margin, winner = float(found.margin), index(found.argmax_id)
        radius = None if found.error is None else float(found.error)
        if not 0 <= winner < readout.V:
            raise ValueError(f"its winner {winner} is outside the vocabulary")
    except Exception as error:  # a stranger's precision may raise anything
        return _reason(error)
    sign = None if math.isnan(margin) else (margin > 0.0) - (margin < 0.0)
    return ComparisonRow(
        point.token_id,
        point.token,
        precision.name,
        margin,
        winner,
        sign,
        sign == point.sign,
        radius,
    )


# Odds and ends


def _domain(readout: Readout, asked: str | Domain) -> Domain:
    """The domain asked for, by name or as it is."""
    if isinstance(asked, str):
        asked = domains.named(asked, readout.d, readout.norm)
    return domains.checked(asked)


def _refuse_unused(given: Given, names: Mapping[str, Sequence[str]]) -> None:
    """An option that nothing here will read is a mistake, most likely of spelling."""
    for kind, name in given:
        if kind not in HOOKS:
            raise unknown("kind of plugin", kind, HOOKS)
        installed().get(kind, name)
        if name not in names.get(kind, ()):
            raise InputError(f"options are given for {kind} {name}, which has no part in this")


def _reason(error: Exception) -> str:
    """An exception on one line."""
    try:
        text = str(error)
    except Exception:  # that is a stranger's code too
        text = ""
    return " ".join(f"{type(error).__name__}: {text}".split())
