"""The command line as a user sees it: exit code, standard output, standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GEOM = (sys.executable, "-m", "geom.cli")


@dataclass(frozen=True)
class Done:
    """The outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return standard output, in which every line is a JSON object."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Done]
"""The type of the fixture that runs ``geom`` with the given arguments, in the test's folder."""


def separately(*arguments: str, python_path: Path | None = None, limit: float = 120.0) -> Done:
    """Run ``geom`` in a separate process that also finds modules and plugins in ``python_path``.

    Raises TimeoutExpired after ``limit`` seconds.
    """
    done = subprocess.run(
        [*GEOM, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment(python_path),
        timeout=limit,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def environment(python_path: Path | None) -> dict[str, str]:
    """Return the environment of this process, with one more folder to import from."""
    known = [str(python_path or ""), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, known))
    return os.environ | ({"PYTHONPATH": path} if path else {})


def install(folder: Path, distribution: str, code: str) -> None:
    """Install a distribution as pip would: a module that is a geom plugin, and its metadata."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{module}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[geom]\nit = {module}\n")
