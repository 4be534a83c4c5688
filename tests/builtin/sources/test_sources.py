"""Model sources: bits decoded by hand, logits by NumPy."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Readout

Arrays = dict[str, NDArray[Any]]
RNG = np.random.default_rng(0)
PARTS: Arrays = {
    "W": RNG.normal(size=(7, 4)).astype(np.float32),
    "b": RNG.normal(size=7).astype(np.float32),
    "g": RNG.normal(size=4).astype(np.float32),
    "s": RNG.normal(size=4).astype(np.float32),
}
TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int8": "I8", "uint16": "U16"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_safetensors(path: str, tensors: Arrays, kinds: dict[str, str] | None = None) -> None:
    """Write a safetensors file by the format's own description; ``kinds`` renames the types."""
    header, data = {}, b""
    for name, array in tensors.items():
        content = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": (kinds or {}).get(name) or TYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def expected_logits(x: NDArray[np.float64], *names: str) -> NDArray[np.float64]:
    """Return logits from the named parts, in float64, as a network computes them."""
    parts = {name: part.astype(np.float64) for name, part in PARTS.items()}
    scaled = x * (parts["g"] if "g" in names else 1.0) + (parts["s"] if "s" in names else 0.0)
    return scaled @ parts["W"].T + (parts["b"] if "b" in names else 0.0)


# npz and npy


def test_a_matrix_and_its_bias_come_back_from_npz() -> None:
    np.savez("model.npz", **PARTS)
    readout = geom.load("npz:model.npz")
    assert (readout.W.tolist(), readout.b.tolist()) == (PARTS["W"].tolist(), PARTS["b"].tolist())
    assert (readout.norm, readout.tokens) == (None, None)


def test_a_npy_file_is_its_one_array() -> None:
    np.save("model.npy", PARTS["W"])
    readout = geom.load("npz:model.npy")
    assert (readout.W.tolist(), readout.b.any()) == (PARTS["W"].tolist(), False)


def test_a_compressed_file_holds_the_same() -> None:
    np.savez("plain.npz", **PARTS)
    np.savez_compressed("packed.npz", **PARTS)
    assert geom.load("npz:plain.npz").digest == geom.load("npz:packed.npz").digest


@pytest.mark.parametrize("array", [PARTS["W"], np.asfortranarray(PARTS["W"]), PARTS["W"][::-1]])
def test_the_order_in_memory_does_not_matter(array: NDArray[Any]) -> None:
    np.save("model.npy", array)
    assert geom.load("npz:model.npy").W.tolist() == array.tolist()


