"""Arguments that several commands share, and how their texts are read."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autovid.errors import ConfigError, RunError

if TYPE_CHECKING:
    from autovid.models import Model
    from autovid.space import SearchSpace


from autovid.fileio import read_size

DATA = "a folder with a sub-folder for each class, a CSV (path,label), shards or their address, or synthetic"
RUNTIMES = ("torch", "onnxruntime", "openvino")
DECODERS = "by the machine"
MOST_SEED = 2**63 - 1


def checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint."""
    parser.add_argument(
        "--checkpoint",
        choices=["best", "last"],
        default="best",
        help="of a training: the one that was best on val (default), or the last",
    )


def positive(text: str) -> int:
    """Read a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def not_negative(text: str) -> int:
    """Read a whole number, 0 or above."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def seed(text: str) -> int:
    """Read a whole number that every generator of random numbers takes."""
    value = not_negative(text)
    if value > MOST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is above {MOST_SEED}")
    return value


def source(text: str) -> str:
    """Read the name of a data set; an empty one, from a variable that is not set, would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def rate(text: str) -> float:
    """Read a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def duration(text: str) -> float:
    """Read a time such as 10m, 1h30m or 90s; return seconds."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    seconds = sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1))) if match else 0.0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text}: give a time such as 10m, 1h30m or 90s")
    return seconds


def seconds(text: str) -> float:
    """Read a time in seconds, 0 or above."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds")
    return value


def steps(text: str) -> int | dict[str, int]:
    """Read a number of steps, or `PART=N,PART=N`."""
    if "=" not in text:
        return positive(text)
    numbers = {}
    for pair in text.split(","):
        name, _, number = pair.partition("=")
        numbers[name] = positive(number)
    return numbers


def runtimes(text: str) -> list[str]:
    """Read names of runtimes, each once."""
    names = text.split(",")
    for name in names:
        if name not in RUNTIMES or names.count(name) > 1:
            raise argparse.ArgumentTypeError(f"{text}: give some of {', '.join(RUNTIMES)}, with commas, each once")
    return names


