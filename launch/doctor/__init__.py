"""Checks of a machine, an environment and a site, before anything is started on them."""
