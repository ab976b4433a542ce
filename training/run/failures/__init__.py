"""The first cause of a run's end: which rank failed, of what, where it was."""
