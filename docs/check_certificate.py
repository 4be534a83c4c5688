"""Check a certificate of geom in exact arithmetic, with Python's standard library alone.

    python check_certificate.py CERTIFICATE.json W.npy [--bias b.npy] [--gamma g.npy] [--beta h.npy]

W has a row a token; gamma and beta are the scale and shift of the final norm, where they are not in
W and b already. Each is a .npy file, or little-endian float32. Floats are read as the rationals
they are. Exit code: 0 proven, 1 not proven, 2 unreadable.
"""

import argparse
import ast
import json
import struct
import sys
from fractions import Fraction
from math import lcm, prod
from operator import mul
from pathlib import Path


def array(path, *shape):
    """A function from i to row i of the file, as whole numbers over one denominator."""
    data, code, start, header = Path(path).read_bytes(), "f", 0, {"shape": shape}
    if data.startswith(b"\x93NUMPY"):
        start = 10 + int.from_bytes(data[8:10], "little") if data[6] == 1 else 0
        header = ast.literal_eval(data[10:start].decode())
        code = {"<f2": "e", "<f4": "f", "<f8": "d"}[header["descr"]]
    row = struct.Struct(f"<{shape[-1]}{code}")
    sized = len(data) - start == row.size * prod(shape[:-1])
    if header.get("fortran_order") or header["shape"] != shape or not sized:
        raise ValueError(f"{path} does not hold numbers of shape {shape} in C order")
    return lambda i: whole(row.unpack_from(data, start + i * row.size))


def sumprod(u, v):
    """The sum of products, exact for whole numbers and Fractions."""
    return sum(map(mul, u, v))


