"""Editions of a corpus by what its licences allow, their report, and the credits that they ask for."""
