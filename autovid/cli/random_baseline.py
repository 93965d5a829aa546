"""autovid random-baseline: a short way to say search --strategy random --score training."""

import argparse

from autovid.cli import search
from autovid.cli.search import run

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a search, with another strategy and score."""
    search.arguments(parser)
    parser.set_defaults(strategy="random", score="training")
