"""Devices: chosen by name, with the same verdicts on each, and a message if one is missing.

Torch on the processor stands in for a GPU, which the tests do not require.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import geom
from geom import InputError, Readout, current_device
from geom.machine.devices import CPU, find_device, using
from support.command import Command


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def readout(V: int = 320, d: int = 6) -> Readout:
    rng = np.random.default_rng(4)
    W = np.vstack([rng.normal(size=(V - 20, d)), 0.2 * rng.normal(size=(20, d))])
    return Readout.fold(W, 0.1 * rng.normal(size=V), norm="layernorm")


def test_arrays_go_to_torch_and_come_back() -> None:
    on, warning = find_device("torch")
    frozen = readout().W  # an array nobody may write to
    there = on.put(frozen, np.float32)
    assert (on.name, warning, there.dtype) == ("torch", None, torch.float32)
    assert (on.get(there) == frozen.astype(np.float32)).all()
    assert (on.get(on.xp.max(there, axis=1)) == frozen.astype(np.float32).max(axis=1)).all()


def test_numpy_is_the_device_unless_another_is_chosen() -> None:
    assert current_device() is CPU
    with using(find_device("torch")[0]):
        assert current_device().name == "torch"
    assert current_device() is CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:", "mps", "", "CPU"])
def test_a_device_of_no_such_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="give cpu, cuda, cuda:1 or torch"):
        find_device(name)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_numpy_computes_and_says_so() -> None:
    found, warning = find_device("cuda")
    assert found is CPU
    assert warning == "device cuda: torch finds no GPU here, so NumPy computes"


def test_without_torch_numpy_computes_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found, warning = find_device("cuda:1")
    assert found is CPU
    assert warning is not None
    assert "torch is not installed" in warning


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1")[0].name == "cuda:1"
    with pytest.raises(InputError, match="torch finds 2 GPUs"):
        find_device("cuda:2")


def test_products_of_float32_are_not_rounded_further_while_a_device_is_used() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with using(find_device("torch")[0]):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("detector", ["self-argmax", "hull-vertex"])
@pytest.mark.parametrize("tokens", ["candidates", "all"])
def test_verdicts_are_the_same_on_every_device(detector: str, tokens: str) -> None:
    here, there = (
        geom.run(readout(), detectors=[detector], certifiers=["maxent"], tokens=tokens, device=name)
        for name in ("cpu", "torch")
    )
    verdicts = [[(r.token_id, r.verdict, r.argmax_id) for r in run.rows()] for run in (here, there)]
    assert verdicts[0] == verdicts[1]
    assert len({verdict for _, verdict, _ in verdicts[0]}) == 2
    assert geom.verify(there, readout()).ok


@pytest.mark.usefixtures("no_gpu")
def test_a_run_that_asked_for_a_gpu_says_what_it_used(
    command: Command,
) -> None:
    done = command("run", "--device", "cuda", "-c", "maxent", "--tokens", "0-9", "--out", "run.db")
    assert done.code == 0
    assert "geom: device cuda: torch finds no GPU here, so NumPy computes\n" in done.err
    assert "warning: device cuda: torch finds no GPU here" in done.out
