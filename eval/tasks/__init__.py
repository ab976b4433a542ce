"""The 28 tasks: their table, their data, and our task files."""
