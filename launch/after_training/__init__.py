"""The steps of a run after training: export, merge, choice, evaluation, reports."""
