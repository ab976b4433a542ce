"""Work in tasks: datatrove's executors run them, on this machine or on Slurm, and note which are finished."""