def whole(values):
    """Floats or whole numbers as whole numbers over one denominator."""
    ratios = [value.as_integer_ratio() for value in values]
    common = lcm(*(q for _, q in ratios))
    return [p * (common // q) for p, q in ratios], common


def readout(V, d, W, bias, gamma, beta):
    """A function from a token to its row ``w * gamma`` and its bias ``w . beta + b``, exactly."""
    W, (b, b_q) = array(W, V, d), array(bias, V)(0) if bias else ([0] * V, 1)
    g, g_q = array(gamma, d)(0) if gamma else ([1] * d, 1)
    h, h_q = array(beta, d)(0) if beta else ([0] * d, 1)

    def token(j):
        w, q = W(j)
        return list(map(mul, w, g)), q * g_q, Fraction(sumprod(w, h), q * h_q) + Fraction(b[j], b_q)

    return token


def speakable(token, V, t, shape, size, zero_sum, x):
    """Whether x is in the domain and t is the strict argmax there."""
    x, q = whole(x)
    reach = {"ball": Fraction(sumprod(x, x), q * q), "box": Fraction(max(map(abs, x)), q), "all": 0}
    logits = [Fraction(sumprod(row, x), scale * q) + c for row, scale, c in map(token, range(V))]
    return reach[shape] <= size and not (zero_sum and sum(x)) and logits.pop(t) > max(logits)


def unspeakable(token, t, shape, size, zero_sum, others, lam):
    """Whether r . x + g >= 0 on the domain: r, g are the sums of lam_j (w_j - w_t), (b_j - b_t)."""
    rows, scales, biases = zip(*map(token, [t, *others]))
    q = lcm(*scales)
    rows = [[v * (q // scale) for v in row] for row, scale in zip(rows, scales)]
    A = [[v - w for v, w in zip(row, rows[0])] for row in rows[1:]]
    c = [bias - biases[0] for bias in biases[1:]]
    r, g = [Fraction(sumprod(lam, column), q) for column in zip(*A)], sumprod(lam, c)
    r = [v - (sum(r) / len(r) if zero_sum else 0) for v in r]
    if shape == "box" or not any(r):
        return g >= size * sum(map(abs, r)) or corrected(A, q, r, c, g, zero_sum, lam)
    covered = shape == "ball" and g >= 0 and g * g >= size * sumprod(r, r)
    return covered or corrected(A, q, r, c, g, zero_sum, lam)


def corrected(A, q, r, c, g, zero_sum, lam):
    """Whether weights near these, none negative, have r = 0 exactly and g >= 0 still.

    Let B have columns lam_j (w_j - w_t), and |I - B G| <= e < 1 in the norm that adds up rows: then
    B y = -r for a y with |y_j| <= |G_j| |r| / (1 - e), and lam_j (1 + y_j) are such weights. Floats
    only guess G; what is asked of it is asked in whole numbers.
    """
    live = [i for i in range(len(r)) if zero_sum or any(row[i] for row in A)]
    heavy = sorted(range(len(A)), key=lambda j: -lam[j])[: 4 * len(r)]
    unit = q * max(lam)
    B = {j: [lam[j] * A[j][i] for i in live] for j in heavy}
    if zero_sum:  # a multiple of ones in r does no harm: ones may have any weight
        B[-1] = [unit] * len(live)
    G = inverse({j: [v / unit for v in column] for j, column in B.items()}, len(live))
    G = {j: [int(v * 2**64) for v in row] for j, row in G.items()}
    one, e = unit * 2**64, 0
    for i, row in enumerate(zip(*(B[j] for j in G))):
        product = enumerate(sumprod(row, column) for column in zip(*G.values()))
        e = max(e, sum(abs((i == k) * one - v) for k, v in product))
    if not any(r) or not G or e >= one:
        return False
    length = max(abs(r[i]) for i in live) / max(lam) / (1 - Fraction(e, one)) / 2**64
    y = {j: sum(map(abs, row)) * length for j, row in G.items() if j >= 0}
    return max(y.values()) <= 1 and g >= sum(y[j] * lam[j] * abs(c[j]) for j in y)


def inverse(columns, n):
    """Some of the columns, enough for a square matrix, and the rows of its inverse; floats."""
    names, found = list(columns), {}
    rows = [[columns[j][i] for j in names] + [float(i == k) for k in range(n)] for i in range(n)]
    while left := set(range(n)) - found.keys():
        size, i, j = max((abs(rows[i][j]), i, j) for i in left for j in range(len(names)))
        if not 0 < size < float("inf"):
            return {}
        top = [v / rows[i][j] for v in rows[i]]
        rows = [top if r is rows[i] else [v - r[j] * p for v, p in zip(r, top)] for r in rows]
        found[i] = j
    return {names[j]: rows[i][len(names) :] for i, j in found.items()}


def proven(claim, arrays):
    """Whether what the certificate holds proves its verdict."""
    V, d, t, domain = (claim[key] for key in ("V", "d", "token_id", "domain"))
    token = readout(V, d, *arrays)
    place = domain["shape"], abs(Fraction(domain["size"] or 0)), domain["zero_sum"]
    if claim["verdict"] == "speakable":
        x = [float.fromhex(value) for value in claim["x"]]
        return len(x) == d and 0 <= t < V and speakable(token, V, t, *place, x)
    others, lam = claim["weights"]["tokens"], claim["weights"]["values"]
    lam, _ = whole([float.fromhex(v) if "p" in v else int(v, 16) for v in lam])
    named = {t, *others} <= set(range(V)) and len({t, *others}) == 1 + len(others) == 1 + len(lam)
    return named and min(lam) >= 0 < max(lam) and unspeakable(token, t, *place, others, lam)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("certificate", "W", "--bias", "--gamma", "--beta"):
        parser.add_argument(name)
    certificate, *arrays = vars(parser.parse_args()).values()
    try:
        claim = json.loads(Path(certificate).read_text(encoding="utf-8"))
        said = "token {token_id} is {verdict} on {domain}: ".format(**claim)
        holds = proven(claim, arrays)
        print(said + ("proven" if holds else "NOT proven"))
        sys.exit(not holds)
    except (OSError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        print(f"cannot be read: {error!r}", file=sys.stderr)
        sys.exit(2)
