"""Bad input: exit code 2, one line that says what is wrong and what to do, and no file written.

Damaged files are made by hand, byte by byte, from sound ones.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sqlite3
import struct
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from support.command import GEOM, Command, separately

W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.1, 0.1]])

DATA = W.astype("<f4").tobytes()
HEADER = {"lm_head.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a sound model and a sound run of it, in the test's folder."""
    monkeypatch.chdir(tmp_path)
    np.savez("good.npz", W=W, b=np.zeros(4))
    Path("good.safetensors").write_bytes(safetensors(HEADER, DATA))
    geom.run("npz:good.npz", certifiers=[], out="good.db").close()


def refused(command: Command, *arguments: str) -> str:
    """Return the single line of a command that must fail and leave every file unchanged."""
    before = snapshot()
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    assert snapshot() == before
    return done.err


def snapshot() -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(Path().rglob("*"))}


def saved(write: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    """Return the bytes that ``numpy.save`` or ``numpy.savez`` writes."""
    file = BytesIO()
    write(file, *arrays, **named)
    return file.getvalue()


def npy(header: str, data: bytes = bytes(64)) -> bytes:
    """Return a ``.npy`` file with this header; see numpy.lib.format."""
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        for name, data in members.items():
            opened.writestr(f"{name}.npy", data)
    return file.getvalue()


def flipped(data: bytes, start: int, stop: int) -> bytes:
    """Return ``data`` with every bit of a stretch inverted."""
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start:stop]) + data[stop:]


def marked(flag: int = 0, method: int = 0) -> bytes:
    """Return a zip archive of W with these flags or this method, in both its headers."""
    data = bytearray(archive(W=saved(np.save, W)))
    central = data.index(b"PK\x01\x02")
    data[6] = data[central + 8] = flag
    data[8] = data[central + 10] = method
    return bytes(data)


def safetensors(header: Any, data: bytes = DATA) -> bytes:
    """Return a safetensors file: eight bytes of the header's length, the header, the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class Payload:
    """An object that creates a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


# NumPy files

