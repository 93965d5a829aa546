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
        help="run directory of a search, a training, a random baseline or a ranking; several are compared side by "
        "side; of a comparison or a sweep alone it says where its own page is",
    )
    parser.add_argument("-o", "--out", type=Path, metavar="FILE.html", help="default: RUN/report.html of the first RUN")


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    from autovid.report.page import write_report
    from autovid.report.runs import own_page, report_of_trainings

    if len(args.runs) == 1 and args.out is None and (file := own_page(args.runs[0])):
        print(f"in {shlex.quote(str(file))}; for a report of its trainings: {report_of_trainings(args.runs[0])}")
        return
    out = args.out or args.runs[0] / "report.html"
    if out.suffix != ".html":
        raise ConfigError(f"-o {out}: the report is a page; give its name the ending .html")
    size = write_report(args.runs, out, lambda line: print(printable(line), file=sys.stderr))
    print(f"in {shlex.quote(str(out))} ({size / 1e6:.2f} MB, opens without a network)")
