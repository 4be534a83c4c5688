"""Checkpoints as they lie on disk or on a server: which bytes are which tensor, and its meaning."""