OBJECTS = np.array([Payload()], dtype=object)
NUMPY = {
    "a file of no bytes": (b"", "empty|No data"),
    "no NumPy file": (b"hello, this is text", "pickled"),
    "a cut .npy": (saved(np.save, W)[:-8], "only read 7"),
    "a cut header": (saved(np.save, W)[:40], "header"),
    "a cut .npz": (saved(np.savez, W=W)[:-30], "not a zip"),
    "the first bytes of a .npz": (saved(np.savez, W=W)[:100], "not a zip"),
    "an unknown version": (b"\x93NUMPY\x09\x00" + bytes(100), "version"),
    "a header that is code": (npy("import os"), "header"),
    "a header without shape": (npy("{'descr': '<f8'}"), "keys"),
    "an unknown dtype": (
        npy("{'descr': '<q9', 'fortran_order': False, 'shape': (2, 2)}"),
        "dtype",
    ),
    "a negative shape": (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}"), "-1"),
    "a shape beyond all memory": (
        npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**9}, {10**9})}}"),
        "cannot be read",
    ),
    "a flipped byte": (flipped(saved(np.savez, W=W), 200, 201), "CRC"),
    "a member that is no array": (archive(W=b"text"), "dtype"),
    "no member at all": (archive(), "has no array 'W'; it has none"),
    "members of other names": (archive(Wu=saved(np.save, W)), "has no array 'W'; it has Wu"),
    "damaged deflate": (
        flipped(saved(np.savez_compressed, W=np.eye(40)), 60, 90),
        "cannot be read",
    ),
    "damaged lzma": (flipped(archive(zipfile.ZIP_LZMA, W=saved(np.save, W)), 60, 90), "cannot"),
    "damaged bzip2": (flipped(archive(zipfile.ZIP_BZIP2, W=saved(np.save, W)), 60, 90), "cannot"),
    "an encrypted member": (marked(flag=1), "encrypted"),
    "an unknown compression": (marked(method=77), "compression"),
    "a pickled .npy": (saved(np.save, OBJECTS), "pickled"),
    "a pickled member": (saved(np.savez, W=OBJECTS), "pickled"),
    "a pickle": (pickle.dumps(Payload()), "pickled"),
    "a pickle as a member": (archive(W=pickle.dumps(Payload())), "dtype"),
    "a pickled bias": (saved(np.savez, W=W, b=OBJECTS), "pickled"),
}
ARRAYS = {
    "NaN": ({"W": [[1.0, np.nan], [0.0, 1.0]]}, "nan: every weight must be a finite number"),
    "infinity": ({"W": [[1.0, -np.inf]]}, "-inf: every weight must be a finite number"),
    "NaN in the bias": ({"W": W, "b": [0.0, 0.0, np.nan, 0.0]}, r"b\[2\] is nan"),
    "complex numbers": ({"W": np.eye(2) + 1j}, "complex128: give float16"),
    "texts": ({"W": [["a", "b"]]}, "dtype <U1: give float16"),
    "truth values": ({"W": np.eye(2, dtype=bool)}, "dtype bool: give float16"),
    "dates": ({"W": np.zeros((2, 2), "M8[s]")}, "datetime64"),
    "records": ({"W": np.zeros(3, [("a", "f8")])}, "dtype"),
    "long doubles": ({"W": np.eye(2, dtype=np.longdouble)}, "give float16, float32, float64"),
    "a number": ({"W": 3.0}, r"shape \(\): give a matrix"),
    "a vector": ({"W": np.ones(3)}, r"shape \(3,\): give a matrix"),
    "three dimensions": ({"W": np.ones((2, 2, 2))}, "give a matrix"),
    "no token": ({"W": np.ones((0, 2))}, r"shape \(0, 2\): give a matrix"),
    "no width": ({"W": np.ones((2, 0))}, r"shape \(2, 0\): give a matrix"),
    "a short bias": ({"W": W, "b": np.zeros(3)}, r"b has shape \(3,\): W needs \(4,\)"),
    "a bias of two dimensions": ({"W": W, "b": np.zeros((4, 1))}, r"W needs \(4,\)"),
    "large integers": ({"W": [[2**53 + 1, 0]]}, r"above 2\*\*53: give floats"),
    "rows beyond the range": ({"W": np.full((3, 2), 1e308)}, "scale W down"),
}


@pytest.mark.parametrize(("content", "reason"), NUMPY.values(), ids=NUMPY.keys())
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_damaged_numpy_file(suffix: str, content: bytes, reason: str, command: Command) -> None:
    Path(f"bad.{suffix}").write_bytes(content)
    line = refused(command, "run", "-m", f"npz:bad.{suffix}", "-t", "all", "--out", "run.db")
    assert re.search(reason, line)


@pytest.mark.parametrize(("arrays", "reason"), ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_that_are_no_readout(arrays: dict[str, Any], reason: str, command: Command) -> None:
    np.savez("bad.npz", **arrays)
    line = refused(command, "run", "-m", "npz:bad.npz", "--out", "run.db")
    assert re.search(reason, line)


def test_the_payload_of_these_tests_works_when_it_is_unpickled() -> None:
    np.load(BytesIO(saved(np.save, OBJECTS)), allow_pickle=True)
    assert Path("pwned").is_dir()


def test_a_pickle_in_a_run_is_never_unpickled(command: Command) -> None:
    geom.run("npz:good.npz", tokens="0", opening=False, out="run.db").close()
    with closing(sqlite3.connect("run.db")) as connection, connection:
        connection.execute("UPDATE evidence SET data = ?", (saved(np.save, OBJECTS),))
    assert command("verify", "run.db").code == 1
    assert "damaged" in refused(command, "show", "run.db", "--token", "0")
    assert not Path("pwned").exists()


# Safetensors files


def entry(**changes: Any) -> bytes:
    """Return a file of one tensor whose description has these changes."""
    return safetensors({"lm_head.weight": HEADER["lm_head.weight"] | changes})


SCALAR = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}

