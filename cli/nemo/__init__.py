"""pdapt's verbs as entry points of NeMo-Run's command `nemo`."""
