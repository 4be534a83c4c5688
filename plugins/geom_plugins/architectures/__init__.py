"""Architectures of transformers: where a checkpoint keeps its readout, and how it is found."""
