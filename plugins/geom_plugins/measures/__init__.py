"""Measures: numbers for tokens, with their errors."""
