"""A flow as an experiment of NeMo-Run: a task for each step, on Slurm or on this machine."""
