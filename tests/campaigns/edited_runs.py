"""Sound run files, edited: `geom.verify` must find every edit that makes a claim untrue.

Each case takes one of several runs (every verdict, every kind of certificate, candidates, a list of
tokens, measures), edits it with Python's own sqlite3, and asks `geom.verify`. An edit that leaves
every claim true must be accepted; for any other, either the edit must be found or the file refused
in one line. Fractions and the data that made the run decide which claims are untrue, never geom.
"""

from __future__ import annotations

import io
import json
import math
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import geom
from campaigns.campaign import Case, main
from geom import GeomError, Readout, Verification
from support import truth

MEASURES = (
    "angular-margin",
    "best-rank",
    "chebyshev-radius",
    "logit-bias",
    "min-p",
    "perturbation",
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A run as it was made, and the data that made it."""

    readout: Readout
    content: bytes


@cache
def subject(name: str) -> Subject:
    """Make a run to edit, once in each process."""
    rng = np.random.default_rng(7)
    measured: tuple[str, ...] = ()
    norm: Any = "layernorm"
    tokens: Any = "all"
    if name == "candidates":
        W, b, norm, tokens = _rows(rng, 60, 3), None, "rmsnorm", "candidates"
    elif name == "list":
        W, tokens = _rows(rng, 40, 4), "1,3-9,20,36-39"
        b = 0.3 * rng.standard_normal(40)
    elif name == "many":
        W, b = _rows(rng, 300, 40), 0.05 * rng.standard_normal(300)
    else:
        W, measured = _rows(rng, 24, 4), MEASURES
        b = 0.2 * rng.standard_normal(24)
        b[-4:-2], b[-2:] = 0.0, b[0]
    V = len(W)
    W[-1], W[-2] = W[0], W[0]  # twins
    readout = Readout.fold(
        W,
        b,
        norm=norm,
        tokens=[f" t{token}" for token in range(V)],
        kinds=["special" if token % 7 == 0 else "normal" for token in range(V)],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        with geom.run(readout, tokens=tokens, opening=name != "list", out=path) as run:
            if measured:
                ids = [row.token_id for row in run.rows("speakable")][:4]
                ids += [row.token_id for row in run.rows("unspeakable")][:3]
                geom.measure(run, measured, ids)
        return Subject(readout, path.read_bytes())


def _rows(rng: np.random.Generator, V: int, d: int) -> Any:
    """Draw random rows, the last but two inside the hull of the others."""
    W = rng.standard_normal((V, d)).astype(np.float32).astype(float)
    W[-4], W[-3] = (W[0] + W[1]) / 2.0, W[:8].mean(axis=0)
    return W


@dataclass
class File:
    """A copy of a run that an edit changes, and the edit's random generator."""

    path: Path
    made: Subject
    rng: np.random.Generator
    tokens: set[int] = field(default_factory=set)
    """The tokens whose claims become untrue; empty if it is the whole run."""

    @cached_property
    def connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def sql(self, statement: str, *values: object) -> None:
        """Execute a statement that must change at least one row."""
        assert self.connection.execute(statement, values).rowcount != 0, statement

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values).fetchall()

    def pick(self, where: str = "1") -> int:
        """Pick a token with a row that meets the condition; its claim will be untrue.

        Raises LookupError if the run has no such token.
        """
        ids = [token for (token,) in self.ask(f"SELECT token_id FROM tokens WHERE {where}")]
        if not ids:
            raise LookupError(where)
        token = int(self.rng.choice(ids))
        self.tokens.add(token)
        return token

    def set(self, token: int, assignments: str, *values: object) -> None:
        self.sql(f"UPDATE tokens SET {assignments} WHERE token_id = ?", *values, token)

    def settings(self, change: Callable[[dict[str, Any]], object]) -> None:
        ((text,),) = self.ask("SELECT value FROM meta WHERE key = 'settings'")
        settings = json.loads(text)
        change(settings)
        self.sql("UPDATE meta SET value = ? WHERE key = 'settings'", json.dumps(settings))

    def array(self, token: int, name: str) -> Any:
        query = "SELECT data FROM evidence WHERE token_id = ? AND name = ?"
        ((data,),) = self.ask(query, token, name)
        return np.load(io.BytesIO(data))

    def put(self, token: int, name: str, values: ArrayLike) -> None:
        statement = "UPDATE evidence SET data = ? WHERE token_id = ? AND name = ?"
        self.sql(statement, blob(values), token, name)

    def margin(self, token: int, x: ArrayLike) -> Any:
        return truth.margin(self.made.readout.W, self.made.readout.b, token, x)

    def measured(self) -> tuple[int, str]:
        """Pick a token and a measure whose number is closely proven by a point and weights."""
        query = (
            "SELECT token_id, measure FROM measures WHERE x IS NOT NULL AND weights IS NOT NULL "
            "AND error > 0 AND error < 0.01 * abs(value)"
        )
        found = self.ask(query)
        token, measure = found[int(self.rng.integers(len(found)))]
        self.tokens.add(token)
        return token, measure

    def set_measure(self, assignments: str, *values: object) -> None:
        token, measure = self.measured()
        statement = f"UPDATE measures SET {assignments} WHERE token_id = ? AND measure = ?"
        self.sql(statement, *values, token, measure)


