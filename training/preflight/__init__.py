"""Checks of all nodes of a start, before its first step; and the record of the code and packages that it runs."""
