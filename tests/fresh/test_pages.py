"""Pages of the documentation that a reader can walk through, walked through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from walking import walk

PAGES = {
    "certificate.md": 3,
    "the-post.md": 11,
    "tutorial-certifier.md": 5,
    "tutorial-detector.md": 8,
}
"""Page -> the commands in it, at least."""

INSTALLED = ("geom-along-centroid", "geom-perceptron")
"""What the pages install."""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_happens(page: str, tmp_path: Path) -> None:
    try:
        assert walk(page, tmp_path) >= PAGES[page]
    finally:
        pip = [sys.executable, "-m", "pip", "uninstall", "-q", "-y", *INSTALLED]
        subprocess.run(pip, capture_output=True, check=True)