SAFETENSORS = {
    "a file of no bytes": (b"", "damaged"),
    "no safetensors file": (b"hello, this is text", "damaged"),
    "a cut header": (safetensors(HEADER)[:30], "damaged"),
    "cut data": (safetensors(HEADER)[:-8], "damaged"),
    "data left over": (safetensors(HEADER) + b"more", "damaged"),
    "a header longer than the file": (struct.pack("<Q", 2**62) + b"{}", "damaged"),
    "a header that is no JSON": (safetensors(b"{nope"), "damaged"),
    "a header that is a list": (safetensors([1]), "damaged"),
    "offsets that lie": (entry(data_offsets=[0, 16]), "damaged"),
    "offsets beyond the file": (entry(data_offsets=[16, 48]), "damaged"),
    "offsets backwards": (entry(data_offsets=[32, 0]), "damaged"),
    "a shape that lies": (entry(shape=[40, 2]), "damaged"),
    "a negative shape": (entry(shape=[-4, 2]), "damaged"),
    "a shape that overflows": (entry(shape=[2**62, 2**62]), "damaged"),
    "an unknown type": (entry(dtype="F99"), "is F99: geom reads F64, F32"),
    "complex numbers": (entry(dtype="C64", shape=[2, 2]), "is C64: geom reads F64, F32"),
    "truth values": (entry(dtype="BOOL", shape=[16, 2]), "is BOOL: geom reads F64, F32"),
    "four bits": (entry(dtype="F4", shape=[16, 4]), "is F4: geom reads F64, F32"),
    "a single number": (
        safetensors({"lm_head.weight": SCALAR}, DATA[:4]),
        "give a matrix",
    ),
    "another name": (
        safetensors({"lm_head.wieght": HEADER["lm_head.weight"]}),
        "has no tensor 'lm_head.weight'; it has lm_head.wieght",
    ),
    "no tensor": (safetensors({}, b""), "has no tensor 'lm_head.weight'; it has none"),
    "a vector": (entry(shape=[8]), "give a matrix"),
    "NaN": (
        safetensors(HEADER, b"\xff\xff\xff\xff" + DATA[4:]),
        "nan: every weight must be a finite number",
    ),
}


@pytest.mark.parametrize(("content", "reason"), SAFETENSORS.values(), ids=SAFETENSORS.keys())
def test_a_damaged_safetensors_file(content: bytes, reason: str, command: Command) -> None:
    Path("bad.safetensors").write_bytes(content)
    line = refused(command, "run", "-m", "safetensors:bad.safetensors", "--out", "run.db")
    assert reason in line


# Names of models

