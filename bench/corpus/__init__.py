"""Measurements from documents to tokens, and of a whole corpus."""
