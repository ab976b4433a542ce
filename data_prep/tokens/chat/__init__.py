"""Conversations to token ids: the model's own chat template, and which tokens are answers."""
