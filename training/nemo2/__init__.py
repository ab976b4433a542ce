"""NeMo 2 (nemo-toolkit 2.7.3): a recipe as the `run.Partial` that its users start."""