def fraction(text: str) -> float:
    """Read a number between 0 and 1."""
    value = rate(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1")
    return value


def gpus(text: str) -> float:
    """Read GPUs of a process: 0, a part of one, or whole ones."""
    value = 0.0 if float(text) == 0 else rate(text)
    if value > 1 and value % 1:
        raise argparse.ArgumentTypeError(f"{text}: give a part of one GPU, or whole ones")
    return value


gpus.__name__ = "number"  # what argparse calls it


def cache_size(text: str) -> "int | str":
    """`auto`, `off` or bytes: 500M, 2G."""
    if text in ("auto", "off"):
        return text
    value = read_size(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text} is neither auto nor off nor a size such as 500M or 2G")
    return value


def size(text: str) -> int:
    """Read bytes: 500M, 2G."""
    value = read_size(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text} is not a size such as 500M or 2G")
    return value


def sides(text: str) -> tuple[int, int]:
    """Read `MIN:MAX` in pixels."""
    low, _, high = text.partition(":")
    return positive(low), positive(high)


def number_or_auto(kind: type) -> Callable[[str], Any]:
    """Return a reader of `auto` or a number that is not negative."""

    def read(text: str) -> Any:
        if text == "auto":
            return text
        value = kind(text)
        if not 0 <= value < float("inf") or (kind is int and value < 1):
            raise argparse.ArgumentTypeError(f"{text} is out of range")
        return value

    read.__name__ = "number"
    return read


def constraints(parser: argparse.ArgumentParser) -> None:
    """Add a range of each cost, read by `ranges`, and the file of a cost that needs one, read by `cost_files`."""
    from autovid.costs import COSTS

    about = "constraints, any of them together: MIN:MAX, :MAX, MIN: of the whole network, PART=MIN:MAX of a part"
    group = parser.add_argument_group(about)
    for name, sentence in COSTS.about().items():
        cost = COSTS.load(name)
        text = f"{cost.quantity.unit}: {sentence}"
        group.add_argument(
            f"--{cost.option}", dest=cost.option, action="append", default=[], metavar="MIN:MAX", help=text
        )
        if cost.file:
            text = f"the file that --{cost.option} is read from{cost.file_origin and f'; {cost.file_origin}'}"
            group.add_argument(
                f"--{cost.option}-table", dest=f"{cost.option}_table", type=Path, metavar="FILE", help=text
            )


def ranges(args: argparse.Namespace) -> dict[str, list[str]]:
    """Return the texts of ranges, by the cost's option. Raises ConfigError for a table without a range."""
    from autovid.costs import cost_names

    ranges_by_cost = {option: texts for option in cost_names() if (texts := getattr(args, option))}
    for option in cost_names():
        if getattr(args, f"{option}_table", None) is not None and option not in ranges_by_cost:
            raise ConfigError(f"--{option}-table without a range; give --{option} MIN:MAX, too")
    return ranges_by_cost


def cost_files(args: argparse.Namespace, run: Path | None = None) -> dict[str, Path]:
    """Return the files of costs that need one; where none is given, that which the directory `run` has kept."""
    from autovid.costs import cost_names, kept_files

    given = {option: getattr(args, f"{option}_table", None) for option in cost_names()}
    kept = {} if run is None else kept_files(run)
    return {**kept, **{option: file for option, file in given.items() if file is not None}}


def sync_norm(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --sync-norm."""
    parser.add_argument(
        "--sync-norm",
        action="store_true",
        default=None,
        help="with several workers: batch norms over the clips of all of them, not of each (slower)",
    )


def balance(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --balance."""
    parser.add_argument(
        "--balance",
        action="store_const",
        const=True,
        help="draw every class as often as any other, however many videos it has (default: every video)",
    )


def machine(parser: argparse.ArgumentParser, decoders: str = DECODERS) -> None:
    """Add where and how to compute; `decoders` is the default of --decoders in words."""
    group = parser.add_argument_group("machine")
    device(group)
    group.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "fp32", "bf16", "fp16"],
        help="auto (default) takes what measures fastest here",
    )
    decoding(group, decoders)
    group.add_argument(
        "--cache", type=cache_size, default="auto", metavar="auto|off|SIZE",
        help="keep decoded frames in memory: auto (default) where all fit into a quarter of the memory that is free, "
        "and never in trials side by side; or at most SIZE, such as 500M or 2G",
    )  # fmt: skip
    group.add_argument("--seed", type=seed, default=0, help="of all that is random (default: 0)")


def device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --device."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")


def clips(group: argparse._ArgumentGroup) -> None:
    """Add what clips networks are trained on."""
    own = "(default: the reference input's; proxy {})"
    group.add_argument("--frames", type=positive, help=f"frames of a clip {own.format(16)}")
    group.add_argument("--crop", type=positive, help=f"side of a clip, pixels {own.format(32)}")
    group.add_argument("--stride", type=positive, help=f"from one frame of a clip to the next {own.format(2)}")
    group.add_argument(
        "--jitter", type=sides, metavar="MIN:MAX", help="short side before the crop, pixels (default: by the crop)"
    )


def decoding(parser: argparse.ArgumentParser | argparse._ArgumentGroup, default: str = DECODERS) -> None:
    """Add --decoders, read by `decoders`."""
    parser.add_argument("--decoders", type=not_negative, help=f"processes that decode videos (default: {default})")


def run_directory(stem: str, resume: bool) -> Path:
    """Return the directory of a run that -o does not name: a free one, or the one of these that was begun last.

    Raises RunError where there is nothing to resume.
    """
    from autovid import distributed

    return distributed.broadcast_from_rank0(lambda: _newest(stem)) if resume else free_directory(stem)


def _newest(stem: str) -> Path:

    name = re.compile(re.escape(stem) + r"(-\d+)?")
    runs = [file for file in Path("runs").glob("*/config.yaml") if name.fullmatch(file.parent.name)]
    if not runs:
        raise RunError(
            f"no run to resume is called {Path('runs') / stem}; give its directory with -o, or leave --resume out"
        )
    return max(runs, key=lambda file: file.stat().st_mtime_ns).parent


def own_words() -> list[str]:
    """Return the arguments of this command, to be printed and written down: addresses without what is secret."""
    return [without_secrets(word) for word in sys.argv[1:]]


