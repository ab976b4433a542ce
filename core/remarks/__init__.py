"""Remarks of stages for people, without the words."""