MODELS = {
    "": "write SOURCE:LOCATION",
    "npz": "names no file; write npz:FILE",
    "npz:": "names no file; write npz:FILE",
    "npz:absent.npz": "absent.npz does not exist; give a .npz or .npy file",
    "npz:.": "is a folder; give a .npz or .npy file",
    "nzp:good.npz": "unknown source 'nzp': did you mean 'npz'?",
    "absent.npz": "absent.npz does not exist; give a file or a folder",
    "npz:good.npz?W=V": "has no array 'V'; it has W, b",
    "npz:good.npz?gamma=g": "has no array 'g'",
    "npz:good.npz?gamma=b": "gamma has shape (4,): W needs (2,)",
    "npz:good.npz?beta=b": "beta has shape (4,): W needs (2,)",
    "npz:good.npz?layuot=dv": "did you mean 'layout'?",
    "npz:good.npz?layout=vv": "layout=vv: give vd|dv",
    "npz:good.npz?layout=dv": "b has shape (4,): W needs (2,)",
    "npz:good.npz?norm=batchnorm": "give layernorm|rmsnorm|none",
    "npz:good.npz?bias=maybe": "unknown option",
    "npz:good.npz?&&": "write key=value&key=value",
    "safetensors": "names no file; write safetensors:FILE",
    "safetensors:absent.safetensors": "does not exist; give a file",
    "safetensors:.": "is a folder; give a file",
    "safetensors:good.safetensors?unembed=lm_head.wieght": "it has lm_head.weight",
    "safetensors:good.safetensors?bias=lm_head.bias": "has no tensor 'lm_head.bias'",
    "safetensors:good.safetensors?unembd=x": "did you mean 'unembed'?",
    "demo:large": "the demo has no location; write demo",
    "demo?size=1": "unknown option of source demo 'size'",
    "demo?cats=q4_0": "unknown option of source demo 'cats': did you mean 'cast'?",
    "synthetic": "write synthetic:gpt2-like",
    "synthetic:gpt3-like": "write synthetic:gpt2-like",
    "synthetic:gpt2-like?V=0": "V=0: expected int >= 1",
    "synthetic:gpt2-like?V=many": "V=many: expected int",
    "synthetic:gpt2-like?sede=1": "did you mean 'seed'?",
    "synthetic:gpt2-like?untrained=2": "untrained=2: expected float <= 1",
    "synthetic:gpt2-like?mean=nan": "mean=nan: expected float >= 0",
    "synthetic:gpt2-like?mean=1e300": "every weight must be a finite number",
    "synthetic:gpt2-like?V=1000000000000000": "of memory and",
}


@pytest.mark.parametrize(("model", "reason"), MODELS.items(), ids=MODELS.keys())
def test_a_model_that_cannot_be_loaded(model: str, reason: str, command: Command) -> None:
    assert reason in refused(command, "run", "--model", model, "--out", "run.db")


def test_a_file_that_may_not_be_read(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "good.npz")

    monkeypatch.setattr("numpy.load", deny)
    line = refused(command, "run", "--model", "npz:good.npz", "--out", "run.db")
    assert "good.npz cannot be read: [Errno 13] Permission denied" in line


def test_names_in_a_strangers_file_do_not_act_on_the_terminal(command: Command) -> None:
    np.savez("bad.npz", **{"\x1b[2J\u202e": W})
    line = refused(command, "run", "--model", "npz:bad.npz", "--out", "run.db")
    assert r"it has \u001b[2J\u202e" in line


# Flags of geom run

