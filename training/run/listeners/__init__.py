"""Listeners to a run's events: guard, journal, straggler, saves, stops, trackers, watch. None knows Megatron."""
