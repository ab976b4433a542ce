"""The document, and the one layer that reads documents from whatever files they come in."""