FLAGS = {
    "--tokens 4": "4 is outside the vocabulary: 0 to 3",
    "--tokens 2-9": "2-9 is outside the vocabulary: 0 to 3",
    "--tokens 3-1": "3-1 runs backwards",
    "--tokens one": "'one' is neither an id nor a range such as 100-120",
    "--tokens 1,-1": "'-1' is neither an id nor a range",
    "--tokens 1.5": "'1.5' is neither an id nor a range",
    "--tokens candidate": "'candidate' is neither an id nor a range",
    "--tokens all,1": "'all' is neither an id nor a range",
    "--tokens ,": "names none",
    "--tokens @absent.txt": "absent.txt does not exist; give a text file of ids",
    "--tokens @.": "give a text file of ids",
    "--tokens @good.npz": "give a text file of ids",
    "--tokens @/dev/null": "is a device, not a file; give a text file of ids",
    "--detector self-argmx": "did you mean 'self-argmax'?",
    "--detector self-argmax -d self-argmax": "self-argmax is named twice",
    "--certifier hihgs": "did you mean 'highs'?",
    "--certifier highs -c highs": "highs is named twice",
    "--certifier none -c highs": "unknown certifier 'none'",
    "--executor serail": "did you mean 'serial'?",
    "--domain laynorm": "did you mean 'layernorm'?",
    "--domain sphere": "known: auto, box, ellipsoid, hull, layernorm, rmsnorm, unbounded",
    "--device cuda -c highs -d random-directions": "device 'cuda': nothing here runs on it",
    "--device tpu": "give cpu, cuda, cuda:1 or torch",
    "--format xml": "'table', 'jsonl'",
    "--fail-on speakable": "did you mean 'unspeakable'?",
    "--fail-on unspeakable,undecidd": "did you mean 'undecided'?",
    "--fail-on unspeakable --ignore normal": "unknown kind to ignore 'normal': known",
    "--ignore special": "--ignore is for --fail-on",
    "--baseline good.npz": "--baseline is for --fail-on",
    "--fail-on unspeakable --baseline absent.db": "the baseline absent.db does not exist",
    "--fail-n unspeakable": "--fail-on",
    "--nothing": "No such option: --nothing",
    "more": "unexpected extra argument",
    "--tokens": "'--tokens' requires an argument",
    "-o certifier.highs": "write KIND.NAME.OPTION=VALUE",
    "-o highs.add=3": "write KIND.NAME.OPTION=VALUE",
    "-o certifer.highs.add=3": "did you mean 'certifier'?",
    "-o certifier.higsh.add=3": "did you mean 'highs'?",
    "-o certifier.highs.ad=3": "did you mean 'add'?",
    "-o certifier.highs.add=few": "add=few: expected int",
    "-o certifier.highs.add=0": "add=0: expected int >= 1",
    "-o certifier.mpmath.digits=80": "certifier mpmath, which has no part in this run",
    "-o certifier.absent.size=1": "unknown certifier 'absent'",
    "-o domain.box.radius=2": "which has no part in this run",
    "--domain box -o domain.box.radius=0": "give a positive finite number",
    "--domain box -o domain.box.radius=inf": "give a positive finite number",
    "--domain box -o domain.box.radius=wide": "radius=wide: give a number",
    "--domain box -o domain.box.raduis=1": "did you mean 'radius'?",
    "--out absent/run.db": "give an --out in a folder you can write to",
    "--out .": "give an --out in a folder you can write to",
    "--out good.npz": "is not a run of geom",
    "--out good.db --domain box": "give another --out",
    "--config absent.toml": "absent.toml does not exist; give a TOML file",
    "--config .": "give a TOML file",
    "--config good.npz": "good.npz is not TOML",
}
TOML = {
    "model = [": "is not TOML",
    "model = 'a'\nmodel = 'b'": "is not TOML",
    "modle = 'npz:good.npz'": "did you mean 'model'?",
    "model = 3": "expected str",
    "detectors = 'self-argmax'": "expected array",
    "detectors = []": "no detector to find candidates",
    "tokens = 3": "expected str",
    "[certifier]\nhighs = 3": "[certifier.NAME]",
    "[certifier.highs]\nad = 3": "did you mean 'add'?",
    "[certifier.highs]\nadd = [3]": "add=[3]: expected int",
    "[certifer.highs]\nadd = 3": "did you mean 'certifier'?",
    "domain = 'laynorm'": "did you mean 'layernorm'?",
}


@pytest.mark.parametrize(("flags", "reason"), FLAGS.items(), ids=FLAGS.keys())
def test_a_flag_that_cannot_be_used(flags: str, reason: str, command: Command) -> None:
    run = ["run", "--model", "npz:good.npz", *([] if "--out" in flags else ["--out", "run.db"])]
    assert reason in refused(command, *run, *flags.split())


@pytest.mark.parametrize("value", ["", " ", "1,,one"])
def test_a_list_of_tokens_that_lists_none(value: str, command: Command) -> None:
    line = refused(command, "run", "-m", "npz:good.npz", "--tokens", value, "--out", "run.db")
    assert re.search("names none|is neither an id", line)


@pytest.mark.parametrize(("content", "reason"), TOML.items(), ids=TOML.keys())
def test_a_configuration_that_cannot_be_used(content: str, reason: str, command: Command) -> None:
    Path("geom.toml").write_text(content)
    line = refused(command, "run", "-m", "npz:good.npz", "--config", "geom.toml", "--out", "run.db")
    assert reason.lower() in line.lower()


