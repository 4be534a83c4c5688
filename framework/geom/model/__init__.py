"""The question: rows, biases and norm, the set of points x, and copies of the readout in memory."""
