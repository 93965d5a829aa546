"""The command line: one subcommand = parse, load, call one function. No file here imports torch before it must."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from autovid.cli import launch
from autovid.cli.launch import exit_code, terminable
from autovid.errors import AutovidError, ConfigError, RunError, did_you_mean, not_utf8
from autovid.kernels.allocator import keep_memory
from autovid.plugins import forget_plugins, load_plugins

COMMANDS = {
    "search": "search a space for a network in a range of FLOPs",
    "derive": "write the architecture that a search chooses, in its own range or another",
    "train": "train a network, or an architecture of a search, from scratch",
    "evaluate": "measure top-1 and top-5 of a trained network, averaged over views",
    "random-baseline": "train architectures drawn at random from a range of FLOPs",
    "export": "write a network to a folder of its own: weights, a torch program, or ONNX",
    "predict": "predict the classes of videos, whole or along their timeline, or of a live stream",
    "compare": "train networks of any origin alike, and show which one to take",
    "sweep": "train with every combination of some values, in parallel",
    "cam": "draw class activation maps of trained networks on a video, as a filmstrip and a film",
    "draw": "draw a network: its streams, blocks, kernels, fusion and attention",
    "report": "write an HTML page about runs: results, search, accuracy and costs",
    "bench": "measure size, latency, throughput and memory of networks, and compare them",
    "rank": "compare a supernet's ranking of architectures with that of trainings from scratch",
    "latency-table": "measure the latency of every block of a space on this machine, for --latency",
    "profile": "measure once what this machine computes in a second, for --dry-run --hardware",
    "data": "prepare data sets: write an index, draw a Mini set, check, resize or pack videos, or make synthetic ones",
    "import-weights": "import weights of another toolkit into a network",
    "describe": "describe a network, an architecture, a space or a run, stage by stage",
    "runs": "list the runs of a folder: state, accuracy, cost, and the next command",
    "list": "list spaces, networks, modules, blocks and experiments",
}
FOREIGN = re.compile(r'[^\n",]*[\udc80-\udcff][^\n",]*')  # a name with bytes that are no UTF-8, in a longer text
SHORT = {"random-baseline": {"strategy": "random", "score": "training"}}
"""Short ways to say `search` with some options."""

COMPUTING = (
    *("search", "train", "evaluate", "random-baseline", "rank", "bench", "latency-table", "profile"),
    *("predict", "export", "cam", "report", "derive", "compare"),
)

LOADING = (*COMPUTING, "draw", "sweep", "describe")

WITH_PLUGINS = {*COMMANDS} - {"data", "runs", "profile"}
PLUGIN = """Python code of your own to run first: it registers operations, blocks, networks, modules, costs or
strategies; may be repeated; FILE.py@SHA256 also allows what was made with another content of the file"""

EPILOG = """exit codes: 0 success, 2 wrong usage or a wrong file, 3 no architecture in the range,
4 missing or broken data, 5 a run directory that is in use, damaged or of another configuration,
or a file that cannot be read or written, 6 a loss that is not finite, 7 another worker has failed,
130 stopped by Ctrl-C, 143 by SIGTERM, 138 by SIGUSR1 (saved: continue with --resume)"""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "search": (
        "autovid search --space tiny --flops 0.0071:0.0079 -o runs/first",
        "autovid search --data my_videos.csv --flops 1.37:1.43 --budget 2h",
        "autovid search --data my_videos.csv --flops 1.37:1.43 --recipe full --batch 16 --dry-run",
    ),
    "derive": (
        "autovid derive runs/first --flops 0.0072:0.0074",
        "autovid derive runs/first --front 4",
    ),
    "train": (
        "autovid train runs/first --data my_videos.csv --recipe proxy",
        "autovid train tsn_resnet18 --data my_videos.csv --recipe small --balance",
        "autovid train runs/first --data my_videos.csv --recipe finetune --inherit",
        "autovid train tsn_resnet18 --data my_videos.csv --epochs 50 --batch 16 --dry-run",
    ),
    "evaluate": ("autovid evaluate runs/trained --views 10-lcr", "autovid evaluate runs/trained --data other.csv"),
    "random-baseline": ("autovid random-baseline --searched runs/first -n 8",),
    "export": ("autovid export runs/trained --format onnx -o exports/mine",),
    "predict": (
        "autovid predict runs/trained clip.mp4",
        "autovid predict exports/mine clip.mp4 --window 2",
        "autovid predict exports/mine long.mp4 --timeline out",
        "autovid predict exports/mine --follow rtsp://camera.local/stream1",
    ),
    "compare": ("autovid compare tsn_resnet18 runs/first random:2 --data my_videos.csv --epochs 30 -o runs/which",),
    "sweep": ("autovid sweep tsn_resnet18 --data my_videos.csv --over lr=0.05,0.1 --over seed=0..2",),
    "cam": ("autovid cam clip.mp4 --model runs/trained --start 4",),
    "draw": ("autovid draw runs/first -o first.svg",),
    "report": ("autovid report runs/first runs/trained -o report.html",),
    "bench": ("autovid bench tsn_resnet18 x3d_m",),
    "rank": ("autovid rank runs/first -n 8",),
    "latency-table": ("autovid latency-table --space tiny -o tiny-latency.json",),
    "profile": (
        "autovid profile -o here.json",
        "autovid profile -o gpu.json --device cuda --precision bf16",
    ),
    "data": (
        "autovid data index folders my_videos -o my_videos.csv",
        "autovid data check my_videos.csv",
        "autovid data resize my_videos.csv -o small",
        "autovid data pack my_videos.csv -o shards",
        "autovid data synthetic gestures-small -o gestures",
    ),
    "import-weights": ("autovid import-weights resnet18.pth --model tsn_resnet18 -o weights.safetensors",),
    "describe": ("autovid describe runs/first", "autovid describe x3d_m --crop 224"),
    "runs": ("autovid runs", "autovid runs experiments --json"),
    "list": ("autovid list models",),
}
"""Examples of each command, which stand at the end of its --help."""


class _Parser(argparse.ArgumentParser):
    """A parser that takes whole options alone, and reports a mistake in one line, in the name of its own command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, odd = super().parse_known_args(args, namespace)
        if odd:
            option = next((word.split("=")[0] for word in odd if word.startswith("--")), "")
            near = did_you_mean(option, self._option_string_actions).strip()
            self.error("; ".join(filter(None, [f"unrecognized arguments: {' '.join(odd)}", near])))
        return known, odd

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = did_you_mean(str(value), map(str, action.choices or ())).strip()
            error.message += f"; {near}" * bool(near)
            raise

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None, *, started: bool = False) -> int:
    """Run one command and return its exit code. `started`: this process is one of --workers already."""
    arguments = [*(sys.argv[1:] if argv is None else argv)]  # `list` may be our own module of that name here
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        forget_plugins()  # of an earlier command in this process
        load_plugins(_named_plugins(name, arguments))
        parser = _parser(name)
        if name is not None and name not in COMMANDS:
            parser.error(f"there is no command {name!r}; {did_you_mean(name, COMMANDS)}".rstrip("; "))
        args = parser.parse_args(arguments, argparse.Namespace(words=arguments))
        if args.command is None:
            parser.print_help()
            return 0
        if getattr(args, "workers_of_run", None) and not (started or args.dry_run):
            return launch.start(args, arguments, main)
        launch.check(args)
        with terminable(), launch.local_workers(args), launch.joined(args):
            if args.command in LOADING:
                launch.load_torch(args.command)
            if args.command in COMPUTING:
                keep_memory()
            return int(args.run(args) or 0)
    except AutovidError as error:
        launch.report(error, str(name))
        return error.exit_code
    except KeyboardInterrupt as stop:
        if launch.number() == 0:
            print(f"autovid {name}: stopped", file=sys.stderr)
        return exit_code(stop)
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UnicodeEncodeError as error:  # a file's name that cannot be written down
        if not (found := FOREIGN.search(error.object)):
            raise
        misnamed = not_utf8(found.group())
        launch.report(misnamed, str(name))
        return misnamed.exit_code
    except OSError as error:  # one that no caller has explained
        refused = RunError(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
        launch.report(refused, str(name))
        return refused.exit_code


def _named_plugins(command: str | None, arguments: Sequence[str]) -> Sequence[str]:
    """Return the files of --plugin. They are run before the parser is made, which has an option for each cost."""
    if command not in WITH_PLUGINS:
        return ()
    parser = _Parser(prog=f"autovid {command}", add_help=False)
    _add_plugin(parser)
    named: Sequence[str] = argparse.ArgumentParser.parse_known_args(parser, arguments)[0].plugin
    return named


def _add_plugin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help=PLUGIN)


def _parser(needed: str | None) -> argparse.ArgumentParser:
    """Make the parser, with the arguments of the one command that is needed."""
    from autovid import __version__

    parser = _Parser(prog="autovid", description="Search, train and run networks for video recognition.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"autovid {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog="\n".join(["examples:", *(f"  {line}" for line in EXAMPLES[name])]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == needed:
            short = SHORT.get(name, {})
            module = importlib.import_module(f"autovid.cli.{'search' if short else name.replace('-', '_')}")
            try:
                module.arguments(command)
            except argparse.ArgumentError as error:  # ours differ from each other
                raise ConfigError(f"a cost's option is one that the command has already: {error}") from None
            command.set_defaults(run=module.run, run_name=getattr(module, "run_name", None), **short)
            if name in WITH_PLUGINS:
                _add_plugin(command)
    return parser
