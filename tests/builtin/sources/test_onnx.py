"""``onnx:`` against models that the onnx package makes, and runs with its reference evaluator."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Readout

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - skipped without onnx
from onnx.reference import ReferenceEvaluator  # noqa: E402

pytestmark = pytest.mark.usefixtures("own_folder")

V, D = 11, 6
RNG = np.random.default_rng(0)
PATH = Path("model.onnx")


def drawn(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


W, GAMMA, BETA, BIAS = drawn(V, D), drawn(D), drawn(D), drawn(V)
X = drawn(5, D)
WEIGHTS = {"W": W, "WT": W.T.copy(), "gamma": GAMMA, "beta": BETA, "bias": BIAS}

LAYERNORM = helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["h"], epsilon=1e-5)
RMSNORM = helper.make_node("RMSNormalization", ["x", "gamma"], ["h"], epsilon=1e-5)
OWN = "com.microsoft"


def save(nodes: list[Any], weights: dict[str, Any] | None = None, **options: Any) -> Any:
    """Save a model from x (5, d) to logits (5, V), and return it."""
    weights = WEIGHTS if weights is None else weights
    tensors = [
        array if isinstance(array, TensorProto) else numpy_helper.from_array(array, name)
        for name, array in weights.items()
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, D])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [5, V])
    graph = helper.make_graph(nodes, "graph", [given], [made], tensors)
    sets = [helper.make_opsetid("", 23), helper.make_opsetid(OWN, 1)]
    model = helper.make_model(graph, opset_imports=sets)
    onnx.save_model(model, str(PATH), **options)
    return model


def load(query: str = "unembed=W") -> Readout:
    return geom.load(f"onnx:{PATH}?{query}")


def refusal(query: str = "unembed=W") -> str:
    with pytest.raises(InputError) as refused:
        load(query)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def check(model: Any, query: str, norm: str) -> Readout:
    """Compare the readout's logits with those of the reference evaluator, from the same x."""
    (logits,) = ReferenceEvaluator(model).run(None, {"x": X})
    x = X.astype(np.float64)
    if norm == "layernorm":
        x = x - x.mean(axis=1, keepdims=True)
    if norm != "none":
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)
    found = load(query)
    assert found.norm == (None if norm == "none" else norm)
    np.testing.assert_allclose(found.logits(x), logits, rtol=0, atol=1e-5)
    return found


# What the graph tells


@pytest.mark.parametrize(
    ("nodes", "query"),
    [
        ([helper.make_node("MatMul", ["h", "WT"], ["y"])], "unembed=WT"),
        ([helper.make_node("Gemm", ["h", "W"], ["y"], transB=1)], "unembed=W"),
        ([helper.make_node("Gemm", ["h", "WT"], ["y"])], "unembed=WT"),
        (
            [
                helper.make_node("Transpose", ["W"], ["t"], perm=[1, 0]),
                helper.make_node("MatMul", ["h", "t"], ["y"]),
            ],
            "unembed=W",
        ),
        (
            [
                helper.make_node("Transpose", ["WT"], ["t"]),
                helper.make_node("Identity", ["t"], ["u"]),
                helper.make_node("Gemm", ["h", "u"], ["y"], transB=1),
            ],
            "unembed=WT",
        ),
    ],
)
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_the_graph_says_how_the_matrix_lies_and_which_norm_precedes(
    nodes: list[Any], query: str, norm: str
) -> None:
    first = LAYERNORM if norm == "layernorm" else RMSNORM
    added = helper.make_node("Add", ["y", "bias"], ["logits"])
    found = check(save([first, *nodes, added]), query, norm)
    names = "gamma and beta" if norm == "layernorm" else "gamma"
    assert found.notes == (
        f"the graph puts {norm} with {names} before {query[8:]}",
        f"the graph adds bias after {query[8:]}",
    )
    scaled = W.astype(np.float64) * GAMMA
    assert np.array_equal(found.W, scaled)


def test_gemm_brings_its_own_bias() -> None:
    node = helper.make_node("Gemm", ["h", "W", "bias"], ["logits"], transB=1)
    found = check(save([LAYERNORM, node]), "unembed=W", "layernorm")
    assert found.has_bias
    assert np.array_equal(load("unembed=W&bias=no").offset, np.zeros(V))


