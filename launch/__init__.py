"""Several stages together: `pdapt run`, models to scores, reports of runs; batch scripts for a cluster."""
