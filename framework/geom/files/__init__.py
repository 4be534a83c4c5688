"""Files: which address may be opened, opening what is a regular file, replacing one at once."""
