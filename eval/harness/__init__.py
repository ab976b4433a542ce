"""What lies between a model's folder and lm-eval: whether it is whole, how it generates, how much fits a pass."""
