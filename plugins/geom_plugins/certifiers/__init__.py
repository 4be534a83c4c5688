"""Certifiers: points and weights for `geom.judge` to check."""