def without_secrets(word: str) -> str:
    """Return a word of a command, such as `data=ADDRESS`, with every address in it as `public` has it.

    Of an address that cannot be taken apart only the protocol is left.
    """
    from autovid.data.remote import ADDRESS, public

    pieces = re.split(rf"(?<=[\s,\"'\[])(?={ADDRESS.pattern})", word)  # several addresses in one word
    for place, piece in enumerate(pieces):
        if found := ADDRESS.search(piece):
            address = piece[found.start() :].rstrip(" ,\"']}")
            if {"@", "?", "#"} & set(address):
                try:
                    shown = public(address)
                except ValueError:
                    shown = f"{found.group()}…"
                pieces[place] = piece.replace(address, shown)
    return "".join(pieces)


def resume_command(out: str | Path) -> str:
    """Return the command line that goes on."""
    words = [word for word in own_words() if word != "--resume"]
    if not any(word in ("-o", "--out") or word.startswith("--out=") for word in words):
        words += ["-o", str(out)]
    return shlex.join(["autovid", *words, "--resume"])


def board_line(folder: str | Path) -> str:
    """Return the line with the command that shows a run, or all runs of a folder, in TensorBoard."""
    return f"watch  tensorboard --logdir {shlex.quote(str(folder))}"


def free_directory(stem: str) -> Path:
    """runs/STEM, or with a number where that is taken: the same for all workers."""
    from autovid import distributed

    return distributed.broadcast_from_rank0(lambda: _free(stem))


def _free(stem: str) -> Path:
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def decoders(args: argparse.Namespace) -> int:
    """Return the number of decoding processes asked for, or one for every two cores, and none where there are only two.

    Workers on one machine (torchrun says how many) have its cores among them.
    """
    if args.decoders is not None:
        return int(args.decoders)
    mine = cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(8, mine // 2) if mine > 2 else 0


def trial_cache(args: argparse.Namespace) -> Any:
    """--cache of trials: side by side on one machine they would all count on the same free memory."""
    return "off" if args.address and args.cache == "auto" else args.cache


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def network(parser: argparse.ArgumentParser) -> None:
    """Add --option, --temporal-pooling and --with."""
    group = parser.add_argument_group("hand-designed networks")
    group.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the network; may be repeated"
    )
    group.add_argument("--temporal-pooling", action="store_true", help="short for --option temporal_pooling=true")
    group.add_argument(
        "--with",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE[:KEY=VALUE,...]",
        help="a module of `autovid list modules`, with its options; may be repeated",
    )


def with_network_options(args: argparse.Namespace, what: "Model | SearchSpace") -> Any:
    """Change a network by options and modules. Raises ConfigError where it takes none."""
    from autovid.models import NetworkSpec

    values = _options(args.option, "--option")
    if args.temporal_pooling:
        values["temporal_pooling"] = True
    modules: dict[str, dict[str, Any]] = {}
    for name, module_options in map(_module, args.modules):
        if name in modules:
            raise ConfigError(f"--with {name} is given twice; give its options together, as --with {name}:A=1,B=2")
        modules[name] = module_options
    if isinstance(what, NetworkSpec):
        return what.changed(options=values, modules=modules)
    if values or modules:
        raise ConfigError("--option, --temporal-pooling and --with are for hand-designed networks; this is none")
    return what


def _module(text: str) -> tuple[str, dict[str, Any]]:
    """Read `rms` or `rms:kernel=3,stages=[1,3]`."""
    name, _, options = text.partition(":")
    pieces = re.split(r",(?=\w+=)", options) if options else []  # no comma inside of a list
    return name, _options(pieces, f"--with {text}")


def _options(pairs: list[str], where: str) -> dict[str, Any]:
    """Read `KEY=VALUE` texts, with values in YAML."""
    from autovid.config import parse_yaml
    from autovid.models.factory import Option

    values: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not key.isidentifier() or not value or key in values:
            raise ConfigError(f"{where}: {pair!r} is not KEY=VALUE, or is given twice")
        values |= parse_yaml(f"{key}: {value}", dict[str, Option], where)
    return values
