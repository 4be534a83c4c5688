"""What an unknown name is told."""

import pytest

from geom.errors import unknown
from geom.plugins.registry import HOOKS, installed

ASKED = [
    ("measure", "angle", "did you mean 'solid-angle' or 'angular-margin'?"),
    ("measure", "radius", "did you mean 'chebyshev-radius'?"),
    ("measure", "nrom", "did you mean 'row-norm'?"),
    ("measure", "Norm", "did you mean 'row-norm'?"),
    ("detector", "random", "did you mean 'random-directions'?"),
    ("certifier", "highz", "did you mean 'highs'?"),
    ("precision", "double", "did you mean 'double-double' or 'longdouble'?"),
    ("reporter", "suppress", "did you mean 'suppress-tokens'?"),
    ("source", "safetensor", "did you mean 'safetensors'?"),
    ("reporter", "md", "did you mean 'markdown'?"),
    ("executor", "theads", "known: dask, local, serial"),
    ("executor", "", "known: dask, local, serial"),
]


@pytest.mark.parametrize(("kind", "name", "remedy"), ASKED)
def test_a_slip_or_a_part_of_a_name_is_told_what_it_means(
    kind: str, name: str, remedy: str
) -> None:
    known = [item.record.name for item in installed().listed() if item.kind == kind]
    assert str(unknown(kind, name, known)) == f"unknown {kind} {name!r}: {remedy}"


@pytest.mark.parametrize("kind", HOOKS)
def test_every_word_of_a_name_finds_it(kind: str) -> None:
    known = [item.record.name for item in installed().listed() if item.kind == kind]
    for name in known:
        for word in (word for word in name.split("-") if len(word) > 4 and word not in known):
            assert repr(name) in str(unknown(kind, word, known))


def test_an_option_is_found_by_a_word_too() -> None:
    assert "did you mean 'share_of_rows'?" in str(unknown("option", "share", ["share_of_rows"]))
