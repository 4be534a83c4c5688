"""The precisions, against rationals, other libraries and margins known by construction."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from geom import Precision, PrecisionMargin, Problem, Readout
from geom.exact.points import margin_at
from geom.plugins.registry import installed
from geom_plugins.precisions import double_double, kept
from geom_plugins.precisions.low_precision import shortened

ROUNDOFFS = {
    "float8-e4m3": 2.0**-4,
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "float32": 2.0**-24,
    "float64": 2.0**-53,
    "longdouble": float(np.finfo(np.longdouble).eps) / 2.0,
    "double-double": 2.0**-104,
    "arb": 2.0**-128,
    "mpmath": 2.0**-169,
    "exact": 0.0,
}
SHORT = ("float8-e4m3", "bfloat16", "float16")
MACHINE = ("float32", "float64", "longdouble", "double-double")
FINE = ("double-double", "mpmath", "arb", "exact")
WAYS = [(name, {}) for name in ROUNDOFFS] + [(name, {"accumulate": "same"}) for name in SHORT]


def precision(name: str) -> Precision[Any]:
    return installed().get("precision", name)


def seen(name: str, readout: Readout, token: int, x: Any, **options: Any) -> PrecisionMargin:
    record = precision(name)
    point = np.asarray(x, dtype=np.float64)
    return record.margin(readout, token, point, record.options(**options))


def truth(readout: Readout, token: int, x: Any) -> Fraction:
    logits = [
        sum(map(Fraction, [0, *(Fraction(w) * Fraction(v) for w, v in zip(row, x, strict=True))]))
        + Fraction(b)
        for row, b in zip(readout.W.tolist(), readout.b.tolist(), strict=True)
    ]
    own = logits.pop(token)
    return own - max(logits)


def cases(count: int, seed: int) -> Iterator[tuple[Readout, int, list[float]]]:
    """Yield random readouts at many scales, with biases, near ties and twins."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        V, d = int(rng.integers(2, 7)), int(rng.integers(1, 8))
        W = rng.normal(size=(V, d)) * 2.0 ** rng.integers(-3, 4)
        x = rng.normal(size=d)
        W[-1] = W[0] * rng.choice([1.0, 1.0 + 2.0**-40, 1.0 + 2.0**-9])
        b = rng.normal(size=V) * rng.choice([0.0, 1e-6, 1.0])
        yield Readout.fold(W, b), int(rng.integers(V)), x.tolist()


def test_every_precision_says_its_roundoff() -> None:
    found = {
        item.record.name: item.record.roundoff(item.record.options())
        for item in installed().listed()
        if item.kind == "precision"
    }
    assert found == ROUNDOFFS


@pytest.mark.parametrize("k", range(2, 46))
def test_a_margin_is_right_where_the_roundoff_says_so_and_a_tie_where_it_is_coarser(k: int) -> None:
    readout = Readout.fold([[1.0], [1.0 + 2.0**-k]])
    for name, roundoff in ROUNDOFFS.items():
        right = 2.0**-k >= 2.0 * roundoff
        for token, sign in ((0, -1.0), (1, 1.0)):
            found = seen(name, readout, token, [1.0])
            assert found.margin == (sign * 2.0**-k if right else 0.0)
            assert found.argmax_id == (1 if right else 0)
            assert found.error is not None
            assert abs(Fraction(found.margin) - Fraction(sign * 2.0**-k)) <= Fraction(found.error)


@pytest.mark.parametrize("name", FINE)
def test_the_fine_ones_see_what_float64_cannot(name: str) -> None:
    readout = Readout.fold([[1.0, 2.0**-70], [1.0, 0.0]])
    assert seen("float64", readout, 0, [1.0, 1.0]).margin == 0.0
    found = seen(name, readout, 0, [1.0, 1.0])
    assert found.error is not None
    assert found.margin == 2.0**-70 > found.error
    assert seen(name, readout, 1, [1.0, 1.0]).argmax_id == 0


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_the_radius_holds_the_exact_margin(name: str, options: dict[str, Any]) -> None:
    for readout, token, x in cases(2000 if name in ("arb", "mpmath") else 200, seed=5):
        found = seen(name, readout, token, x, **options)
        if found.error is None:
            assert name == "float8-e4m3"
            continue
        off = abs(Fraction(found.margin) - truth(readout, token, x))
        assert off <= Fraction(found.error)