def blob(values: ArrayLike) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue()


Edit = Callable[[File], object]

WITNESSED = "verdict = 'speakable' AND recipe IS NULL"
WEIGHED = "verdict = 'unspeakable'"


# Verdicts


def flip_to_unspeakable(file: File) -> None:
    proof = file.rng.choice(["slack", "interior", "rational"])
    token = file.pick("verdict = 'speakable'")
    file.set(
        token,
        "verdict = 'unspeakable', proof = ?, margin_lower = NULL, margin_upper = 0.0",
        str(proof),
    )


def flip_to_speakable(file: File) -> None:
    token = file.pick(WEIGHED)
    file.set(token, "verdict = 'speakable', proof = 'witness', margin_lower = 1e-9")
    file.set(token, "margin_upper = NULL")
    x = file.made.readout.domain.fit(file.rng.standard_normal(file.made.readout.d))
    file.sql("INSERT OR REPLACE INTO evidence VALUES (?, 'witness', 'x', ?)", token, blob(x))


def call_undecided(file: File) -> None:
    token = file.pick("verdict != 'undecided'")
    margins = "margin_lower = NULL, margin_upper = NULL" if file.rng.random() < 0.5 else "note=note"
    file.set(token, f"verdict = 'undecided', proof = NULL, {margins}")


def take_the_verdict(file: File) -> None:
    token = file.pick()
    file.set(token, "verdict = NULL")
    file.tokens.clear()


def take_every_verdict(file: File) -> None:
    file.sql("UPDATE tokens SET verdict = NULL")


def empty_the_run(file: File) -> None:
    file.sql("UPDATE tokens SET verdict = 'undecided', proof = NULL, recipe = NULL")
    file.sql("UPDATE tokens SET margin_lower = NULL, margin_upper = NULL")
    file.sql("DELETE FROM evidence")


def change_the_proof(file: File) -> None:
    token = file.pick("proof = 'witness'")
    file.set(token, "proof = ?", str(file.rng.choice(["slack", "interior", "rational"])))


def take_the_proof(file: File) -> None:
    file.set(file.pick(), "proof = NULL")


def swap_two_verdicts(file: File) -> None:
    """Swap the rows of a speakable and an unspeakable token, except for their identities."""
    one, other = file.pick("verdict = 'speakable'"), file.pick(WEIGHED)
    columns = "verdict, proof, certifier, margin_lower, margin_upper, recipe"
    values = {
        t: file.ask(f"SELECT {columns} FROM tokens WHERE token_id = {t}")[0] for t in (one, other)
    }
    names = ", ".join(f"{name.strip()} = ?" for name in columns.split(","))
    file.set(one, names, *values[other])
    file.set(other, names, *values[one])


