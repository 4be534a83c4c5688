"""The parts of a plugin: hooks, records and options, and how plugins are found and chosen."""
