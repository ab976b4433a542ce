"""Starting a run on a cluster."""
