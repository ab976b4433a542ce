"""Defaults of `pdapt run` and `pdapt quickstart`; it imports nothing, for the command line reads it at its start."""

VALID_FRACTION = 0.05
"""Part of each domain's text that is held out."""
DOCUMENTS, QUESTIONS = 500, 100
"""Held-out documents to evaluate on and questions to ask in each domain, at most."""
MERGE_T = 0.5
"""Distance of the merged model: 0 is the base, 1 the last checkpoint."""
PROFILE, DUPLICATES = "clinical", "keep"
"""How text is cleaned, and the treatment of equal and similar documents."""
MAX_LOSS = 1.0
"""Largest loss in general, in per cent of the perplexity per byte, of a merge that is chosen among several."""
PRETRAIN, CPT = "qwen3_tiny_pretrain_2xcpu", "qwen3_tiny_cpt_2xcpu"
"""Recipes of a run without a base of the user's."""
