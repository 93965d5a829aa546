"""autovid draw: a picture of a network."""

import argparse
import shlex
from pathlib import Path

from autovid.cli import launch, options


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="a network's name, a YAML file of one or of an architecture, a run directory, or an exported folder",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.svg|png")
    options.network(parser)


def run(args: argparse.Namespace) -> None:
    """Draw a network."""
    from autovid.report.drawing import find_drawable, outline, write_drawing

    with launch.waiting("draw", f"drawing {args.what}"):
        model, prior = find_drawable(args.what)
        write_drawing(args.out, outline(options.with_network_options(args, model), prior))
    print(f"in {shlex.quote(str(args.out))}")
