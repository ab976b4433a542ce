"""The first cause of a run's end: which rank failed, why, and what it was doing."""