@pytest.mark.parametrize("name", SHORT)
def test_a_running_radius_is_tighter_than_one_made_beforehand(name: str) -> None:
    rng = np.random.default_rng(12)
    readout, x = Readout.fold(rng.normal(size=(20, 768)) * 0.14), rng.normal(size=768)
    found = seen(name, readout, 0, x, accumulate="same")
    beforehand = math.expm1(769 * ROUNDOFFS[name]) * readout.row_norms[0] * np.linalg.norm(x)
    assert found.error is not None
    assert found.error < beforehand
    assert abs(Fraction(found.margin) - truth(readout, 0, x.tolist())) <= Fraction(found.error)


@pytest.mark.parametrize("name", FINE)
def test_the_fine_ones_agree_with_the_exact_margin_to_float64(name: str) -> None:
    for readout, token, x in cases(200, seed=6):
        exact = margin_at(Problem(readout, readout.domain), token, np.array(x))
        assert exact == truth(readout, token, x)
        assert exact is not None
        found = seen(name, readout, token, x)
        assert found.margin == pytest.approx(float(exact), rel=1e-15, abs=1e-28)
        assert found.error is not None
        assert found.error <= 1e-15 * abs(found.margin) + 1e-26


@pytest.mark.parametrize("name", [*FINE, "float64", "longdouble"])
def test_a_winner_is_the_lowest_id_of_the_largest_logit(name: str) -> None:
    readout = Readout.fold([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    for token in (1, 2, 3):
        found = seen(name, readout, token, [1.0, 0.5])
        assert (found.margin, found.argmax_id) == (0.0, 1)
    assert seen(name, readout, 0, [1.0, 0.5]).margin == -0.5
    assert seen(name, readout, 0, [0.0, 0.0]).argmax_id == 0


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_signed_zeros_tie(name: str, options: dict[str, Any]) -> None:
    readout = Readout.fold([[-1.0], [1.0]])
    for token in (0, 1):
        found = seen(name, readout, token, [-0.0], **options)
        assert (found.argmax_id, str(found.margin)) == (0, "0.0")


@pytest.mark.parametrize("name", ROUNDOFFS)
def test_a_token_without_rivals_has_an_infinite_margin(name: str) -> None:
    found = seen(name, Readout.fold([[1.0, 2.0]]), 0, [1.0, 1.0])
    assert found == PrecisionMargin(math.inf, 0, None)


def test_float16_overflows_to_infinity_and_then_to_no_answer() -> None:
    readout = Readout.fold([[65519.0], [65520.0], [1.0]])
    found = seen("float16", readout, 1, [1.0])
    assert (found.margin, found.argmax_id, found.error) == (math.inf, 1, None)
    both = Readout.fold([[1e5], [2e5], [1.0]])
    found = seen("float16", both, 1, [1.0])
    assert math.isnan(found.margin)
    assert found.error is None
    assert seen("bfloat16", both, 1, [1.0]).margin == pytest.approx(1e5, rel=2.0**-7)


def test_sums_that_pass_the_range_of_float16_do_not_overflow_in_float32() -> None:
    readout = Readout.fold([[60000.0, 60000.0, -60000.0], [1.0, 0.0, 0.0]])
    x = [1.0, 1.0, 1.0]
    assert seen("float16", readout, 0, x, accumulate="float32").margin == 60000.0
    assert seen("float16", readout, 0, x, accumulate="same").margin == math.inf


def test_float8_has_nan_where_others_have_infinity_and_does_not_saturate() -> None:
    fits = Readout.fold([[464.0], [1.0]])  # the tie goes to 448, which is even
    assert seen("float8-e4m3", fits, 0, [1.0]).margin == 448.0
    over = Readout.fold([[1.0], [465.0]])
    found = seen("float8-e4m3", over, 0, [1.0])
    assert math.isnan(found.margin)
    assert (found.argmax_id, found.error) == (1, None)


@pytest.mark.parametrize(
    ("name", "least"), [("float16", 2.0**-24), ("bfloat16", 2.0**-133), ("float8-e4m3", 2.0**-9)]
)
def test_subnormal_numbers_are_kept_down_to_the_least(name: str, least: float) -> None:
    kept_one = Readout.fold([[least], [0.0]])
    lost_one = Readout.fold([[least / 2.0], [0.0]])
    for accumulate in ("same", "float32"):
        found = seen(name, kept_one, 0, [1.0], accumulate=accumulate)
        assert (found.margin, found.argmax_id) == (least, 0)
        assert seen(name, lost_one, 0, [1.0], accumulate=accumulate).margin == 0.0


def test_the_order_of_summation_matters_in_float16_and_not_in_exact() -> None:
    small = [2.0**-11] * 8
    readout = Readout.fold([[*small, 1.0], [1.0, *small]])
    x = [1.0] * 9
    found = seen("float16", readout, 0, x, accumulate="same")
    assert (found.margin, found.argmax_id) == (2.0**-8, 0)  # 1 + 8 * 2^-11 against 1
    assert seen("float16", readout, 0, x, accumulate="float32").margin == 0.0
    assert seen("exact", readout, 0, x) == PrecisionMargin(0.0, 0, 0.0)


@pytest.mark.parametrize("name", SHORT)
def test_numbers_are_rounded_once_to_nearest_with_ties_to_even(name: str) -> None:
    dtype = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(
        name, ml_dtypes.float8_e4m3fn
    )
    bits = 8 * np.dtype(dtype).itemsize
    words = np.arange(2 ** (bits - 1), dtype=f"u{bits // 8}")
    with np.errstate(invalid="ignore"):  # for the words that are NaN
        numbers = words.view(dtype).astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]  # ascending, because the words are
    low, high = numbers[:-1], numbers[1:]
    middle = (low + high) / 2.0
    tie = np.where(words[: low.size] % 2 == 0, low, high)
    for sign in (1.0, -1.0):
        got = shortened(sign * middle, np.dtype(dtype)).astype(np.float64)
        assert (got == sign * tie).all()
        above = shortened(sign * np.nextafter(middle, np.inf), np.dtype(dtype))
        assert (above.astype(np.float64) == sign * high).all()
        below = shortened(sign * np.nextafter(middle, 0.0), np.dtype(dtype))
        assert (below.astype(np.float64) == sign * low).all()


def _torch_logits(W: Any, x: Any, b: Any) -> Any:
    import torch

    tensors = [torch.from_numpy(np.asarray(a)).to(torch.bfloat16) for a in (x, W, b)]
    return torch.nn.functional.linear(*tensors).double().numpy()


@pytest.mark.parametrize("seed", range(20))
def test_bfloat16_is_torchs_where_every_sum_is_exact_ties_included(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W = rng.integers(-4, 5, size=(200, 64)).astype(np.float64)
    x, b = rng.integers(-4, 5, size=64).astype(np.float64), np.zeros(200)
    logits = _torch_logits(W, x, b)
    readout = Readout.fold(W, b)
    best = np.flatnonzero(logits == logits.max())
    for token in (*best, 0, 7):
        found = seen("bfloat16", readout, int(token), x)
        assert found.margin == logits[token] - np.delete(logits, token).max()
        assert found.argmax_id == best[0]


def test_bfloat16_is_torchs_up_to_the_order_of_float32_sums() -> None:
    rng = np.random.default_rng(3)
    W, x, b = rng.normal(size=(400, 256)), rng.normal(size=256), rng.normal(size=400)
    logits = _torch_logits(W, x, b)
    readout = Readout.fold(W, b)
    rival = int(logits.argmax())
    same = 0
    for token in range(400):
        if token == rival:
            continue
        gap = float(np.float64(ml_dtypes.bfloat16(logits[token] - logits[rival])))
        margin = seen("bfloat16", readout, token, x).margin
        same += margin == gap
        assert margin == pytest.approx(gap, rel=2.0**-6, abs=2.0**-6 * abs(logits[token]))
    assert same >= 395


def test_double_doubles_products_and_sums_are_within_their_bound() -> None:
    rng = np.random.default_rng(8)
    for d in (1, 2, 3, 31, 33, 100, 257):
        W, x, b = rng.normal(size=(5, d)), rng.normal(size=d), rng.normal(size=5)
        if d > 1:
            x[-1] = -(W[0, :-1] @ x[:-1]) / W[0, -1]  # the sum nearly vanishes
        high, low, bound = double_double.logits(W, x, b)
        for i in range(5):
            exact = sum(Fraction(w) * Fraction(v) for w, v in zip(W[i], x, strict=True))
            size = sum(abs(Fraction(w) * Fraction(v)) for w, v in zip(W[i], x, strict=True))
            off = abs(Fraction(high[i]) + Fraction(low[i]) - exact - Fraction(b[i]))
            assert off <= (size + abs(Fraction(b[i]))) * (d.bit_length() + 2) ** 2 / 2**104
            assert off <= Fraction(bound[i])


@pytest.mark.parametrize("d", [1, 2, 3, 31, 768, 5000])
@pytest.mark.parametrize("kind", ["float32", "float64", "wild"])
def test_a_double_double_logit_is_within_the_bound_it_gives(d: int, kind: str) -> None:
    rng = np.random.default_rng(d)
    W, x, b = rng.normal(size=(3, d)), rng.normal(size=d), rng.normal(size=3)
    if kind == "float32":
        W = W.astype(np.float32).astype(np.float64)
    if kind == "wild":
        W *= 2.0 ** rng.integers(-400, 300, size=(3, d))
        W[1] = 0.0
    high, low, bound = double_double.logits(W, x, b)
    for i in range(3):
        exact = sum(
            Fraction(w) * Fraction(v) for w, v in zip(W[i].tolist(), x.tolist(), strict=True)
        )
        off = abs(Fraction(high[i]) + Fraction(low[i]) - exact - Fraction(b[i]))
        assert off <= Fraction(bound[i])
        size = math.sqrt(d) * np.abs(W[i]).max() * np.linalg.norm(x) + abs(b[i])
        assert bound[i] <= d * 2.0**-100 * size + 2.0**-1000


def test_double_double_is_the_same_on_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    W, x, b = rng.normal(size=(700, 50)), rng.normal(size=50), rng.normal(size=700)
    W[300:] *= 2.0 ** rng.integers(-9, 9, size=(400, 1))
    monkeypatch.setattr(double_double, "BLOCK", 1 << 10)  # 20 rows: nine turns of four
    alone = double_double.logits(W, x, b)
    monkeypatch.setattr(double_double, "SERIAL", 1)
    monkeypatch.setattr(double_double, "cores", lambda: 3)
    together = double_double.logits(W, x, b)
    assert (alone[0] == together[0]).all()
    assert (alone[1] == together[1]).all()
    assert (alone[2] == together[2]).all()


@pytest.mark.parametrize("d", [1, 2, 3, 4, 16, 31, 64, 768])
def test_a_double_doubles_slices_at_their_largest_are_summed_exactly(d: int) -> None:
    full = 1.0 - 2.0**-53  # rounds up in every slice
    W = np.array([[full] * d, [-full] * d, [1.0] * d, [full] * (d - 1) + [2.0**-70]])
    high, low, _ = double_double.logits(W, np.full(d, full), np.zeros(4))
    for row, top, rest in zip(W.tolist(), high.tolist(), low.tolist(), strict=True):
        exact = sum(map(Fraction, row)) * Fraction(full)
        assert abs(Fraction(top) + Fraction(rest) - exact) <= abs(exact) / 2**104


def test_what_is_below_all_slices_is_in_a_double_doubles_bound() -> None:
    rng = np.random.default_rng(14)
    W, x = rng.normal(size=(6, 64)) * 2.0**-65, rng.normal(size=64) * 2.0**-65
    W[:, 0], x[-1], W[:, -1], x[0] = 1.0, 1.0, 0.0, 0.0  # most entries fall below the slices
    x[1:3] = 2.0**-50
    high, low, bound = double_double.logits(W, x, np.zeros(6))
    for row, top, rest, error in zip(W.tolist(), high, low, bound, strict=True):
        exact = sum(Fraction(w) * Fraction(v) for w, v in zip(row, x.tolist(), strict=True))
        assert abs(Fraction(top) + Fraction(rest) - exact) <= Fraction(error)


@pytest.mark.parametrize("name", MACHINE)
def test_products_of_numbers_at_the_ends_of_the_range_are_enclosed_or_refused(name: str) -> None:
    rng = np.random.default_rng(13)
    record = precision(name)
    assert record.products is not None
    answers, limit = 0, Fraction(2) ** (127 if name == "float32" else 970)
    for _ in range(400):
        n, d = int(rng.integers(1, 5)), int(rng.choice([1, 2, 5, 17]))
        ends = rng.choice([-1074, -600, -140, -20, 900], 2)
        rows, x = (
            np.ldexp(rng.normal(size=shape), rng.integers(end, end + 120, size=shape))
            * rng.choice([0.0, 1.0, 1.0, 1.0], size=shape)
            for shape, end in zip(((n, d), (d,)), ends, strict=True)
        )
        if d > 1 and abs(x[-1]) > 2.0**-20 and max(ends) < 900:
            rows[0, -1] = -(rows[0, :-1] @ (x[:-1] / x[-1]))  # the sum nearly vanishes
        try:
            found = record.products(rows, x, record.options())
        except ArithmeticError:
            w, v = (Fraction(float(np.abs(part).max())) for part in (rows, x))
            assert max(w, v, d * w * v) >= limit
            continue
        for row, enclosure in zip(rows.tolist(), found, strict=True):
            exact = sum(Fraction(w) * Fraction(v) for w, v in zip(row, x.tolist(), strict=True))
            assert enclosure.low <= exact <= enclosure.high
            answers += 1
    assert answers > 300


@pytest.mark.parametrize("name", MACHINE)
@pytest.mark.parametrize("entry", [math.inf, -math.inf, math.nan])
def test_there_is_no_product_of_what_is_not_finite(name: str, entry: float) -> None:
    record = precision(name)
    assert record.products is not None
    for rows, x in (([[entry, 1.0]], [0.0, 1.0]), ([[0.0, 1.0]], [entry, 1.0])):
        with pytest.raises(ArithmeticError, match="its numbers overflow"):
            record.products(np.array(rows), np.array(x), record.options())


def test_an_entry_that_double_double_cannot_split_is_no_answer() -> None:
    found = seen("double-double", Readout.fold([[2.0**-500], [2.0**-501]]), 0, [2.0**1000])
    assert math.isnan(found.margin)
    assert found.error is None


@pytest.mark.parametrize("name", ["exact", "arb", "mpmath"])
def test_a_margin_too_small_for_a_float_keeps_its_sign(name: str) -> None:
    readout = Readout.fold([[2.0**-600], [0.0]])
    found = seen(name, readout, 0, [2.0**-600])
    assert found.error is not None
    assert found.margin > 0.0
    assert abs(Fraction(found.margin) - Fraction(2) ** -1200) <= Fraction(found.error)


@pytest.mark.parametrize(
    ("name", "coarse", "fine"),
    [("mpmath", {"digits": 15}, {"digits": 40}), ("arb", {"bits": 53}, {"bits": 140})],
)
def test_more_digits_see_smaller_margins(name: str, coarse: Any, fine: Any) -> None:
    readout = Readout.fold([[1.0, 2.0**-80], [1.0, 0.0]])
    x = [1.0, 1.0]
    found = seen(name, readout, 0, x, **coarse)
    assert found.error is not None
    assert abs(found.margin) <= found.error
    found = seen(name, readout, 0, x, **fine)
    assert found.error is not None
    assert found.margin == 2.0**-80 > found.error


@pytest.mark.parametrize("name", FINE)
def test_thousands_of_rows_alike_are_looked_at_once(name: str) -> None:
    readout = Readout.fold(np.ones((20_000, 8)))
    assert seen(name, readout, 17, [0.5] * 8).argmax_id == 0
    assert seen(name, readout, 17, [0.0] * 8).margin == 0.0


def test_rounded_weights_are_kept_once_a_readout_and_go_with_it() -> None:
    readout = Readout.fold(np.eye(3))
    before = len(kept._kept)
    seen("float16", readout, 0, [1.0, 0.0, 0.0])
    first = kept._kept[readout][1]
    seen("float16", readout, 1, [1.0, 0.0, 0.0])
    assert kept._kept[readout][1] is first
    seen("float32", readout, 1, [1.0, 0.0, 0.0])
    assert kept._kept[readout][0] == "float32"
    assert len(kept._kept) == before + 1
    del readout
    gc.collect()
    assert len(kept._kept) == before


def test_blocks_of_rows_make_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    W = np.random.default_rng(1).normal(size=(11, 4))
    monkeypatch.setattr(kept, "BLOCK", 12)
    got = kept.rounded_rows(Readout.fold(W), "test", lambda rows: rows.astype(np.float32))
    assert (got == W.astype(np.float32)).all()
