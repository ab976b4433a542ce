"""Hugging Face folders: configuration, weights, tokenizer file, and how they are written."""
