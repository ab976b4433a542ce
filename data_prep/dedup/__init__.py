"""Duplicates beyond equal texts."""
