"""autovid compare: which network should I take? Any networks, trained alike, on one page."""

import argparse
import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import dry_run, options, training
from autovid.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autovid.data import VideoSet
    from autovid.search import Constraint
    from autovid.studies.side_by_side import Contender, Standing
    from autovid.studies.sweep import SweepTraining

RANDOM = "random:"
PAGE = "compare.html"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help="a network's name, a YAML file of one or of an architecture, the run of a search or a training, whose "
        "network is trained anew, or random:N, N architectures drawn from a range",
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (default: runs/compare)")
    parser.add_argument(
        "--space",
        help="with random:N: the search space (default: that of the first WHAT that has one, else two_stream)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the networks and the time, check everything, do nothing"
    )
    training.arguments(parser)
    options.constraints(parser)


def run(args: argparse.Namespace) -> None:
    """Train all networks, write the page, and print the table."""
    from autovid.report.page import write_page
    from autovid.studies.side_by_side import compare, ranked, verdict
    from autovid.train.plan import estimate_time

    contenders = find_contenders(args)
    training.default_data(args, *args.what)
    videos, source = training.open_data(args.data, args.seed)
    if videos.multi_label:
        raise ConfigError(
            f"{videos.name}: videos have several classes, and the comparison is by top-1; train each alone"
        )
    out = args.out or options.run_directory("compare", args.resume)
    trainings = _trainings(args, contenders, videos, source, out)
    number = "1 network" if len(contenders) == 1 else f"{len(contenders)} networks"
    print(f"{number}, trained alike for {trainings[0].recipe.length} on {videos.name}:")
    for contender, one in zip(contenders, trainings):
        size = f"{one.recipe.frames} × {one.recipe.crop}²"
        print(printable(f"  {contender.name}  ({contender.kind}, clips of {size})"))
    training.note_batch(trainings[0].recipe, videos)
    models = {one.name: (one.model, training_of.recipe) for one, training_of in zip(contenders, trainings)}
    dry_run.check_memory(models, videos, args.device)
    if args.dry_run:
        print(estimate_time([*models.values()], videos))
        print("\nready; nothing was trained (--dry-run)")
        return
    folders = [out / one.name for one in trainings]

    def report(standings: "list[Standing]") -> None:
        write_page(out / PAGE, standings, folders)
        print(
            f"{sum(one.top1 is not None for one in standings)} of {len(standings)} trained · {out / PAGE}", flush=True
        )

    standings = compare(contenders, trainings, out, resume=args.resume, report=report)
    _show(ranked(standings))
    print(printable(verdict(standings)))
    print(f"\nwhere   {out}: {PAGE}, standings.csv, and a run directory for each network")


def find_contenders(args: argparse.Namespace) -> "list[Contender]":
    """Return the networks that are asked for. Raises ConfigError, also for one that is given twice."""
    random = [word for word in args.what if word.startswith(RANDOM)]
    by_name = {word: _contender(word) for word in args.what if word not in random}
    if len(random) > 1:
        raise ConfigError(f"{' and '.join(random)}: give {RANDOM}N once")
    if not random and (args.space or options.ranges(args)):
        raise ConfigError(f"--space and ranges are for {RANDOM}N: add it, or leave them out")
    contenders = [*by_name.values(), *(_random(args, random[0], by_name) if random else ())]
    names = [one.name for one in contenders]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two networks are called {double}; rename a folder or a file")
    by_hash = {one.model.hash: one.name for one in contenders}
    if double := next((one for one in contenders if by_hash[one.model.hash] != one.name), None):
        raise ConfigError(f"{double.name} and {by_hash[double.model.hash]} are one network; give it once")
    return contenders


def _contender(network: str) -> "Contender":
    from autovid.models import NetworkSpec
    from autovid.run import RunDirectory
    from autovid.studies.measured import name_of
    from autovid.studies.side_by_side import Contender
    from autovid.train import find_model

    model, path = find_model(network), Path(network)
    search = path.is_dir() and RunDirectory.open(path).kind == "search"
    kind = "hand-designed" if isinstance(model, NetworkSpec) else "searched" if search else "architecture"
    return Contender(name_of(network), kind, model)


def _random(args: argparse.Namespace, count_word: str, by_name: "Mapping[str, Contender]") -> "list[Contender]":
    """Draw architectures from the ranges, or from one around the first architecture. Raises CostRangeError."""
    from autovid.search import read_constraints
    from autovid.search.constraints import whole_constraints
    from autovid.space import Architecture, load_space
    from autovid.studies import by_training
    from autovid.studies.side_by_side import Contender

    count = count_word.removeprefix(RANDOM)
    if not count.isdecimal() or not int(count):
        raise ConfigError(f"{count_word}: write {RANDOM}N, such as {RANDOM}4")
    models = ((Path(name), one.model) for name, one in by_name.items())
    place, like = next(((path, model) for path, model in models if isinstance(model, Architecture)), (None, None))
    ranges = options.ranges(args)
    if not ranges and like is None:
        raise ConfigError(f"{count_word} draws from a range: give --flops MIN:MAX, or an architecture to draw its like")
    space = load_space(args.space or by_training.space_of(place, like))
    constraints: Sequence[Constraint] = read_constraints(space, ranges, options.cost_files(args))
    if place is not None and like is not None and not constraints:
        constraints = by_training.like(space, place, like)
    archs = by_training.draw(space, int(count), args.seed, whole_constraints(constraints, space))
    return [Contender(f"random-{number}", "random", arch) for number, arch in enumerate(archs, 1)]


def _trainings(
    args: argparse.Namespace, contenders: "Sequence[Contender]", videos: "VideoSet", source: str, out: Path
) -> "list[SweepTraining]":
    """Return the training of each network, by one recipe; what a recipe leaves open is each network's own."""
    from autovid.studies.sweep import SweepTraining

    trainings = []
    for number, one in enumerate(contenders):
        with contextlib.redirect_stdout(io.StringIO()) if number else contextlib.nullcontext():
            recipe = training.recipe_from(args, one.model)
        training_of = SweepTraining(
            (f"network={one.name}",),
            one.model,
            recipe,
            videos,
            source,
            args.device,
            options.decoders(args),
            cache=args.cache,
            resume_command=options.resume_command(out),
        )
        trainings.append(training_of)
    return trainings


def _show(standings: "Sequence[Standing]") -> None:
    """Print the table, the best first."""
    from autovid.cli.console import table

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    columns = ["network", "from", "top-1 (%)", "95 %", "GFLOPs", "M params", "ms"]
    rows = [
        [
            one.name,
            one.kind,
            "diverged" if one.failed else number(one.top1, ".2f"),
            "-" if one.low is None else f"{one.low:.0f} to {one.high:.0f}",
            number(one.gflops, ".4g"),
            number(one.params and one.params / 1e6, ".2f"),
            number(one.latency, ".1f"),
        ]
        for one in standings
    ]
    table("", columns, rows)
