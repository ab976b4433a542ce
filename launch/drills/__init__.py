"""Drills: a tiny flow is disturbed on purpose, and has to end as it does undisturbed, or to say why it stops."""
