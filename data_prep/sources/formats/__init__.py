"""Readers of the formats in which sources are published: a file in, records out, annotations left behind."""
