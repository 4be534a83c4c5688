"""Files: which addresses may be opened, opening a regular file, and replacing one atomically."""