def test_layout_dv_is_one_column_a_token() -> None:
    np.save("rows.npy", PARTS["W"])
    np.save("columns.npy", PARTS["W"].T)
    by_columns = geom.load("npz:columns.npy?layout=dv")
    assert by_columns.digest == geom.load("npz:rows.npy").digest


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "Wb"),
        ("?b=b", "Wb"),
        ("?bias=no", "W"),
        ("?gamma=g", "Wbg"),
        ("?beta=s", "Wbs"),
        ("?gamma=g&beta=s", "Wbgs"),
        ("?gamma=g&bias=no", "Wg"),
        ("?gamma=g&beta=s&norm=layernorm", "Wbgs"),
        ("?gamma=g&norm=rmsnorm", "Wbg"),
    ],
)
def test_npz_logits_are_those_of_the_network(query: str, names: str) -> None:
    np.savez("model.npz", **PARTS)
    x = RNG.normal(size=(20, 4))
    logits = geom.load(f"npz:model.npz{query}").logits(x)
    assert np.allclose(logits, expected_logits(x, *names), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "W"),
        ("&bias=b", "Wb"),
        ("&gamma=g&beta=s&bias=b", "Wbgs"),
        ("&gamma=g&beta=s", "Wgs"),
        ("&gamma=g&bias=no", "Wg"),
        ("&gamma=g&norm=rmsnorm", "Wg"),
    ],
)
def test_safetensors_logits_are_those_of_the_network(query: str, names: str) -> None:
    write_safetensors("model.safetensors", PARTS)
    x = RNG.normal(size=(20, 4))
    logits = geom.load(f"safetensors:model.safetensors?unembed=W{query}").logits(x)
    assert np.allclose(logits, expected_logits(x, *names), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("model", ["npz:model.npz?", "safetensors:model.safetensors?unembed=W&"])
def test_a_norm_may_multiply_by_1_plus_its_weight(model: str) -> None:
    np.savez("model.npz", **{name: PARTS[name] for name in "Wg"})
    write_safetensors("model.safetensors", PARTS)
    readout = geom.load(f"{model}gamma=g&norm=rmsnorm&gamma_plus_one=yes")
    folded = np.float64(PARTS["W"]) * (np.float32(1) + PARTS["g"])
    np.testing.assert_array_equal(readout.W, folded)
    assert geom.load(f"{model}gamma=g&gamma_plus_one=no").digest != readout.digest
    with pytest.raises(
        InputError, match=r"gamma_plus_one=yes needs the norm's weight: give &gamma"
    ):
        geom.load(f"{model}gamma_plus_one=yes")


def test_1_is_added_to_a_weight_of_float64_in_float64() -> None:
    gamma = np.array([1e-12, -1.0, 0.5, 3.0])
    np.savez("model.npz", W=np.eye(4), g=gamma)
    readout = geom.load("npz:model.npz?gamma=g&gamma_plus_one=yes")
    np.testing.assert_array_equal(readout.W, np.diag(1.0 + gamma))


def test_bias_no_drops_the_share_of_the_norms_shift_too() -> None:
    np.savez("model.npz", **PARTS)
    assert not geom.load("npz:model.npz?gamma=g&beta=s&bias=no").b.any()


@pytest.mark.parametrize(
    ("norm", "domain"),
    [("none", "unbounded"), ("layernorm", "layernorm"), ("rmsnorm", "rmsnorm")],
)
@pytest.mark.parametrize("model", ["npz:model.npz?", "safetensors:model.safetensors?unembed=W&"])
def test_the_norm_sets_the_domain(model: str, norm: str, domain: str) -> None:
    np.savez("model.npz", **PARTS)
    write_safetensors("model.safetensors", PARTS)
    assert geom.load(f"{model}norm={norm}").domain.name == domain


# The bits of floats


def decoded(bits: NDArray[np.unsignedinteger[Any]], exponent: int, mantissa: int) -> list[float]:
    """Decode floats with these exponent and mantissa bits by IEEE 754, in Python integers."""
    bias, out = 2 ** (exponent - 1) - 1, []
    for word in bits.ravel().tolist():
        sign = -1.0 if word >> (exponent + mantissa) else 1.0
        power, fraction = word >> mantissa & 2**exponent - 1, word & 2**mantissa - 1
        whole = fraction + (2**mantissa if power else 0)
        out.append(sign * float(whole) * 2.0 ** (max(power, 1) - bias - mantissa))
    return out


@pytest.mark.parametrize(("kind", "exponent", "mantissa"), [("BF16", 8, 7), ("F16", 5, 10)])
def test_every_finite_half_is_read_exactly(kind: str, exponent: int, mantissa: int) -> None:
    words = np.arange(2**16, dtype=np.uint16)
    finite = words[(words >> mantissa & 2**exponent - 1) != 2**exponent - 1].reshape(-1, 256)
    write_safetensors("model.safetensors", {"W": finite}, {"W": kind})
    readout = geom.load("safetensors:model.safetensors?unembed=W")
    assert readout.W.ravel().tolist() == decoded(finite, exponent, mantissa)


@pytest.mark.parametrize(
    ("kind", "exponent", "mantissa"), [("F32", 8, 23), ("F64", 11, 52)], ids=["F32", "F64"]
)
def test_random_bits_are_read_exactly(kind: str, exponent: int, mantissa: int) -> None:
    dtype = np.dtype(f"u{(1 + exponent + mantissa) // 8}")
    words = RNG.integers(0, 2 ** (exponent + mantissa) - 2**mantissa, (50, 20), dtype=dtype)
    write_safetensors("model.safetensors", {"W": words}, {"W": kind})
    readout = geom.load("safetensors:model.safetensors?unembed=W")
    assert readout.W.ravel().tolist() == decoded(words, exponent, mantissa)


def test_a_bfloat16_tensor_between_others_is_found() -> None:
    words = PARTS["W"].view(np.uint32) >> 16
    tensors = {"a": PARTS["b"], "W": words.astype(np.uint16), "z": PARTS["b"]}
    write_safetensors("model.safetensors", tensors, {"W": "BF16"})
    readout = geom.load("safetensors:model.safetensors?unembed=W&bias=z")
    assert readout.W.tolist() == (words << 16).view(np.float32).tolist()
    assert readout.b.tolist() == PARTS["b"].tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_npz_and_safetensors_agree(dtype: str) -> None:
    W = np.arange(12).reshape(4, 3).astype(dtype)
    np.save("model.npy", W)
    write_safetensors("model.safetensors", {"lm_head.weight": W})
    from_safetensors = geom.load("safetensors:model.safetensors")
    assert from_safetensors.digest == geom.load("npz:model.npy").digest


@pytest.mark.parametrize("dtype", ["int8", "uint16"])
def test_integers_of_a_checkpoint_are_no_weights(dtype: str) -> None:
    write_safetensors("model.safetensors", {"lm_head.weight": np.ones((4, 3), dtype)})
    with pytest.raises(InputError, match=r"is stored as [IU]\d+, integers without scales"):
        geom.load("safetensors:model.safetensors")


def test_tensors_that_are_not_asked_for_are_not_looked_at() -> None:
    tensors = {"W": PARTS["W"], "other": np.full(3, np.nan, dtype=np.float32)}
    write_safetensors("model.safetensors", tensors)
    assert geom.load("safetensors:model.safetensors?unembed=W").V == 7


# Finding the model again


@pytest.mark.parametrize(
    "model",
    [
        "npz:model.npz",
        "npz:my model.npz?W=W",
        "npz:model.npz?gamma=g&beta=s&norm=layernorm",
        "npz:model.npz?gamma=g&beta=s&bias=no",
        "npz:model.npz?W=a%26b%20%2B%25%3F&layout=dv",
        "safetensors:model.safetensors?unembed=W&bias=b&gamma=g",
        "synthetic:gpt2-like?V=50&d=4",
        "synthetic:gpt2-like?V=50&d=4&seed=3&bias=no",
    ],
)
def test_the_source_of_a_readout_loads_it_again(model: str) -> None:
    np.savez("model.npz", **PARTS, **{"a&b +%?": PARTS["W"].T})
    np.savez("my model.npz", **PARTS)
    write_safetensors("model.safetensors", PARTS)
    readout = geom.load(model)
    again = geom.load(readout.source)
    assert (again.digest, again.source, again.norm) == (
        readout.digest,
        readout.source,
        readout.norm,
    )


def test_options_given_beside_the_name_are_kept_in_the_source() -> None:
    np.savez("model.npz", **PARTS)
    beside = geom.load("npz:model.npz", {("source", "npz"): {"gamma": "g", "norm": "rmsnorm"}})
    assert geom.load(beside.source).digest == geom.load("npz:model.npz?gamma=g").digest
    assert geom.load(beside.source).norm == "rmsnorm"


def test_a_query_wins_over_options_given_beside_it() -> None:
    np.savez("model.npz", **PARTS)
    given = {("source", "npz"): {"norm": "rmsnorm"}}
    assert geom.load("npz:model.npz?norm=layernorm", given).norm == "layernorm"


def test_a_run_keeps_a_name_that_verifies_it() -> None:
    np.savez("model.npz", **PARTS)
    with geom.run("npz:model.npz?gamma=g&beta=s&norm=layernorm", tokens="all") as run:
        assert geom.load(run.model).digest == run.settings["digest"]
        assert geom.verify(run).ok


# synthetic

SMALL = "synthetic:gpt2-like?V=4000&d=48"


def test_synthetic_is_the_same_for_the_same_options() -> None:
    assert geom.load(SMALL).digest == geom.load(SMALL).digest
    assert geom.load(SMALL).digest == geom.load(f"{SMALL}&seed=0").digest


def test_the_default_is_of_documented_size() -> None:
    readout = geom.load("synthetic:gpt2-like")
    assert (readout.V, readout.d, readout.norm, readout.has_bias) == (4096, 64, "layernorm", True)


@pytest.mark.parametrize(
    "change",
    [
        *("seed=1", "mean=0.5", "decay=0", "length_spread=0", "untrained=0.5"),
        *("untrained_spread=0.5", "bias=0.2"),
    ],
)
def test_every_option_changes_the_numbers(change: str) -> None:
    assert geom.load(f"{SMALL}&{change}").digest != geom.load(SMALL).digest


def test_synthetic_weights_are_float32() -> None:
    W = geom.load(SMALL).W
    assert (W.astype(np.float32) == W).all()


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm", "none"])
def test_the_norm_can_be_chosen_and_changes_no_number(norm: str) -> None:
    readout = geom.load(f"{SMALL}&norm={norm}")
    assert readout.norm == (None if norm == "none" else norm)
    assert readout.digest == geom.load(SMALL).digest


@pytest.mark.parametrize("length", [0.0, 0.7, 3.0])
def test_the_rows_share_a_mean_of_the_length_asked_for(length: float) -> None:
    # the mean of V rows with spread near 1 is off by about V ** -0.5 = 0.016
    mean = geom.load(f"{SMALL}&mean={length}").W.mean(axis=0)
    assert np.linalg.norm(mean) == pytest.approx(length, abs=0.06)


def test_without_spread_of_lengths_a_row_is_about_1_from_the_mean() -> None:
    W = geom.load(f"{SMALL}&length_spread=0&untrained=0").W
    distances = np.linalg.norm(W - W.mean(axis=0), axis=1)
    assert (distances**2).mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 40), (0.1, 400), (1.0, 4000)])
