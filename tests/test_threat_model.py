"""Each claim of the threat model names a test, and that test exists."""

from __future__ import annotations

import re

from support import ROOT, TESTS


def test_every_test_that_the_threat_model_names_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", page)
    assert len(named) >= 20
    for file, name in named:
        (found,) = TESTS.rglob(f"{file}.py")
        text = found.read_text("utf-8")
        assert re.search(rf"^    *def {name}\(|^def {name}\(", text, re.MULTILINE), (file, name)


def test_every_line_of_the_threat_model_names_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    claims = [row for row in rows if not re.match(r"\|[ -]*\||\| what", row)]
    assert len(claims) >= 15
    assert all(re.search(r"`test_\w+\.py::test_\w+`", row) for row in claims)