# Margins


def raise_the_lower_margin(file: File) -> None:
    token = file.pick(WITNESSED)
    truly = float(file.margin(token, file.array(token, "x")))
    file.set(token, "margin_lower = ?", truly * (1.0 + 2.0 ** -int(file.rng.integers(0, 48))))


def raise_the_lower_margin_of_a_recipe(file: File) -> None:
    """Raise the bound above what any point of the ball can reach: the distance to one rival."""
    token = file.pick("recipe IS NOT NULL")
    W, b = file.made.readout.W, file.made.readout.b
    gaps = np.linalg.norm(np.delete(W, token, axis=0) - W[token], axis=1)
    most = float((math.sqrt(W.shape[1]) * gaps + b[token] - np.delete(b, token)).min())
    file.set(token, "margin_lower = ?", most * (1.0 + file.rng.random()))


def infinite_lower_margin(file: File) -> None:
    file.set(file.pick("verdict = 'speakable'"), "margin_lower = 9e999")


def take_the_lower_margin(file: File) -> None:
    file.set(file.pick("verdict = 'speakable'"), "margin_lower = NULL")


def lower_the_upper_margin(file: File) -> None:
    """Lower the bound below the margin at the origin, which every domain contains."""
    token = file.pick(WEIGHED)
    origin = float(file.margin(token, np.zeros(file.made.readout.d)))
    file.set(token, "margin_upper = ?", origin - 2.0 ** -int(file.rng.integers(0, 40)))


def upper_margin_from_nowhere(file: File) -> None:
    token = file.pick("verdict = 'speakable' AND margin_upper IS NULL")
    file.set(token, "margin_upper = margin_lower * 0.5")


def take_the_upper_margin(file: File) -> None:
    file.set(file.pick(WEIGHED), "margin_upper = NULL")


# Probabilities


def lower_the_probability(file: File) -> None:
    token, by = file.pick(WEIGHED), float(file.rng.choice([1.0 - 1e-9, 0.9, 1e-300]))
    file.set(token, "probability_upper = probability_upper * ?", by)


def probability_of_no_kind(file: File) -> None:
    value = float(file.rng.choice([0.0, -0.25, 0.51, 1.0, np.inf, -np.inf]))
    file.set(file.pick(WEIGHED), "probability_upper = ?", value)


def take_the_probability(file: File) -> None:
    file.set(file.pick(WEIGHED), "probability_upper = NULL")


def probability_of_a_speakable_token(file: File) -> None:
    file.set(file.pick("verdict = 'speakable'"), "probability_upper = ?", float(file.rng.random()))


# Certificates


def swap_two_witnesses(file: File) -> None:
    one = file.pick(WITNESSED)
    other = file.pick(f"{WITNESSED} AND token_id != {one}")
    x, y = file.array(one, "x"), file.array(other, "x")
    file.put(one, "x", y)
    file.put(other, "x", x)


def witness_outside_the_domain(file: File) -> None:
    token = file.pick(WITNESSED)
    file.put(token, "x", file.array(token, "x") * (4.0 * file.made.readout.d))


def witness_at_the_origin(file: File) -> None:
    b = file.made.readout.b
    token = file.pick(f"{WITNESSED} AND token_id != {int(b.argmax())}")
    file.put(token, "x", np.zeros(file.made.readout.d))


def witness_of_nan(file: File) -> None:
    token = file.pick(WITNESSED)
    x = file.array(token, "x")
    x[file.rng.integers(x.size)] = file.rng.choice([np.nan, np.inf, -np.inf])
    file.put(token, "x", x)


def witness_in_float32(file: File) -> None:
    token = file.pick(WITNESSED)
    file.put(token, "x", file.array(token, "x").astype(np.float32))


def delete_a_witness(file: File) -> None:
    file.sql("DELETE FROM evidence WHERE token_id = ?", file.pick(WITNESSED))


