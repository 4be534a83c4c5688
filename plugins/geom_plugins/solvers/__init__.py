"""Algorithms that certifiers, detectors and measures share."""
