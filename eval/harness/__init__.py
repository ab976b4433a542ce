"""The way from a model's folder to lm-eval: checks of weights, generation settings, batch size, the process."""