def test_untrained_rows_sit_in_a_clump_at_the_mean(share: float, count: int) -> None:
    options = f"mean=0.5&untrained={share}&untrained_spread=0.05"
    W = geom.load(f"{SMALL}&{options}").W
    centre = np.median(W, axis=0) if share < 1.0 else W.mean(axis=0)
    assert (np.linalg.norm(W - centre, axis=1) < 0.3).sum() == count


@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0])
def test_principal_spreads_fall_as_asked(decay: float) -> None:
    W = geom.load(f"{SMALL}&decay={decay}&length_spread=0&untrained=0&seed=2").W
    spreads = np.linalg.svd(W - W.mean(axis=0), compute_uv=False)
    slope = np.polyfit(np.log(np.arange(1, 49)), np.log(spreads), 1)[0]
    assert -slope == pytest.approx(decay, abs=0.06)


def test_the_bias_is_a_norms_shift_of_the_length_asked_for() -> None:
    readout = geom.load(f"{SMALL}&bias=0.4")
    shift, residual, *_ = np.linalg.lstsq(readout.W, readout.b)
    assert residual[0] < 1e-20
    assert np.linalg.norm(shift) == pytest.approx(0.4, rel=0.3)


@pytest.mark.parametrize("query", ["bias=0", "bias=no"])
def test_synthetic_can_do_without_a_bias(query: str) -> None:
    assert not geom.load(f"{SMALL}&{query}").has_bias


