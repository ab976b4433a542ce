"""Reports on trainings alone, before anything was evaluated."""
