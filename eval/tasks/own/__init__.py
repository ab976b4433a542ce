"""Tasks of the user's own: files of questions, and lm-eval's task files without code."""
