"""Sampling of cones, for the measure solid-angle."""
