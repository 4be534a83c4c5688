"""Check a bound on a token's probability, as a certificate of geom gives it, in exact arithmetic.

    python -I check_probability.py PROOF.json W.npy [--bias b.npy] [--gamma g.npy] [--beta h.npy]

W has one row per token, b their biases; gamma and beta are the final norm's scale and shift, unless
W and b include them. Files are read as by check_certificate.py, which must lie next to it.
Exit code: 0 proven, 1 not proven, 2 refused.
"""

import json
import re
import sys
from argparse import ArgumentParser, RawTextHelpFormatter
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, Context, Decimal
from fractions import Fraction
from math import floor, isqrt, lcm
from operator import mul
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

CHECKER = Path(__file__).with_name("check_certificate.py")
UP = Context(100, ROUND_CEILING, MIN_EMIN, MAX_EMAX)
ONE = 10**60


def log(p, q):
    """Return an integer that is at least ONE ln(p / q), and 0 if p = q.

    The quotient is rounded up, ln to nearest, to 100 digits. At most 7 of these are before the
    point, so that the last place of ln is far less than the 1 that is added.
    """
    ln = UP.divide(Decimal(p), Decimal(q)).ln(UP)
    return floor(ln.scaleb(60, UP)) + 2 if ln else 0


def root(value):
    """Return a rational at least the square root, and equal to it if that has 60 places."""
    least = isqrt(floor(square := value * ONE**2))
    return Fraction(least + (least**2 < square), ONE)


def bounded(token, s, u, t, shape, size, zero_sum, others, lam, p, T):
    """Check that the probability of t is at most p everywhere in the domain.

    It is 1 / (1 + sum of exp(z_j / T)), with z_j = (w_j - w_t) . x + b_j - b_t. With shares
    q_j = lam_j / sum(lam), the sum is at least exp(L) for L = sum q_j z_j / T - sum q_j ln q_j.
    As sum q_j z_j = (r . x + g) / sum(lam), L has a lower bound for all x. So p holds if
    L >= ln((1 - p) / p). In code, L is ONE times as large.
    """
    rows, scales, biases = zip(*map(token, [t, *others]))
    q = lcm(*scales)
    rows = [[v * (q // scale) for v in row] for row, scale in zip(rows, scales)]
    A = [[v - w for v, w in zip(row, rows[0])] for row in rows[1:]]
    A = [[v - zero_sum * a[-1] for v in a] for a in A]  # ones . x = 0 if sum(x) = 0
    c = [bias - biases[0] for bias in biases[1:]]
    r, g = [sum(map(mul, lam, column)) for column in zip(*A)], sum(map(mul, lam, c))  # r over q
    middle = zero_sum * (Fraction(sum(r), len(r)) if shape == "ball" else sorted(r)[len(r) // 2])
    if shape == "ball":
        covered = g - root(size * sum((v - middle) ** 2 for v in r)) / q
    else:
        covered = g - size * sum(abs(v - middle) for v in r) / q
    if (shape != "all" or not any(r)) and enough(lam, covered, Fraction(0), p, T):
        return True
    c = [v - Fraction(sum(map(mul, a, s)), q * u) for v, a in zip(c, A)]  # r . s is 0 if r is
    found = any(r) and max(lam) < 1 << 2200 and checker.corrected(A, r, c, lam)  # floats
    return bool(found) and enough(lam, found[1], found[0], p, T)


def enough(lam, g, moved, p, T):
    """Check L >= ln((1 - p) / p) for weights that differ from lam by at most that share of each.

    Their shares are from q_j / k to k q_j, so their entropy is at least (that of q - ln k) / k.
    """
    total, n, k = sum(lam), len(lam), (1 + moved) / (1 - moved)
    L = ONE * min(g / (1 - moved), g / (1 + moved)) / total / T
    L -= Fraction(sum(v * log(n * v, total) for v in lam), total) / k  # ln n less the entropy of q
    L -= (1 - 1 / k) * log(n, 1) + log(k.numerator, k.denominator) / k
    (a, b), (e, f) = (1 - p).as_integer_ratio(), p.as_integer_ratio()
    return log(a * f, b * e * n) <= L  # both sides less ln n


def proven(claim, *arrays):
    """Return what a certificate says of a probability, in this program's words, and if it holds."""
    checker.need("probability_upper" in claim, "it bounds no probability")
    kinds = {key: kind for key, kind in checker.CLAIM.items() if key != "verdict"}
    claim = claim | {"domain": [claim["domain"][key] for key in ("shape", "size", "zero_sum")]}
    wrong = [key for key in kinds if not re.fullmatch(kinds[key], json.dumps(claim[key]))]
    _, V, d, t, (shape, size, zero_sum) = map(claim.get, kinds)
    wrong += [k for k in ("probability_upper", "temperature") if not isinstance(claim[k], str)]
    checker.need(not wrong and t < V, f"its {(wrong or ['token_id'])[0]!r} is malformed")
    p, T = (float.fromhex(claim[key]) for key in ("probability_upper", "temperature"))
    checker.need(0 < p < 1 and T > 0, "the probability or the temperature is out of range")
    others, lam = claim["weights"]["tokens"], claim["weights"]["values"]
    fit = all(type(j) is int and 0 <= j < V for j in others) and max(map(len, lam)) < 1 << 16
    fit = fit and len(lam) == len(others) == len({t, *others}) - 1
    checker.need(fit, "its weights are malformed")
    lam, _ = checker.whole([float.fromhex(v) if "p" in v else int(v, 16) for v in lam])
    checker.need(min(lam) >= 0 < max(lam), "its weights are malformed")
    others, lam = zip(*((j, v) for j, v in zip(others, lam) if v))
    token, *shift = checker.readout(V, d, *arrays)
    place = shape, Fraction(size or 0), zero_sum
    holds = bounded(token, *shift, t, *place, others, lam, Fraction(p), Fraction(T))
    limit = f", {'x . x' if shape == 'ball' else '|x_i|'} <= {size}" if size else ""
    where = f"on R^{d}{limit}{', sum(x) = 0' * zero_sum}"
    most = Context(6, ROUND_CEILING).create_decimal(p)
    return f"token {t} of {V} is at most {most} likely at temperature {T} {where}: ", holds


if __name__ == "__main__":
    if not CHECKER.is_file():
        print("cannot be read: check_certificate.py is not next to this program", file=sys.stderr)
        sys.exit(2)
    checker = SimpleNamespace(**run_path(str(CHECKER)))
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    for name in ("certificate", "W", "--bias", "--gamma", "--beta"):
        parser.add_argument(name)
    path, *arrays = vars(parser.parse_args()).values()
    try:
        with open(path, encoding="utf-8") as file:
            said, holds = proven(json.loads(file.read(1 << 24)), *arrays)
    except Exception as e:  # a file that causes any error proves nothing
        why = getattr(e, "strerror", f"not a certificate: {type(e).__name__}{e.args[-1:]}")
        print(f"cannot be read: {getattr(e, 'filename', 0) or path}: {why:.99}", file=sys.stderr)
        sys.exit(2)
    print(said + "NOT " * (not holds) + "proven" + ", without biases" * (not arrays[1]))
    sys.exit(not holds)
