"""What several tests stand on: the truth from elsewhere, toy models, a server, the command."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