def delete_weights(file: File) -> None:
    name = str(file.rng.choice(["indices", "values"]))
    file.sql("DELETE FROM evidence WHERE token_id = ? AND name = ?", file.pick(WEIGHED), name)


def weights_on_the_token_itself(file: File) -> None:
    token = file.pick(WEIGHED)
    indices = file.array(token, "indices")
    indices[file.rng.integers(indices.size)] = token
    file.put(token, "indices", indices)


def weights_below_zero(file: File) -> None:
    token = file.pick(WEIGHED)
    values = file.array(token, "values")
    values[file.rng.integers(values.size)] = -float(file.rng.random()) - 1e-9
    file.put(token, "values", values)


def weights_beside_the_point(file: File) -> None:
    """Put weights on one token whose row differs, with a bias too low: it is beaten somewhere."""
    token = file.pick(WEIGHED)
    W, b = file.made.readout.W, file.made.readout.b
    others = [j for j in range(len(W)) if b[j] <= b[token] and (W[j] != W[token]).any()]
    if not others:
        others = [int(b.argmin())]
    file.put(token, "indices", np.array([int(file.rng.choice(others))]))
    file.put(token, "values", np.ones(1))


def truncate_a_certificate(file: File) -> None:
    token = file.pick("recipe IS NULL")
    ((kept,),) = file.ask("SELECT data FROM evidence WHERE token_id = ? LIMIT 1", token)
    cut = int(file.rng.integers(0, len(kept)))
    statement = "UPDATE evidence SET data = ? WHERE token_id = ? AND data = ?"
    file.sql(statement, kept[:cut], token, kept)


def take_a_recipe(file: File) -> None:
    file.set(file.pick("recipe IS NOT NULL"), "recipe = NULL")


def give_a_recipe(file: File) -> None:
    file.set(file.pick(WEIGHED), "recipe = 'own-direction'")


# Missing and added rows


def delete_rows(file: File) -> None:
    ids = [token for (token,) in file.ask("SELECT token_id FROM tokens")]
    count = int(file.rng.integers(1, len(ids)))
    for token in file.rng.choice(ids, count, replace=False).tolist():
        file.connection.execute("DELETE FROM evidence WHERE token_id = ?", (token,))
        file.sql("DELETE FROM tokens WHERE token_id = ?", token)


def delete_the_unspeakable(file: File) -> None:
    file.sql(
        f"DELETE FROM evidence WHERE token_id IN (SELECT token_id FROM tokens WHERE {WEIGHED})"
    )
    file.sql(f"DELETE FROM tokens WHERE {WEIGHED}")


def delete_every_row(file: File) -> None:
    file.sql("DELETE FROM evidence")
    file.sql("DELETE FROM tokens")


def add_a_row(file: File) -> None:
    """Add a copy of another row, undecided and without evidence: it claims only to exist."""
    there = {token for (token,) in file.ask("SELECT token_id FROM tokens")}
    V = file.made.readout.V
    absent = [token for token in range(V) if token not in there] or [V, V + 7, -1]
    token = int(file.rng.choice(absent))
    file.sql(
        "INSERT INTO tokens (token_id, flagged_by, verdict, seconds) "
        "VALUES (?, '[]', 'undecided', 0)",
        token,
    )


def renumber_a_row(file: File) -> None:
    token, V = file.pick(), file.made.readout.V
    file.connection.execute("UPDATE evidence SET token_id = ? WHERE token_id = ?", (V, token))
    file.set(token, "token_id = ?", V)
    file.tokens.clear()


# Other claims of rows


def change_the_text(file: File) -> None:
    file.set(file.pick(), "token = ?", [None, "", " t", "t\u202e0"][file.rng.integers(4)])


def change_the_kind(file: File) -> None:
    file.set(file.pick(), "token_kind = ?", [None, "byte", "padding"][file.rng.integers(3)])


def change_the_text_of_the_winner(file: File) -> None:
    file.set(file.pick(), "argmax = ?", [None, " another"][file.rng.integers(2)])


