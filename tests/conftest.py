"""Settings and fixtures for all tests: every run draws the same examples, on any machine."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Tests run one process per core; libraries read these variables when they are loaded.
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

collect_ignore = ["fresh", "real"]
"""``fresh`` installs packages, ``real`` fetches weights: they run in ``tox -e fresh``, ``real``."""

os.environ.pop("PYTHONUNBUFFERED", None)
"""Commands buffer their output, as a user's do."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Ctrl-C reaches the commands that tests start, even if the tests run in the background."""

settings.register_profile("geom", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("geom")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in its own folder, and return the folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test its own cache, and bypass proxies to its server."""
    import huggingface_hub.utils._cache_assets as assets

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(assets, "HF_ASSETS_CACHE", str(tmp_path / "cache" / "assets"))


@pytest.fixture
def work(own_folder: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder inside the test's own, with its own cache; end a test that waits for ever."""
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
    """Yield a server that has the weights of a square."""
    root = tmp_path / "served"
    root.mkdir()
    save_file({"lm_head.weight": W}, root / "m.safetensors")
    with serving(Server(root)) as running:
        yield running


@pytest.fixture
def command(own_folder: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs the command line in this process and in the test's folder."""

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        return Done(leaving.value.code, *capfd.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def use() -> Iterator[Use]:
    """Yield a function that replaces the installed plugins until the test ends."""
    with ExitStack() as stack:
        yield lambda plugins: stack.enter_context(using(plugins))