def test_steps_that_only_choose_and_arrange_are_gone_through() -> None:
    rows = numpy_helper.from_array(np.array([0, 1, 2, 3, 4]), "rows")
    nodes = [
        LAYERNORM,
        helper.make_node("Gather", ["h", "rows"], ["g"], axis=0),
        helper.make_node("MatMul", ["g", "WT"], ["y"]),
        helper.make_node("Identity", ["y"], ["z"]),
        helper.make_node("Add", ["bias", "z"], ["a"]),
        helper.make_node("Shape", ["a"], ["s"]),
        helper.make_node("LogSoftmax", ["a"], ["logits"]),
    ]
    save(nodes, WEIGHTS | {"rows": rows})
    found = load("unembed=WT")
    assert (found.norm, found.has_bias) == ("layernorm", True)
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("op", "given", "norm"),
    [
        ("SimplifiedLayerNormalization", ["x", "gamma"], "rmsnorm"),
        ("SkipSimplifiedLayerNormalization", ["x", "x", "gamma", "beta"], "rmsnorm"),
        ("SkipLayerNormalization", ["x", "x", "gamma", "beta"], "layernorm"),
        ("SkipLayerNormalization", ["x", "x", "gamma"], "layernorm"),
    ],
)
def test_the_norms_of_onnxruntime_are_known(op: str, given: list[str], norm: str) -> None:
    """Their inputs are in its ``docs/ContribOperators.md``."""
    nodes = [
        helper.make_node(op, given, ["h"], domain=OWN),
        helper.make_node("MatMul", ["h", "WT"], ["logits"]),
    ]
    save(nodes)
    found = load("unembed=WT")
    assert found.norm == norm
    assert (found.shift is not None) == (norm == "layernorm" and "beta" in given)
    assert np.array_equal(found.W, W.astype(np.float64) * GAMMA)


def test_what_follows_the_product_is_told() -> None:
    nodes = [
        LAYERNORM,
        helper.make_node("MatMul", ["h", "WT"], ["y"]),
        helper.make_node("Tanh", ["y"], ["logits"]),
    ]
    save(nodes)
    assert "after the product the graph goes on with Tanh" in load("unembed=WT").notes[-1]


def test_a_graph_inside_an_operator_is_read() -> None:
    """As in a decoder that is merged from two, with and without a cache."""
    branch = helper.make_graph(
        [
            helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["h"]),
            helper.make_node("MatMul", ["h", "WT"], ["out"]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [5, V])],
    )
    node = helper.make_node("If", ["flag"], ["logits"], then_branch=branch, else_branch=branch)
    flag = numpy_helper.from_array(np.array(True), "flag")
    check(save([node], WEIGHTS | {"flag": flag}), "unembed=WT", "layernorm")


def test_torchs_export_of_a_head_has_the_logits_of_torch() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.LayerNorm(D), torch.nn.Linear(D, V)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.from_numpy(X),), str(PATH), dynamo=False, opset_version=17)
    name = next(name for name, p in model.named_parameters() if tuple(p.shape) == (V, D))
    with torch.no_grad():
        logits = model(torch.from_numpy(X)).numpy()
        normed = torch.nn.functional.layer_norm(torch.from_numpy(X).double(), (D,)).numpy()
    found = load(f"unembed={name}")
    assert (found.norm, found.V) == ("layernorm", V)
    np.testing.assert_allclose(found.logits(normed), logits, rtol=0, atol=1e-5)


# What is given by hand


@pytest.mark.parametrize(("layout", "name"), [("vd", "W"), ("dv", "WT")])
def test_names_and_layout_may_be_given_by_hand(layout: str, name: str) -> None:
    save([])
    query = f"unembed={name}&layout={layout}&bias=bias"
    found = load(f"{query}&norm=layernorm&gamma=gamma&beta=beta")
    assert np.array_equal(found.W, W.astype(np.float64) * GAMMA)
    assert np.array_equal(found.offset, BIAS.astype(np.float64))
    found = load(f"{query}&norm=none")
    assert (found.norm, found.notes) == (None, ())
    assert np.array_equal(found.W, W.astype(np.float64))


