"""The question: rows, biases and norm, the set where x lives, and the map in other memories."""
