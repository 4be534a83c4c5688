"""How results, progress and messages reach the terminal."""
