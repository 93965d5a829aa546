"""autovid report: a page about runs."""

import argparse
import shlex
import sys
from pathlib import Path

from autovid.errors import ConfigError, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="run directory of a search, a training, a random baseline or a ranking; several are compared side by side",
    )
    parser.add_argument("-o", "--out", type=Path, metavar="FILE.html", help="default: RUN/report.html of the first RUN")


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    from autovid.report.page import write_report

    out = args.out or args.runs[0] / "report.html"
    if out.suffix != ".html":
        raise ConfigError(f"-o {out}: the report is a page; give its name the ending .html")
    size = write_report(args.runs, out, lambda line: print(printable(line), file=sys.stderr))
    print(f"in {shlex.quote(str(out))} ({size / 1e6:.2f} MB, opens without a network)")
