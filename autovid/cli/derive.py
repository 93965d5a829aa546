"""autovid derive: the architecture that a search chooses, in its own range or another, or the best of several costs."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autovid.cli import launch, options
from autovid.errors import ConfigError

if TYPE_CHECKING:
    from autovid.search import Constraint, Searched
    from autovid.space import Architecture


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("search", metavar="RUN", help="run directory of a search")
    parser.add_argument(
        "--no-range",
        action="store_true",
        help="the most probable architecture of the prior, whatever it costs (as a search without a range gives it)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="where to write it (default: RUN/architecture.yaml, or a name beside it); with --front a folder "
        "(default: RUN/front)",
    )
    parser.add_argument(
        "--scale",
        metavar="KEY=N,...",
        help="the same architecture at another input and depth, e.g. crop=224 (S to M) or crop=312,depth=5.0 (to L); "
        "keys crop, frames, depth",
    )
    options.constraints(parser)
    parser.add_argument("--data", type=options.source, help=f"{options.DATA} (default: the data of the search)")
    parser.add_argument(
        "--budget", type=options.duration, default=120.0, metavar="TIME",
        help="for choosing anew, where ranges are given (default: 2m)",
    )  # fmt: skip
    options.device(parser)
    group = parser.add_argument_group("a front: the best architecture of each of several costs")
    group.add_argument(
        "--front",
        type=options.positive,
        metavar="N",
        help="cut the range of the first constraint into N equal slices, and take the best of each on held-out clips",
    )
    group = parser.add_argument_group("finalists: the best architectures are trained, and the winner is taken")
    group.add_argument(
        "--finalists",
        type=options.positive,
        metavar="N",
        help="train the N best by successive halving: all for a part of the epochs, the better half for twice as many, "
        "and so on; their trainings stand in RUN/finalists",
    )
    group = parser.add_argument_group("training of a front or of finalists")
    group.add_argument(
        "--train",
        type=options.rate,
        metavar="EPOCHS",
        help="train each of a front from scratch for so many epochs, or the last finalist (default for finalists: the "
        "recipe's)",
    )
    options.decoding(group)


def run(args: argparse.Namespace) -> int:
    from autovid.cli.console import show_derived
    from autovid.fileio import explained
    from autovid.run import Progress, write_atomic
    from autovid.search import read_constraints, read_search
    from autovid.search.derivation import source_of
    from autovid.studies.supernet import derive_again

    if args.front and args.finalists:
        raise ConfigError("--front and --finalists are two ways to derive; give one of them")
    if args.front:
        return _front(args)
    if args.train and not args.finalists:
        raise ConfigError("--train is for a front or for finalists; give --front N or --finalists N")
    file = Path(args.out) if args.out else Path(args.search) / _name(args)
    if file.suffix not in (".yaml", ".yml") and not file.is_dir():
        raise ConfigError(f"-o {file}: an architecture is a YAML file; give its name the ending .yaml")
    if file.is_dir():
        raise ConfigError(f"-o {file} is a folder; give the name of a file, such as {file / 'architecture.yaml'}")
    ranges = options.ranges(args)
    if args.no_range and ranges:
        raise ConfigError(f"--no-range asks for no range at all; leave out --{' and --'.join(ranges)}")
    scale = _scale(args.scale) if args.scale else {}
    if args.data and not ranges and not args.finalists:
        raise ConfigError("--data is for choosing anew: give a range with it, such as --flops MIN:MAX, or --front N")
    if args.no_range and args.finalists:
        raise ConfigError("--finalists are the best of a range; leave out --no-range")
    with launch.waiting("derive", f"reading {args.search}"):
        searched = read_search(args.search)
    others = read_constraints(searched.space, ranges, options.cost_files(args, Path(args.search)))
    if args.finalists:
        arch = _finalist(args, searched, others or None)
    else:
        with Progress(f"choice of {args.search}").of_phases() as show:
            arch = derive_again(
                Path(args.search), searched, others, no_range=args.no_range, data=args.data, seconds=args.budget,
                device=args.device, show=show,
            )  # fmt: skip
    if scale:
        from autovid.search.derivation import described_scale

        arch = described_scale(arch, **scale)
    with explained(f"cannot make {file.parent}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, arch.to_yaml())
    show_derived(arch, file, searched, Path(args.search), args.data or source_of(Path(args.search)))
    return 0


def _finalist(
    args: argparse.Namespace, searched: "Searched", constraints: "Sequence[Constraint] | None"
) -> "Architecture":
    """Train the finalists; return the winner."""
    from autovid.cli.console import show_finalists
    from autovid.studies.finalists import FOLDER, derive_finalist
    from autovid.studies.front import TrainingPlan

    run = Path(args.search)
    plan = TrainingPlan(args.train, options.decoders(args), shlex.join(["autovid", *options.own_words()]))
    arch, results, chance = derive_finalist(
        run, searched, args.finalists, plan, constraints, data=args.data, device=args.device
    )
    show_finalists(results, arch.hash, run / FOLDER, chance)
    return arch


def _front(args: argparse.Namespace) -> int:
    """Derive, score and write a front."""
    from autovid.cli.console import show_front
    from autovid.run import Progress
    from autovid.search import read_constraints, read_search
    from autovid.studies.front import TrainingPlan, derive_front

    if args.no_range or args.scale:
        raise ConfigError("--front goes over a range of costs; leave out --no-range and --scale")
    run, folder = Path(args.search), Path(args.out or Path(args.search) / "front")
    searched, ranges = read_search(run), options.ranges(args)
    asked = read_constraints(searched.space, ranges, options.cost_files(args, run))
    command = shlex.join(["autovid", *options.own_words()])
    training = TrainingPlan(args.train, options.decoders(args), command) if args.train else None
    front = derive_front(
        run, args.front, folder, constraints=asked or None, data=args.data, device=args.device, training=training,
        progress=Progress(f"front of {run}"),
    )  # fmt: skip
    show_front(front, folder, searched)
    return 0


def _name(args: argparse.Namespace) -> str:
    """Name the file: the search's own architecture has the plain name, others say what they are."""
    words = [
        *(_word(option, text) for option, texts in options.ranges(args).items() for text in texts),
        args.no_range and "no-range",
        args.finalists and "finalists",
        args.scale and args.scale.replace("=", "").replace(",", "-"),
    ]
    suffix = "-".join(word for word in words if word)
    return f"architecture-{suffix}.yaml" if suffix else "architecture.yaml"


def _word(option: str, text: str) -> str:
    """Return a range as a file's name has it: 1.37-1.43 of --flops, latency20-25 of --latency."""
    return ("" if option == "flops" else option) + text.replace(":", "-").replace("=", "").replace(",", "-")


def _scale(text: str) -> dict[str, Any]:
    """Read `crop=224,frames=32,depth=5.0`."""

    kinds = {"crop": options.positive, "frames": options.positive, "depth": options.rate}
    scale: dict[str, Any] = {}
    for piece in text.split(","):
        key, _, value = piece.partition("=")
        if key not in kinds or key in scale:
            raise ConfigError(f"--scale {text}: {piece!r} is not one of crop=N, frames=N, depth=X, each once")
        try:
            scale[key] = kinds[key](value)
        except (ValueError, argparse.ArgumentTypeError):
            raise ConfigError(f"--scale {text}: {value!r} is not a number above 0") from None
    return scale