def change_the_kind_of_the_winner(file: File) -> None:
    file.set(file.pick(), "argmax_kind = ?", [None, "added"][file.rng.integers(2)])


def flip_self_argmax(file: File) -> None:
    file.set(file.pick(), "self_argmax = 1 - self_argmax")


def change_the_winner(file: File) -> None:
    V = file.made.readout.V
    file.set(file.pick(), "argmax_id = (argmax_id + ?) % ?", int(file.rng.integers(1, V)), V)


def change_the_flags(file: File) -> None:
    token = file.pick()
    ((flagged,),) = file.ask("SELECT flagged_by FROM tokens WHERE token_id = ?", token)
    if flagged != "[]" and file.rng.random() < 0.5:
        file.set(token, "flagged_by = '[]'")
    else:
        file.set(token, "flagged_by = ?", json.dumps(["self-argmax", "another"]))


def take_the_note_of_a_twin(file: File) -> None:
    file.set(file.pick("note LIKE 'same row%'"), "note = NULL")


def make_up_a_twin(file: File) -> None:
    other = int(file.rng.integers(file.made.readout.V))
    where = "note IS NULL"
    file.set(file.pick(where), "note = ?", f"same row and bias as token {other}")


# Settings


def change_the_digest(file: File) -> None:
    def change(settings: dict[str, Any]) -> None:
        at, digest = int(file.rng.integers(64)), settings["digest"]
        letter = "0" if digest[at] != "0" else "1"
        settings["digest"] = digest[:at] + letter + digest[at + 1 :]

    file.settings(change)


def change_the_shape(file: File) -> None:
    key, by = str(file.rng.choice(["V", "d"])), int(file.rng.choice([-1, 1, 1000]))
    file.settings(lambda settings: settings.update({key: settings[key] + by}))


def change_the_tokens_asked_for(file: File) -> None:
    def change(settings: dict[str, Any]) -> None:
        asked = settings["tokens"]
        choices = {"all", "0-1", "2", "candidates", "@/etc/hostname", "1,0", "", "all "} - {asked}
        if asked == "all":
            choices -= {"candidates"}
        settings["tokens"] = str(file.rng.choice(sorted(choices)))
        if settings["tokens"] == "candidates" and not settings["detectors"]:
            settings["detectors"] = {"self-argmax": {}}

    file.settings(change)


def change_the_domain(file: File) -> None:
    """Change the size, the shape, half of the words, or shrink the ball: no witness is in it."""
    d = file.made.readout.d

    def change(settings: dict[str, Any]) -> None:
        domain = settings["domain"]
        choice = file.rng.integers(6)
        if choice == 0:
            domain["size"] = str(d + 1)
        elif choice == 1:
            domain["zero_sum"] = not domain["zero_sum"]
        elif choice == 2:
            domain["name"] = "rmsnorm" if domain["name"] == "layernorm" else "layernorm"
        elif choice == 3:
            del domain[str(file.rng.choice(["name", "shape", "size", "zero_sum"]))]
        elif choice == 4:
            domain["zero_sum"] = str(domain["zero_sum"]).lower()
        else:
            domain |= {"name": "small", "size": "1/1000000"}

    file.settings(change)


def take_a_setting(file: File) -> None:
    def change(settings: dict[str, Any]) -> None:
        del settings[str(file.rng.choice(sorted(settings)))]

    file.settings(change)


def change_the_detectors(file: File) -> None:
    def change(settings: dict[str, Any]) -> None:
        made_up = [{"self-argmax": {"centre": "perhaps"}}, {"self-argmax": {"no": 1}}, ["x"], "x"]
        settings["detectors"] = made_up[file.rng.integers(4)]

    file.settings(change)


def take_the_plan(file: File) -> None:
    if file.rng.random() < 0.5:
        file.sql("DELETE FROM meta WHERE key = 'planned'")
    else:
        file.sql("UPDATE meta SET value = 'false' WHERE key = 'planned'")


# Measures


