"""torch's own format: bits agree with the tensors saved, and no code in a file is ever run."""

from __future__ import annotations

import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import geom
from geom import InputError
from geom_plugins.checkpoints.torch_bin import read_torch

GENERATOR = torch.Generator().manual_seed(3)
FLOATS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pytorch_model.bin"


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


class TouchesAFile:
    """An object whose pickle creates a file if it is unpickled without restrictions."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


# Files that are read


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_of_every_width_come_without_loss(path: Path, dtype: torch.dtype) -> None:
    saved = drawn(9, 4).to(dtype)
    torch.save({"w": saved}, path)
    tensor = read_torch(path)["w"]
    assert (tensor.dtype, tensor.shape) == (FLOATS[dtype], (9, 4))
    assert isinstance(tensor, geom.SlicedArray)
    expected = np.array(saved.double().tolist())
    np.testing.assert_array_equal(tensor[:].astype(np.float64), expected)
    np.testing.assert_array_equal(tensor[3:5].astype(np.float64), expected[3:5])
    np.testing.assert_array_equal(tensor[1::3].astype(np.float64), expected[1::3])


def test_a_transposed_parameter_is_read_as_it_was(path: Path) -> None:
    saved = torch.nn.Parameter(drawn(4, 9).T)
    torch.save({"w": saved}, path)
    np.testing.assert_array_equal(read_torch(path)["w"][2:7], saved.tolist()[2:7])


def test_files_from_before_the_zip_format_are_read(path: Path) -> None:
    saved = {"w": drawn(5, 3), "b": drawn(5).bfloat16()}
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    tensors = read_torch(path)
    for name, tensor in saved.items():
        np.testing.assert_array_equal(tensors[name][:], np.float32(tensor.tolist()))


def test_an_archive_that_was_packed_again_is_read_right(path: Path, tmp_path: Path) -> None:
    saved = drawn(40, 30)
    torch.save({"w": saved}, tmp_path / "plain")
    with (
        zipfile.ZipFile(tmp_path / "plain") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    np.testing.assert_array_equal(read_torch(path)["w"][:], saved.numpy())


def test_a_state_dict_of_a_module_makes_a_readout(path: Path) -> None:
    head = torch.nn.Linear(6, 11)
    torch.save(head.state_dict(), path)
    tensors = read_torch(path)
    readout = geom.Readout.fold(tensors["weight"], tensors["bias"])
    x = drawn(3, 6)
    np.testing.assert_allclose(readout.logits(x.numpy()), head(x).detach().numpy(), atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_other_tensors_of_a_large_file_stay_on_the_disk(path: Path) -> None:
    torch.save({"w": drawn(64, 8), "rest": torch.zeros(64 << 20, dtype=torch.uint8)}, path)

    def private() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

    before = private()
    tensors = read_torch(path)
    tensors["w"][:]
    assert private() - before < 16 << 20


# Files that are refused, in one line


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        [tensor[:] for tensor in read_torch(path).values()]
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_runs_none(path: Path, tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "trace"
    torch.save(
        {"w": drawn(2, 2), "x": TouchesAFile(trace)}, path, _use_new_zipfile_serialization=zipped
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(path, weights_only=False)
    assert trace.is_dir()  # without restrictions, the file runs code
    trace.rmdir()
    message = refusal(path)
    assert "Python objects" in message
    assert "safetensors" in message
    assert not trace.exists()


def test_a_bare_pickle_is_not_even_opened(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps(TouchesAFile(tmp_path / "trace"), 2))
    assert "not a torch file" in refusal(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({"state_dict": {"w": torch.ones(2, 2)}, "epoch": 3}, "'state_dict' is a dict"),
        ({"w": torch.ones(2, 2), "step": 7}, "'step' is a int"),
        ({0: torch.ones(2, 2)}, "0 is a Tensor"),
        ([torch.ones(2, 2)], "holds a list"),
        (torch.ones(2, 2), "holds a Tensor"),
        (torch.nn.Linear(2, 2), "Python objects"),
        ({"w": torch.eye(3).to_sparse()}, "sparse"),
        ({"w": torch.ones(2, 2, dtype=torch.bool)}, "is bool"),
        ({"w": torch.ones(2, 2, dtype=torch.complex64)}, "is complex64"),
        ({"w": torch.ones(1, 1).expand(1 << 40, 8)}, "more than the file"),
    ],
    ids=str,
)
def test_whatever_is_no_plain_mapping_of_tensors_is_refused(
    path: Path, saved: object, says: str
) -> None:
    torch.save(saved, path)
    assert says in refusal(path)


def test_a_quantised_tensor_is_refused(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        torch.save({"w": torch.quantize_per_tensor(drawn(3, 3), 0.1, 0, torch.qint8)}, path)
    assert "is quantised" in refusal(path)


def test_a_torchscript_program_is_refused(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    assert "TorchScript" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_anywhere_is_refused(path: Path, zipped: bool) -> None:
    torch.save({"w": drawn(30, 4), "v": drawn(6)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in [*range(1, 60), *range(60, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert re.search("damaged|not a torch file|Python objects", refusal(path))


def test_a_file_damaged_anywhere_ends_in_numbers_or_one_line(path: Path) -> None:
    torch.save({"w": drawn(30, 4)}, path)
    whole = path.read_bytes()
    said = []
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            said.append(str([tensor[:].size for tensor in read_torch(path).values()]))
        except InputError as error:
            said.append(str(error))
    assert not any("\n" in line for line in said)
    assert "[120]" in said  # the format cannot tell a damaged number
    assert any("damaged" in line for line in said)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"no checkpoint at all", "it does not begin as one"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_file_of_another_sort_is_named_as_such(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    assert says in refusal(path)


def test_an_archive_of_another_sort_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    assert "not a torch file" in refusal(path)


def test_a_missing_file_is_refused(path: Path) -> None:
    assert "does not exist; give a file" in refusal(path)


def test_without_torch_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": drawn(2, 2)}, path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=re.escape(geom.install_command("torch"))):
        read_torch(path)
