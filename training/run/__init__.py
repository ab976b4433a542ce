"""A run: folder, journal, hashes, guard, signals, watch, trackers. No Megatron."""