def move_a_number(file: File) -> None:
    sign = float(file.rng.choice([-1.0, 1.0]))
    file.set_measure("value = value + ? * (3 * error + 1e-3 * abs(value))", sign)


def shrink_an_error(file: File) -> None:
    file.set_measure("error = error * ?", float(file.rng.choice([0.0, 1e-9, 0.1])))


def infinite_number(file: File) -> None:
    file.set_measure("value = ?, error = 0", float(file.rng.choice([np.inf, -np.inf])))


def take_a_number(file: File) -> None:
    file.set_measure("value = NULL")


def take_an_error(file: File) -> None:
    file.set_measure("error = NULL")


def call_it_an_estimate(file: File) -> None:
    file.set_measure("proven = 0")


def take_the_point_of_a_measure(file: File) -> None:
    file.set_measure("x = NULL")


def take_the_weights_of_a_measure(file: File) -> None:
    file.set_measure("weights = NULL")


def wrong_weights_of_a_measure(file: File) -> None:
    file.set_measure("weights = ?", blob(-np.ones(3)))


def change_the_unit(file: File) -> None:
    file.set_measure("unit = 'inches'")


def change_the_text_of_a_measure(file: File) -> None:
    file.set_measure("token = 'another'")


def give_a_number_to_another_token(file: File) -> None:
    token, measure = file.measured()
    measured = {t for (t,) in file.ask("SELECT DISTINCT token_id FROM measures")}
    other = int(file.rng.choice(sorted(set(range(file.made.readout.V)) - measured)))
    text, kind = file.made.readout.text(other), file.made.readout.kind(other)
    file.sql(
        "UPDATE measures SET token_id = ?, token = ?, token_kind = ? "
        "WHERE token_id = ? AND measure = ?",
        *(other, text, kind, token, measure),
    )
    file.tokens = {other}


def rename_a_measure(file: File) -> None:
    token, measure = file.measured()
    other = MEASURES[(MEASURES.index(measure) + 1) % len(MEASURES)]
    ((unit,),) = file.ask("SELECT unit FROM measures WHERE measure = ? LIMIT 1", other)
    file.sql("DELETE FROM measures WHERE token_id = ? AND measure = ?", token, other)
    file.sql(
        "UPDATE measures SET measure = ?, unit = ? WHERE token_id = ? AND measure = ?",
        *(other, unit, token, measure),
    )


def wrong_options_of_a_measure(file: File) -> None:
    file.set_measure("options = ?", str(file.rng.choice(['{"gap": -1}', '{"no": 1}', "[]", "{"])))


# The file


def change_the_marks(file: File) -> None:
    mark = str(file.rng.choice(["application_id", "user_version"]))
    file.sql(f"PRAGMA {mark} = {int(file.rng.integers(8, 1000))}")


