"""Estimates, comparisons of models, and verdicts."""
