"""Code that every room uses: errors, files, manifests, Qwen3's facts."""
