"""Executors: where the certifiers run."""
