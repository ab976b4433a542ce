"""Doses and laboratory values: whether a model copies and converts them without altering one."""
