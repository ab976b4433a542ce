"""Runs of the 28 tasks on many models."""
