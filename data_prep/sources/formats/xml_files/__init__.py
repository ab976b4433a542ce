"""Formats in XML and HTML, which lxml reads: without entities, without network, and bounded."""
