"""A flow as a chain of Slurm jobs: its file, its jobs, what was submitted, and how it stands."""
