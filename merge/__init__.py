"""Merging a tuned model with the one it came from, on mergekit."""