def cut_the_file(file: File) -> None:
    file.connection.close()
    content = file.path.read_bytes()
    file.path.write_bytes(content[: int(file.rng.integers(1, len(content) * 3 // 4))])


# Edits that leave every claim true


def nothing(file: File) -> None:
    pass


def pack(file: File) -> None:
    file.sql("VACUUM")


def write_a_row_again(file: File) -> None:
    token = file.pick()
    file.set(token, "verdict = verdict, margin_lower = margin_lower, token = token, seconds = 0.5")


def claim_less(file: File) -> None:
    token = file.pick("verdict = 'speakable' AND margin_lower > 1e-9")
    file.set(token, "margin_lower = margin_lower * ?", float(file.rng.uniform(0.01, 1.0)))


def claim_less_of_a_probability(file: File) -> None:
    token = file.pick(f"{WEIGHED} AND probability_upper < 0.5")
    share = float(file.rng.uniform(0.0, 1.0))
    file.set(token, "probability_upper = probability_upper + ? * (0.5 - probability_upper)", share)


def claim_less_of_a_measure(file: File) -> None:
    file.set_measure("error = error * 2")


TRUE: tuple[Edit, ...] = (
    *(nothing, pack, write_a_row_again, claim_less, claim_less_of_a_probability),
    claim_less_of_a_measure,
)

RECIPES: tuple[Edit, ...] = (raise_the_lower_margin_of_a_recipe, take_a_recipe)

OF_MEASURES: tuple[Edit, ...] = (
    move_a_number,
    shrink_an_error,
    infinite_number,
    take_a_number,
    take_an_error,
    call_it_an_estimate,
    take_the_point_of_a_measure,
    take_the_weights_of_a_measure,
    wrong_weights_of_a_measure,
    change_the_unit,
    change_the_text_of_a_measure,
    give_a_number_to_another_token,
    rename_a_measure,
    wrong_options_of_a_measure,
    claim_less_of_a_measure,
)

EDITS: tuple[Edit, ...] = (
    *(flip_to_unspeakable, flip_to_speakable, call_undecided, take_the_verdict),
    *(take_every_verdict, empty_the_run, change_the_proof, take_the_proof, swap_two_verdicts),
    *(raise_the_lower_margin, infinite_lower_margin, take_the_lower_margin),
    *(lower_the_upper_margin, upper_margin_from_nowhere, take_the_upper_margin),
    *(lower_the_probability, probability_of_no_kind, take_the_probability),
    probability_of_a_speakable_token,
    *(swap_two_witnesses, witness_outside_the_domain, witness_at_the_origin, witness_of_nan),
    *(witness_in_float32, delete_a_witness, delete_weights, weights_on_the_token_itself),
    *(weights_below_zero, weights_beside_the_point, truncate_a_certificate, give_a_recipe),
    *(delete_rows, delete_the_unspeakable, delete_every_row, add_a_row, renumber_a_row),
    *(change_the_text, change_the_kind, change_the_text_of_the_winner),
    *(change_the_kind_of_the_winner, flip_self_argmax, change_the_winner, change_the_flags),
    *(take_the_note_of_a_twin, make_up_a_twin, change_the_digest, change_the_shape),
    *(change_the_tokens_asked_for, change_the_domain, take_a_setting, change_the_detectors),
    *(take_the_plan, change_the_marks, cut_the_file),
    *RECIPES,
    *OF_MEASURES[:-1],
    *TRUE,
)


def draw(rng: np.random.Generator, number: int) -> Case:
    """Make the edit of that number, at a random place, in a random run."""
    edit = EDITS[number % len(EDITS)]
    names = ("measured", "candidates", "list", "many")
    if edit in OF_MEASURES:
        names = names[:1]
    elif edit in RECIPES:
        names = names[3:]
    name = edit.__name__.replace("_", " ")
    for of in rng.permutation(names).tolist():
        made = subject(of)
        with tempfile.TemporaryDirectory() as folder:
            file = File(Path(folder) / "run.db", made, rng)
            file.path.write_bytes(made.content)
            try:
                with closing(file.connection):
                    edit(file)
            except LookupError:  # the run has no such token
                continue
            return Case(name, _wrong(file, edit in TRUE))
    raise AssertionError(f"the edit {name} applies to no run")


def _wrong(file: File, true: bool) -> str | None:
    """Return what is wrong with `geom.verify`'s answer about the edited file, or None."""
    try:
        with geom.open_run(file.path) as run:
            found = geom.verify(run, file.made.readout)
    except GeomError as error:
        if true:
            return f"a true run is refused: {error}"
        return None if "\n" not in str(error) else f"the refusal has several lines: {error}"
    if true:
        return None if found.ok else f"a true run is faulted: {found.faults[0]}"
    return _missed(found, file.tokens)


def _missed(found: Verification, tokens: set[int]) -> str | None:
    if found.ok:
        return f"the untrue claims of {sorted(tokens)} are accepted"
    if any("\n" in str(fault) for fault in found.faults):
        return "a fault has several lines"
    named = {fault.token for fault in found.faults}
    if not tokens <= named and None not in named:
        return f"of {sorted(tokens)}, only {named} are named"
    return None


if __name__ == "__main__":
    main("edited_runs", draw, cases=3_000)
