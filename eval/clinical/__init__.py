"""Tasks from clinical documents, beside the paper's 28."""
