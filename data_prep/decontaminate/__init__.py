"""Texts for evaluation within a corpus that is trained on."""
