"""Checkpoints on disk or on a server: which bytes make up each tensor, and what it means."""
