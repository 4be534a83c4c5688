"""What a plugin is: hooks, records, options, and how installed plugins are found and chosen."""
