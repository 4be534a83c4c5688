"""Tools for testing plugins: problems with known answers, and a suite for every kind of plugin.

One line of a test file is the whole suite of a kind of plugin::

    from geom.testing import conformance_test

    test_conformance = conformance_test("detector", "my-detector")

pytest shows each check by name. `geom.testing.strategies` has strategies for Hypothesis.
"""

from __future__ import annotations

from geom.testing.known import Known, known_problems, known_tokens
from geom.testing.suites import Check, checks, conformance_test

__all__ = ["Check", "Known", "checks", "conformance_test", "known_problems", "known_tokens"]
