"""Check what geom export --format certificate wrote, exactly, by Python's standard library alone.

    python -I check_certificate.py PROOF.json W.npy [--bias b.npy] [--gamma g.npy] [--beta h.npy]

W has one row per token, b their biases; gamma and beta are the final norm's scale and shift, unless
W and b include them. Floats are exact rationals. Exit code: 0 proven, 1 not proven, 2 refused.
"""

import json
import re
import struct
import sys
from argparse import ArgumentParser, RawTextHelpFormatter
from fractions import Fraction
from math import lcm, prod
from operator import mul
from pathlib import Path

NPY = rb"\x93NUMPY\x01\0..{'descr': '<f([248])', 'fortran_order': False, 'shape': (.{4,40}), } *\n"
CLAIM = {"format": '"geom certificate 1"', **dict.fromkeys(("V", "d", "token_id"), r"\d{1,15}")}
CLAIM |= {"verdict": '"(un)?speakable"'}  # and in the domain, shape, size and zero_sum:
CLAIM["domain"] = r'\[("(ball|box)", "\d{1,999}(/\d{1,999})?"|"all", null), (true|false)\]'


def need(holds, otherwise, file=None):
    """Raise an error, which names the file unless it is the certificate, if it does not hold."""
    if not holds:
        raise OSError(None, otherwise, file)


def array(path, *shape):
    """Return a function from i to row i of the file, as integers over one denominator."""
    head = re.match(NPY, data := Path(path).read_bytes(), re.DOTALL)
    need(head and head[2] == str(shape).encode(), f"not .npy floats {shape}, C order", path)
    row = struct.Struct(f"<{shape[-1]}" + {b"2": "e", b"4": "f", b"8": "d"}[head[1]])
    need(len(data) == head.end() + row.size * prod(shape[:-1]), "its length is wrong", path)
    return lambda i: whole(row.unpack_from(data, head.end() + i * row.size))


