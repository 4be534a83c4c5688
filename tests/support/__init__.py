"""Shared parts of the tests: independent truth, toy models, a file server, the command line."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
