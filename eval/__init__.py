"""Task files, runs, statistics and the report."""
