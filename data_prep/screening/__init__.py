"""Screening: personal data, found by its form and masked by choice, and texts in other languages than French."""
