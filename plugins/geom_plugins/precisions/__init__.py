"""Precisions: the margin of a token at a point, as one arithmetic computes it."""
