"""Every run of the tests draws the same examples, however slow the machine."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from geom.cli import main
from geom.plugins.registry import using
from support.command import Command, Done
from support.plugins import Use

collect_ignore = ["fresh"]
"""It installs packages, and has an environment of its own: ``tox -e fresh``."""

os.environ.pop("PYTHONUNBUFFERED", None)
"""Commands hold back what they print, as a user's do."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Ctrl-C reaches the commands that tests begin, even if the tests run in the background."""

settings.register_profile("geom", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("geom")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """The command line in this process and in a folder of its own."""
    monkeypatch.chdir(tmp_path)

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
