"""The command line: one subcommand = parse, load, call one function. No file here imports torch before it must."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from autovid.cli import launch
from autovid.cli.termination import exit_code, terminable
from autovid.errors import AutovidError, RunError
from autovid.plugins import forget_plugins, load_plugins

COMMANDS = {
    "search": "search a space for a network in a FLOPs range",
    "derive": "freeze the most probable architecture of a search",
    "train": "train a network, or a frozen architecture, from scratch",
    "evaluate": "top-1 and top-5 of a trained run, averaged over views",
    "random-baseline": "train architectures drawn at random from a FLOPs range",
    "export": "a network as a folder that stands alone: weights, a torch program, or ONNX",
    "predict": "the likeliest classes of videos, whole or along their timeline",
    "sweep": "train with every combination of some values, side by side",
    "cam": "what trained networks look at in a video: activation maps as a filmstrip and a film",
    "draw": "a picture of a network: its streams, blocks, kernels, fusion and attention",
    "report": "a page about runs: what was found, how, how good it is, what it cost",
    "bench": "size, latency, throughput and memory of networks, side by side",
    "rank": "whether a search's supernet ranks architectures as trainings from scratch do",
    "latency-table": "the latency of every block of a space on this machine, for --latency",
    "data": "indexes of data sets as they are distributed, Mini- sets, checking, small copies",
    "import-weights": "weights of another toolkit, for a network of ours",
    "describe": "a network, an architecture, a space or a run, stage by stage",
    "list": "the spaces, networks, modules and experiments there are",
}

WITH_PLUGINS = {*COMMANDS} - {"data", "import-weights"}
PLUGIN = """Python code of your own to run first, with blocks or operations that the network has; may be repeated;
FILE.py@SHA256 also allows what was made with another content of the file"""

EPILOG = """exit codes: 0 done, 2 wrong usage or a wrong file, 3 a FLOPs range that cannot be met,
4 missing or broken data, 5 a run directory in use, made with another configuration or damaged, or a file that
the machine refuses, 6 a loss that is not finite, 7 another worker has gone, 130 stopped by Ctrl-C,
143 by SIGTERM, 138 by SIGUSR1 (saved: go on with --resume)"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None, *, started: bool = False) -> int:
    """Runs one command and returns its exit code. `started`: this is one of --workers already."""
    arguments = [*(sys.argv[1:] if argv is None else argv)]  # `list` may be our own module of that name here
    parser = _parser(next((a for a in arguments if a in COMMANDS), None))
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        forget_plugins()  # of an earlier command in this process
        load_plugins(getattr(args, "plugin", ()))
        if getattr(args, "workers_of_run", None) and not (started or args.dry_run):
            return launch.start(args, arguments, main)
        launch.check(args)
        with terminable(), launch.joined(args):
            return int(args.run(args) or 0)
    except AutovidError as error:
        launch.report(error, args.command)
        return error.exit_code
    except KeyboardInterrupt as stop:
        return exit_code(stop)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # what nobody closer has explained
        refused = RunError(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
        launch.report(refused, args.command)
        return refused.exit_code


def _parser(wanted: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of the one command that is wanted."""
    from autovid import __version__

    parser = _Parser(prog="autovid", description="Searches networks for video recognition.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"autovid {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == wanted:
            module = importlib.import_module(f"autovid.cli.{name.replace('-', '_')}")
            module.arguments(command)
            command.set_defaults(run=module.run)
            if name in WITH_PLUGINS:
                command.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help=PLUGIN)
    return parser