def test_a_scale_without_its_one_is_said_by_hand() -> None:
    save([RMSNORM, helper.make_node("MatMul", ["h", "WT"], ["logits"])])
    expected = W.astype(np.float64) * (np.float32(1) + GAMMA)
    assert np.array_equal(load("unembed=WT&gamma_plus_one=yes").W, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_floats_are_read_without_loss(dtype: Any) -> None:
    weights = {"W": W.astype(dtype), "gamma": GAMMA.astype(dtype)}
    save([], {name: numpy_helper.from_array(array, name) for name, array in weights.items()})
    found = load("unembed=W&layout=vd&norm=rmsnorm&gamma=gamma")
    expected = weights["W"].astype(np.float64) * weights["gamma"].astype(np.float64)
    np.testing.assert_allclose(found.W, expected, rtol=1e-15)


def test_floats_may_be_stored_as_numbers_of_the_message() -> None:
    tensors = {
        "W": helper.make_tensor("W", TensorProto.FLOAT, (V, D), W.reshape(-1).tolist()),
        "D": helper.make_tensor("D", TensorProto.DOUBLE, (V, D), W.reshape(-1).tolist()),
        "H": helper.make_tensor("H", TensorProto.FLOAT16, (V, D), W.reshape(-1).tolist()),
    }
    assert len(tensors["W"].float_data) == V * D
    save([], tensors)
    for name in ("W", "D"):
        assert np.array_equal(load(f"unembed={name}&layout=vd&norm=none").W, W.astype(np.float64))
    assert "H of model.onnx is not stored as raw bytes" in refusal("unembed=H&layout=vd&norm=none")


def test_vectors_may_have_further_axes() -> None:
    save([], {"W": W, "bias": BIAS.reshape(1, 1, V), "gamma": GAMMA.reshape(2, 3)})
    found = load("unembed=W&layout=vd&norm=none&bias=bias")
    assert np.array_equal(found.offset, BIAS.astype(np.float64))
    assert "has shape (2, 3), and is not a vector" in refusal(
        "unembed=W&layout=vd&norm=rmsnorm&gamma=gamma"
    )


# Data in files beside the model


def external(location: str = "weights.bin", **options: Any) -> Any:
    node = helper.make_node("MatMul", ["h", "WT"], ["logits"])
    return save(
        [LAYERNORM, node],
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        **options,
    )


def test_data_beside_the_model_is_read() -> None:
    external()
    assert PATH.stat().st_size < 2000
    inside = load("unembed=WT")
    save([LAYERNORM, helper.make_node("MatMul", ["h", "WT"], ["logits"])])
    assert load("unembed=WT").digest == inside.digest


def test_data_that_is_cut_short_or_gone_is_refused() -> None:
    external()
    os.truncate("weights.bin", 40)
    assert "lies outside weights.bin, which may be cut short" in refusal("unembed=WT")
    Path("weights.bin").unlink()
    assert "does not exist" in refusal("unembed=WT")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", ""])
def test_data_outside_the_folder_is_refused(location: str) -> None:
    external()
    shutil.copy("weights.bin", "..")
    model = onnx.load(str(PATH), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    PATH.write_bytes(model.SerializeToString())
    assert "which is not one of its own" in refusal("unembed=WT")


def test_data_that_is_a_link_out_of_the_folder_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    external()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights.bin"
    shutil.move("weights.bin", elsewhere)
    Path("weights.bin").symlink_to(elsewhere)
    assert "is a link that leads out of the folder" in refusal("unembed=WT")


@pytest.mark.parametrize(("key", "value"), [("offset", "-5"), ("offset", "x"), ("length", "8")])
def test_a_place_that_does_not_fit_is_refused(key: str, value: str) -> None:
    external()
    model = onnx.load(str(PATH), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == key:
                entry.value = value
    PATH.write_bytes(model.SerializeToString())
    assert any(
        words in refusal("unembed=WT")
        for words in ("lies outside", "a place that is no number", "has 8 bytes, and needs")
    )


# What is not certain


def test_without_a_name_the_matrices_that_may_be_meant_are_listed() -> None:
    weights = WEIGHTS | {"small": drawn(D, D), "unused": drawn(90, 90)}
    nodes = [
        helper.make_node("MatMul", ["x", "small"], ["s"]),
        helper.make_node("LayerNormalization", ["s", "gamma", "beta"], ["h"]),
        helper.make_node("MatMul", ["h", "WT"], ["logits"]),
    ]
    save(nodes, weights)
    with pytest.raises(InputError, match=r"the longest matrices in products are WT \(6 x 11\), s"):
        geom.load(f"onnx:{PATH}")
    with pytest.raises(InputError, match="names no file"):
        geom.load("onnx:")


def quantised(op: str, **attributes: Any) -> str:
    packed = RNG.integers(0, 255, (V, D)).astype(np.uint8)
    nodes = [
        LAYERNORM,
        helper.make_node(op, ["h", "q", "scale"], ["logits"], domain=OWN, **attributes),
    ]
    save(nodes, WEIGHTS | {"q": packed, "scale": drawn(V)})
    return refusal("unembed=q")


def test_quantised_weights_are_refused_by_name() -> None:
    assert "q of model.onnx is UINT8: geom reads FLOAT, DOUBLE, FLOAT16" in quantised(
        "MatMulNBits", K=D, N=V, bits=4, block_size=32
    )
    with pytest.raises(InputError, match=r"others are quantised, by MatMulNBits, which geom"):
        geom.load(f"onnx:{PATH}")


def test_floats_that_are_quantised_in_the_graph_are_refused() -> None:
    nodes = [
        LAYERNORM,
        helper.make_node("DynamicQuantizeMatMul", ["h", "WT", "bias"], ["logits"], domain=OWN),
    ]
    save(nodes)
    assert "WT of model.onnx is quantised, by DynamicQuantizeMatMul" in refusal("unembed=WT")


def test_a_norm_of_several_operators_is_asked_for() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "gamma"], ["h"]),
        helper.make_node("MatMul", ["h", "WT"], ["logits"]),
    ]
    model = save(nodes)
    assert "no norm that is one operator comes before WT; give &norm=" in refusal("unembed=WT")
    check(model, "unembed=WT&norm=none&gamma=gamma", "none")


