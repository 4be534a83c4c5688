"""Codes of a few bits: how they lie in bytes, and the numbers that floating codes stand for.

The bytes of a row are one number, the first byte its lowest: code i of ``bits`` bits begins at bit
``i * bits``. MLX, GPTQ and compressed-tensors all store 32-bit words whose bytes, in the order of
the file, are that number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geom import Floats

Bytes = NDArray[np.uint8]


def length(count: int, bits: int) -> int:
    """Return how many bytes hold ``count`` codes."""
    return -(-count * bits // 8)


def unpacked(lines: Bytes, bits: int, count: int) -> Bytes:
    """Return the first ``count`` codes (n, count) of lines (n, k), each as a byte."""
    if bits == 8:
        return lines[:, :count]
    groups = -(-lines.shape[1] // bits)  # of 8 codes, which fill ``bits`` bytes
    padded = np.zeros((len(lines), groups * bits), np.uint8)
    padded[:, : lines.shape[1]] = lines
    parts = padded.reshape(len(lines), groups, bits).astype(np.uint64)
    words = np.zeros((len(lines), groups), np.uint64)
    for place in range(bits):
        words |= parts[:, :, place] << np.uint64(8 * place)
    out = np.empty((len(lines), groups, 8), np.uint8)
    for place in range(8):
        out[:, :, place] = (words >> np.uint64(bits * place)) & np.uint64(2**bits - 1)
    return out.reshape(len(lines), -1)[:, :count]


def packed_nibbles(codes: Bytes) -> Bytes:
    """Return codes (n, m) of 4 bits in bytes (n, ceil(m / 2)), the first one low."""
    even = codes if codes.shape[1] % 2 == 0 else np.pad(codes, ((0, 0), (0, 1)))
    return np.asarray(even[:, ::2] | even[:, 1::2] << 4, np.uint8)


def unsigned(bits: int, zero: int = 0) -> Floats:
    """Return the number of each code: the code, less ``zero``."""
    return np.arange(2**bits, dtype=np.float64) - zero


def signed(bits: int) -> Floats:
    """Return the number of each code in two's complement."""
    numbers = np.arange(2**bits, dtype=np.float64)
    return np.where(numbers < 2 ** (bits - 1), numbers, numbers - 2**bits)


def floating(exponent: int, mantissa: int) -> Floats:
    """Return the number of each code of a sign, an exponent and a mantissa, none infinite or NaN.

    So are E2M1 and E2M3 defined: Open Compute Project, Microscaling Formats (MX) Specification 1.0,
    section 5.3.
    """
    magnitudes = np.arange(2 ** (exponent + mantissa))
    power, rest = np.divmod(magnitudes, 2**mantissa)
    bias = 2 ** (exponent - 1) - 1
    fraction = np.where(power > 0, 1 + rest / 2**mantissa, rest / 2**mantissa)
    numbers = np.ldexp(fraction, np.maximum(power, 1) - bias)
    return np.concatenate([numbers, -numbers])


E2M1 = floating(2, 1)
E2M3 = floating(2, 3)


def float8(name: str) -> Floats:
    """Return the number of each byte of a type of ml_dtypes, such as ``float8_e4m3fn``."""
    import ml_dtypes

    kind: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
    return np.arange(256, dtype=np.uint8).view(kind).astype(np.float64)
