"""Reporters: a run written as a file."""
