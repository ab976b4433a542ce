"""Strict readers of files that people write."""
