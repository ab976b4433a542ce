"""Cleaning of documents, and screening for personal data and other languages."""
