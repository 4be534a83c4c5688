"""Arrays in files: the numbers are those written, and a file that changes is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from geom import Filed, InputError
from geom.files.filed import OpenArray

NUMBERS = np.arange(60, dtype="<f4").reshape(15, 4)


@pytest.fixture
def filed(tmp_path: Path) -> Filed:
    path = tmp_path / "numbers"
    path.write_bytes(b"header!" + NUMBERS.tobytes() + b"rest")
    return Filed(path, 7, np.dtype("<f4"), (15, 4), "the numbers")


@pytest.mark.parametrize(
    "rows", [slice(None), slice(2, 5), slice(7, 100), slice(3, 3), slice(5, 2), slice(-3, None)]
)
def test_slices_are_those_of_the_array(rows: slice, filed: Filed) -> None:
    assert (filed[rows] == NUMBERS[rows]).all()
    assert filed[rows].shape == NUMBERS[rows].shape
    assert (OpenArray(filed).lines[rows] == NUMBERS[rows]).all()


def test_a_map_is_found_in_its_file(filed: Filed) -> None:
    mapped = filed.mapped()
    assert (mapped == NUMBERS).all()
    found = Filed.under(mapped[3:9])
    assert found is not None
    assert (found.path, found.offset, found.shape) == (filed.path, 7 + 3 * 16, (6, 4))
    assert (found[:] == NUMBERS[3:9]).all()


def test_what_is_in_memory_or_has_gaps_is_in_no_file(filed: Filed) -> None:
    private = np.memmap(filed.path, "<f4", mode="c", offset=7, shape=(15, 4))
    for array in (NUMBERS, filed.mapped()[:, 1:], private):
        assert Filed.under(array) is None


def test_a_file_that_is_too_short_is_refused(filed: Filed) -> None:
    os.truncate(filed.path, 7 + NUMBERS.nbytes - 1)
    with pytest.raises(InputError, match="the numbers ends too early: fetch it again"):
        filed[:2]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent does not exist"):
        Filed(tmp_path / "absent", 0, np.dtype("u1"), (1, 1), "it")[:]


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20)
        file.write(b"other")


@pytest.mark.parametrize("change", [overwritten, lambda path: os.truncate(path, 50)])
def test_a_file_that_changed_is_noticed(change: object, filed: Filed) -> None:
    opened = OpenArray(filed)
    opened.check()
    os.utime(filed.path, ns=(0, 0))  # a clock may not have ticked between two writes
    opened = OpenArray(filed)
    change(filed.path)  # type: ignore[operator]
    with pytest.raises(InputError, match="the numbers changed while it was in use"):
        opened.check()


def test_another_file_under_its_name_does_not_matter(filed: Filed, tmp_path: Path) -> None:
    opened = OpenArray(filed)
    (tmp_path / "new").write_bytes(bytes(500))
    os.replace(tmp_path / "new", filed.path)
    opened.check()
    assert (opened.lines == NUMBERS).all()
    assert (opened.read(slice(2, 4)) == NUMBERS[2:4]).all()
    with pytest.raises(InputError, match="changed while it was in use"):
        OpenArray(filed, opened.stamp)