def whole(values):
    """Return finite floats or rationals as integers over one denominator."""
    ratios = [value.as_integer_ratio() for value in values]
    common = lcm(*(q for _, q in ratios))
    return [p * (common // q) for p, q in ratios], common


def readout(V, d, W, bias, gamma, beta):
    """Return a function from a token to its row w * gamma and bias w . beta + b; beta / gamma."""
    W, (b, k) = array(W, V, d), array(bias, V)(0) if bias else ([0] * V, 1)
    g, m = array(gamma, d)(0) if gamma else ([1] * d, 1)
    h, n = array(beta, d)(0) if beta else ([0] * d, 1)

    def token(j):
        w, q = W(j)
        return list(map(mul, w, g)), q * m, Fraction(sum(map(mul, w, h)), q * n) + Fraction(b[j], k)

    return token, *whole([Fraction(v * m, w * n) if w else 0 for v, w in zip(h, g)])


def speakable(token, V, t, shape, size, zero_sum, x, q):
    """Check that x / q is in the domain and t is the strict argmax there."""
    reach = {"ball": Fraction(sum(v * v for v in x), q * q), "box": Fraction(max(map(abs, x)), q)}
    inside = (shape == "all" or reach[shape] <= size) and not (zero_sum and sum(x))
    logits = [Fraction(sum(map(mul, w, x)), scale * q) + b for w, scale, b in map(token, range(V))]
    return inside and all(logits[t] > logit for logit in logits[:t] + logits[t + 1 :])


def unspeakable(token, s, u, t, shape, size, zero_sum, others, lam):
    """Check r . x + g >= 0 on the domain: r, g are the sums of lam_j (w_j - w_t), (b_j - b_t)."""
    rows, scales, biases = zip(*map(token, [t, *others]))
    q = lcm(*scales)
    rows = [[v * (q // scale) for v in row] for row, scale in zip(rows, scales)]
    A = [[v - w for v, w in zip(row, rows[0])] for row in rows[1:]]
    A = [[v - zero_sum * a[-1] for v in a] for a in A]  # ones . x = 0 if sum(x) = 0
    c = [bias - biases[0] for bias in biases[1:]]
    r, g = [sum(map(mul, lam, column)) for column in zip(*A)], sum(map(mul, lam, c))  # r over q
    middle = zero_sum * (Fraction(sum(r), len(r)) if shape == "ball" else sorted(r)[len(r) // 2])
    covered = shape == "ball" and (g * q) ** 2 >= size * sum((v - middle) ** 2 for v in r)
    if shape == "box" or not any(r):
        covered = g * q >= size * sum(abs(v - middle) for v in r)
    c = [v - Fraction(sum(map(mul, a, s)), q * u) for v, a in zip(c, A)]  # r . s is 0 if r is
    return (covered and g >= 0) or (max(lam) < 1 << 2200 and corrected(A, r, c, lam))  # floats


def corrected(A, r, c, lam):
    """Check that some weights lam_j (1 + y_j) > 0 have r = 0, g >= 0; bound the |y_j|, this g."""
    # let B have columns lam_j A_j, |one I - B G| <= one - f < one, summing over rows: B y = -r has
    # a y with |y_j| <= |G_j| |r| / f; floats only guess G
    live = [i for i in range(len(r)) if any(a[i] for a in A)]
    heavy = sorted(range(len(A)), key=lambda j: -lam[j])[: 4 * len(r)]
    B = {j: [lam[j] * A[j][i] for i in live] for j in heavy}
    unit = max((abs(v) for column in B.values() for v in column), default=0) or 1
    G = inverse({j: [v / unit for v in column] for j, column in B.items()}, len(live))
    f = one = unit * 2**64
    for i, row in enumerate(zip(*(B[j] for j in G))):
        product = enumerate(sum(map(mul, row, column)) for column in zip(*G.values()))
        f = min(f, one - sum(abs((i == k) * one - v) for k, v in product))
    y = {j: sum(map(abs, row)) * max(map(abs, r)) for j, row in G.items()}  # times f
    g = f * sum(map(mul, lam, c)) - sum(v * lam[j] * abs(c[j]) for j, v in y.items())
    return max(y.values(), default=f) < f and g >= 0 and (Fraction(max(y.values()), f), g / f)


def inverse(columns, n):
    """Return some columns, enough for a square matrix, with about 2**64 times its inverse."""
    names, found, one = list(columns), {}, 2.0**64
    rows = [[columns[j][i] for j in names] + [one * (i == k) for k in range(n)] for i in range(n)]
    while left := set(range(n)) - found.keys():
        size, i, j = max((abs(rows[i][j]), i, j) for i in left for j in range(len(names)))
        if not 0 < size < one:
            return {}
        top = [v / rows[i][j] for v in rows[i]]
        rows = [top if r is rows[i] else [v - r[j] * p for v, p in zip(r, top)] for r in rows]
        found[i] = j
    return {names[j]: list(map(int, rows[i][len(names) :])) for i, j in found.items()}


def proven(claim, *arrays):
    """Return what a certificate says, in this program's words, and whether it proves that."""
    claim = claim | {"domain": [claim["domain"][key] for key in ("shape", "size", "zero_sum")]}
    wrong = [key for key in CLAIM if not re.fullmatch(CLAIM[key], json.dumps(claim[key]))]
    _, V, d, t, verdict, (shape, size, zero_sum) = map(claim.get, CLAIM)
    need(not wrong and t < V, f"its {(wrong or ['token_id'])[0]!r} is malformed")
    place, (token, *shift) = (shape, Fraction(size or 0), zero_sum), readout(V, d, *arrays)
    if verdict == "speakable":
        x, q = whole([float.fromhex(v) for v in claim["x"][: d + 1]])
        holds = len(x) == d and speakable(token, V, t, *place, x, q)
    else:
        others, lam = claim["weights"]["tokens"], claim["weights"]["values"]
        fit = all(type(j) is int and 0 <= j < V for j in others) and max(map(len, lam)) < 1 << 16
        need(fit and len({t, *others}) - 1 == len(others) == len(lam), "its weights are malformed")
        lam, _ = whole([float.fromhex(v) if "p" in v else int(v, 16) for v in lam])
        holds = min(lam) >= 0 < max(lam) and unspeakable(token, *shift, t, *place, others, lam)
    limit = f", {'x . x' if shape == 'ball' else '|x_i|'} <= {size}" if size else ""
    return f"token {t} of {V} is {verdict} on R^{d}{limit}{', sum(x) = 0' * zero_sum}: ", holds


if __name__ == "__main__":
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
