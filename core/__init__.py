"""The ground every room stands on: errors, files, manifests, Qwen3's facts."""
