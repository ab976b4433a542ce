"""`pdapt run`: the whole way, from text to the report."""
