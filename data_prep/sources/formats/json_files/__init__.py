"""Formats in JSON: answers of the sources' servers, and corpora."""
