"""A stand-in: see `stand_in.py`."""

from stand_in import names_of

__getattr__ = names_of(__name__)
