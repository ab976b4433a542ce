"""Megatron's trainer: configuration, model, data sets, batch, and the hooks around its loop."""