# Runs

RUNS = {
    "a file of no bytes": (b"", "is not a run of geom; name a file that geom run wrote"),
    "a text": (b"hello\n" * 1000, "is not a run of geom, or a damaged one"),
    "a model": (saved(np.savez, W=W), "is not a run of geom, or a damaged one"),
    "no such file": (None, "does not exist; name a file that geom run wrote"),
}


@pytest.mark.parametrize("name", ["show", "export", "verify"])
@pytest.mark.parametrize(("content", "reason"), RUNS.values(), ids=RUNS.keys())
def test_a_file_that_is_no_run(
    content: bytes | None, reason: str, name: str, command: Command
) -> None:
    if content is not None:
        Path("bad.db").write_bytes(content)
    assert reason in refused(command, name, "bad.db")


@pytest.mark.parametrize("name", ["show", "export", "verify"])
def test_a_database_of_something_else(name: str, command: Command) -> None:
    with closing(sqlite3.connect("bad.db")) as connection, connection:
        connection.execute("CREATE TABLE tokens (token_id)")
    assert "is not a run of geom; name a file that geom run wrote" in refused(
        command, name, "bad.db"
    )


@pytest.mark.parametrize("name", ["show", "export", "verify"])
def test_a_run_that_is_cut(name: str, command: Command) -> None:
    Path("bad.db").write_bytes(Path("good.db").read_bytes()[:6000])
    assert "bad.db" in refused(command, name, "bad.db")


@pytest.mark.parametrize("name", ["show", "export", "verify"])
def test_a_run_of_a_later_format(name: str, command: Command) -> None:
    with closing(sqlite3.connect("good.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    assert "upgrade geom" in refused(command, name, "good.db")


@pytest.mark.parametrize("name", ["show", "export", "verify"])
def test_a_run_of_an_earlier_format(name: str, command: Command) -> None:
    with closing(sqlite3.connect("good.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 1")
    assert "made by an older geom: run again" in refused(command, name, "good.db")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show", "good.db", "--verdict", "speekable"], "did you mean 'speakable'?"),
        (["show"], "Missing argument 'RUN'; see geom show --help"),
        (["export", "good.db", "--format", "jsnl"], "did you mean 'jsonl'?"),
        (["export", "good.db", "--out", "absent/file"], "give a file that can be written"),
        (["verify", "good.db", "--model", "npz:absent.npz"], "absent.npz does not exist"),
        (["plugins", "npx"], "did you mean 'npz'?"),
        (["plugins", "--format", "xml"], "'table', 'json'"),
        (["rnu"], "Did you mean 'run'?"),
        (["nonsense"], "see geom --help"),
        (["--nonsense"], "see geom --help"),
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_carried_out(
    arguments: list[str], reason: str, command: Command
) -> None:
    assert reason in refused(command, *arguments)


def test_a_process_of_its_own_leaves_2_and_one_line() -> None:
    done = separately("run", "--model", "npz:absent.npz")
    assert (done.code, done.out) == (2, "")
    assert done.err == "geom: absent.npz does not exist; give a .npz or .npy file\n"


@pytest.mark.parametrize("arguments", [["show", "good.db"], ["export", "good.db"], ["plugins"]])
def test_a_full_disk_behind_standard_output_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*GEOM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "geom: [Errno 28] No space left on device\n")


def test_a_source_that_breaks_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("numpy.random.default_rng", break_down)
    line = refused(command, "run", "--model", "synthetic:gpt2-like", "--out", "run.db")
    assert "source synthetic raised RuntimeError: first second" in line


def test_a_message_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("two\nlines\x85.npy", b"")
    with pytest.raises(geom.InputError) as refused:
        geom.load(f"npz:{path}")
    assert str(refused.value) == f"{path} has no array 'W'; it has two lines"
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
