"""Formats of plain text, a line at a time."""
