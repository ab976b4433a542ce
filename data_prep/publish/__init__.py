"""A corpus as it is published: shards, card, metadata, and its table beside the paper's."""