@pytest.mark.parametrize("axis", [0, -1])
def test_a_norm_along_another_axis_or_with_made_weights_is_asked_for(axis: int) -> None:
    scale = "gamma" if axis == 0 else "made"
    nodes = [
        helper.make_node("Add", ["gamma", "beta"], ["made"]),
        helper.make_node("LayerNormalization", ["x", scale], ["h"], axis=axis),
        helper.make_node("MatMul", ["h", "WT"], ["logits"]),
    ]
    save(nodes)
    assert "no norm that is one operator" in refusal("unembed=WT")


def test_a_matrix_that_nothing_is_multiplied_with_needs_its_layout() -> None:
    save([helper.make_node("Gather", ["W", "x"], ["logits"])])
    assert "multiplies nothing with W, so the graph does not say how it lies" in refusal(
        "unembed=W&norm=none"
    )


def test_different_uses_of_a_matrix_are_refused() -> None:
    nodes = [
        LAYERNORM,
        helper.make_node("MatMul", ["h", "WT"], ["logits"]),
        helper.make_node("MatMul", ["x", "WT"], ["other"]),
    ]
    save(nodes)
    assert "uses WT in 2 products, which differ" in refusal("unembed=WT")


@pytest.mark.parametrize(
    ("given", "factors"),
    [
        (["h", "W"], {"alpha": -1.0}),
        (["h", "W", "bias"], {"alpha": 2.0}),
        (["h", "W", "bias"], {"beta": 0.5}),
    ],
)
def test_a_scaled_product_is_refused(given: list[str], factors: dict[str, float]) -> None:
    save([LAYERNORM, helper.make_node("Gemm", given, ["logits"], transB=1, **factors)])
    assert "scales the product with W or its bias by Gemm's alpha and beta" in refusal()


def test_a_missing_name_is_answered_with_the_nearest() -> None:
    save([])
    assert "has no initialiser 'w'; it has W" in refusal("unembed=w&layout=vd&norm=none")


# Damaged files


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has no graph"),
        (b"\x00", "a field without a number"),
        (b"\x3a", "a number without an end"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut short"),
        (b"\x3a\x00\x3a\x00", "it has 2 graphs"),
        (b"\x0b", "unknown form 3"),
        (b"version https://git-lfs", "ONNX model"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, says: str) -> None:
    PATH.write_bytes(content)
    assert says in refusal()


def test_a_graph_that_goes_round_ends() -> None:
    nodes = [
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Identity", ["b"], ["a"]),
        helper.make_node("MatMul", ["a", "WT"], ["logits"]),
    ]
    save(nodes)
    assert "no norm that is one operator" in refusal("unembed=WT")


def test_graphs_nested_without_end_are_refused() -> None:
    inner = b""
    for _ in range(sys.getrecursionlimit()):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # a graph in an attribute in an operator
            size, length = len(inner), b""
            while True:
                length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
                size >>= 7
                if not size:
                    break
            inner = tag + length + inner
    size, length = len(inner), b""
    while size:
        length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        size >>= 7
    PATH.write_bytes(b"\x3a" + length + inner)
    assert "nested too deeply" in refusal()
