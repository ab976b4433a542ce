"""NVIDIA's Megatron-Bridge as the trainer of a recipe."""
