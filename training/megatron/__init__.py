"""Megatron's trainer: its arguments' use, model, data sets, batch, and the functions around its loop."""
