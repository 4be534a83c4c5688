"""Linear layers in memory, against torch's own forward pass."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

import geom
from geom import InputError, Witness


def layer(bias: bool = True, dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    """Return a layer with more outputs than a plane has room for."""
    torch.manual_seed(0)
    return torch.nn.Linear(2, 12, bias=bias, dtype=dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_readout_is_the_layer(bias: bool, dtype: torch.dtype) -> None:
    linear = layer(bias, dtype)
    readout = geom.load(linear)
    assert (readout.V, readout.d, readout.noun) == (12, 2, "class")
    assert readout.notes == (f"weight of a Linear in {str(dtype).removeprefix('torch.')}",)
    double = layer(bias, dtype).double()
    points = torch.randn(100, 2, dtype=torch.float64)
    close = readout.logits(points.numpy()) - double(points).detach().numpy()
    assert abs(close).max() < 1e-14


@pytest.mark.parametrize("bias", [True, False])
def test_forward_gives_each_class_its_witness_and_never_the_others(bias: bool) -> None:
    linear = layer(bias).double()
    run = geom.run(linear, tokens="all")
    assert run.counts()["undecided"] == 0
    for row in run.rows(verdict="speakable"):
        proof = run.certificate(row.token_id)
        assert isinstance(proof, Witness)
        assert int(linear(torch.from_numpy(proof.x.copy())).argmax()) == row.token_id
    dead = [row.token_id for row in run.rows(verdict="unspeakable")]
    assert dead
    scales = 10.0 ** torch.linspace(-3.0, 3.0, 50_000, dtype=torch.float64)[:, None]
    winners = linear(scales * torch.randn(50_000, 2, dtype=torch.float64)).argmax(dim=1)
    assert not torch.isin(winners, torch.tensor(dead)).any()


def test_a_layer_whose_weight_is_computed_is_read_as_it_computes() -> None:
    normed = weight_norm(layer())
    assert (normed.weight.detach().double().numpy() == geom.load(normed).W).all()


def test_a_layer_that_a_hook_changes_is_refused() -> None:
    hooked = layer()
    hooked.register_forward_hook(lambda module, inputs, output: 1.001 * output)
    with pytest.raises(InputError, match="Linear does not return weight x \\+ bias, perhaps"):
        geom.load(hooked)


def test_a_layer_that_loses_its_bias_is_refused() -> None:
    class Unbiased(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input @ self.weight.T

    with pytest.raises(InputError, match="Unbiased does not return weight x"):
        geom.load(Unbiased(2, 5))


def test_a_layer_without_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="on the meta device"):
        geom.load(torch.nn.Linear(2, 5, device="meta"))
