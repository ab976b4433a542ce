"""Extraction and classification from openly licensed French medical texts, which `pdapt corpus collect` brings."""
