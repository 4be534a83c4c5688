"""Reporters: a run as a file."""
