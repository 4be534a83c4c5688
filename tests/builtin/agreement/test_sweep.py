"""No class of transformers is read wrong: each is read right or refused, as the table says."""

from __future__ import annotations

import pytest

from geom_plugins.architectures.multimodal import WRAPPERS
from geom_plugins.architectures.remote_code import REMOTE_CODE
from geom_plugins.architectures.table import ARCHITECTURES
from support.sweep import classes, swept, written

ANEW = "write the table anew: cd tests; python -m support.sweep"


@pytest.mark.parametrize(("kind", "name"), classes())
def test_a_class_is_read_right_or_refused_as_the_table_says(kind: str, name: str) -> None:
    found = swept(kind, name)
    assert found.result != "wrong", found.how
    assert found == written().get((kind, name)), ANEW


def test_the_table_has_no_class_that_transformers_lacks() -> None:
    assert written().keys() == set(classes()), ANEW


NOT_BUILT = {"dots1", "inkling2_text", "lfm2_moe", "mistral4", "step3p5"}
"""The entries of the table whose models transformers does not build at toy size, or pads there."""


def test_every_entry_of_the_table_was_read_right_in_a_model_of_its_type() -> None:
    right = {kind for (kind, _), found in written().items() if found.result == "right"}
    within = {WRAPPERS[kind].text for kind in right & WRAPPERS.keys()}
    assert ARCHITECTURES.keys() - right - within - REMOTE_CODE.keys() <= NOT_BUILT