def test_a_source_that_returns_no_readout_is_the_plugins_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Readout, "fold", lambda *_, **__: None)
    with pytest.raises(
        geom.PluginError, match="synthetic raised TypeError: it returned None, not a Readout"
    ):
        geom.load(SMALL)


def factors(items: tuple[int, int], users: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    np.savez("f.npz", items=draw.normal(size=items), users=draw.normal(size=users))


def test_items_by_columns_are_refused_where_the_users_show_it(own_folder: Path) -> None:
    factors((8, 200), (50, 8))
    with pytest.raises(
        InputError, match=re.escape("'items' has shape (8, 200) and 'users' (50, 8)")
    ):
        geom.load("npz:f.npz")
    assert geom.load("npz:f.npz?layout=dv").W.shape == (200, 8)
    assert geom.load("npz:f.npz?layout=vd").W.shape == (8, 200)


@pytest.mark.parametrize(("items", "users"), [((8, 200), (8, 500)), ((64, 40), (64, 500))])
def test_items_and_users_by_columns_are_refused_too(
    items: tuple[int, int], users: tuple[int, int], own_folder: Path
) -> None:
    factors(items, users)
    said = f"'items' has shape {items} and 'users' {users}, so that 'items' seems to have one "
    with pytest.raises(InputError, match=f"{re.escape(said)}column per item: give layout=dv"):
        geom.load("npz:f.npz")
    assert geom.load("npz:f.npz?layout=dv").W.shape == items[::-1]
    assert geom.load("npz:f.npz?layout=vd").W.shape == items


def test_what_else_a_file_holds_about_its_items_is_not_taken_for_users(own_folder: Path) -> None:
    np.savez("f.npz", items=np.ones((200, 8)), tags=np.ones((200, 30)))
    assert geom.load("npz:f.npz").notes == ()


@pytest.mark.parametrize(
    ("items", "users"),
    [((200, 8), (50, 8)), ((8, 8), (50, 8)), ((30, 4), (50, 5)), ((8, 20), (8, 20))],
)
def test_items_by_rows_are_not_doubted(
    items: tuple[int, int], users: tuple[int, int], own_folder: Path
) -> None:
    factors(items, users)
    readout = geom.load("npz:f.npz")
    assert (readout.W.shape, readout.notes) == (items, ())


def test_fewer_items_than_numbers_are_noted_and_fewer_classes_are_not(own_folder: Path) -> None:
    np.save("W.npy", np.random.default_rng(0).normal(size=(3, 30)))
    (note,) = geom.load("npz:W.npy?noun=item").notes
    assert note == (
        "3 items of 30 numbers, more than there are items; if 'W' has one column per item, give "
        "layout=dv"
    )
    for query in ("", "?noun=class", "?noun=item&layout=vd", "?noun=item&layout=dv"):
        assert geom.load(f"npz:W.npy{query}").notes == ()


def test_a_file_of_factors_says_how_its_items_are_named(own_folder: Path) -> None:
    np.savez("f.npz", item_factors=np.eye(3), user_factors=np.eye(3))
    said = "it has item_factors, user_factors; for items write npz:f.npz?W=item_factors&noun=item"
    with pytest.raises(InputError, match=re.escape(said)):
        geom.load("npz:f.npz")
    assert geom.load("npz:f.npz?W=item_factors&noun=item").noun == "item"
