"""How a recipe is trained: checks before the start, the run's folder, and Megatron's trainer."""
