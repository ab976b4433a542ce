"""Documents to token ids: tokenizer, selection, shards, Megatron's index files, layouts."""
