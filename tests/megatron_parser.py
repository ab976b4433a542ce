"""Megatron's parser of arguments, made once: that takes it 0.2 s."""

from argparse import ArgumentParser
from functools import cache


@cache
def megatron_parser() -> ArgumentParser:
    """The parser, with all arguments."""
    from megatron.training.arguments import add_megatron_arguments

    return add_megatron_arguments(ArgumentParser(allow_abbrev=False))
