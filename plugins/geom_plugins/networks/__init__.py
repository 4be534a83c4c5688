"""Whole networks: run on a text, or from their final norm on."""
