"""Tools for tests: a gate for models, and for plugins known answers and suites of every kind.

`assert_speakable` fails a test that names a model with dead tokens::

    from geom.testing import assert_speakable

    def test_every_token_can_be_said():
        assert_speakable("hf:checkpoint", ignore="special,padding")

One line of a test file is the whole suite of a kind of plugin::

    from geom.testing import conformance_test

    test_conformance = conformance_test("detector", "my-detector")

pytest shows each check by name. `geom.testing.strategies` has strategies for Hypothesis.
"""

from __future__ import annotations

from geom.testing.assertion import assert_speakable
from geom.testing.known import Known, known_problems, known_tokens
from geom.testing.suites import Check, checks, conformance_test

__all__ = [
    "Check",
    "Known",
    "assert_speakable",
    "checks",
    "conformance_test",
    "known_problems",
    "known_tokens",
]
