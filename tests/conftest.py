"""Every run of the tests draws the same examples, however slow the machine."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Tests run a process a core, and libraries read these when they are loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings
from safetensors.numpy import save_file

from geom.cli import main
from geom.plugins.registry import using
from support.command import Command, Done
from support.plugins import Use
from support.server import Server, serving
from support.strangers import W

collect_ignore = ["fresh"]
"""It installs packages, and has an environment of its own: ``tox -e fresh``."""

os.environ.pop("PYTHONUNBUFFERED", None)
"""Commands hold back what they print, as a user's do."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Ctrl-C reaches the commands that tests begin, even if the tests run in the background."""

settings.register_profile("geom", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("geom")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own folder, in which it runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no proxy between it and its server."""
    import huggingface_hub.utils._cache_assets as assets

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(assets, "HF_ASSETS_CACHE", str(tmp_path / "cache" / "assets"))


@pytest.fixture
def work(own_folder: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with room beside it, and a cache of its own; what waits for ever is ended."""
    folder = own_folder / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def late(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(100)
    yield folder
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One with the weights of a square."""
    root = tmp_path / "served"
    root.mkdir()
    save_file({"lm_head.weight": W}, root / "m.safetensors")
    with serving(Server(root)) as running:
        yield running


@pytest.fixture
def command(own_folder: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process and in a folder of its own."""

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        return Done(leaving.value.code, *capfd.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def use() -> Iterator[Use]:
    """Puts plugins in the place of the installed ones until the test ends."""
    with ExitStack() as stack:
        yield lambda plugins: stack.enter_context(using(plugins))
