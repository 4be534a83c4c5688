"""Detectors: which tokens are worth a certifier's time."""
