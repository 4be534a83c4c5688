"""The output of results, progress and messages to the terminal."""
