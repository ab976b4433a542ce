"""Measurements against what a user would otherwise use."""
