"""autovid search: a network inside ranges of cost."""

import argparse
import json
from typing import TYPE_CHECKING, NamedTuple

from autovid.cli import launch, options, search_by_training, training

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.search import Constraint, SearchSettings
    from autovid.search.experiment import LoadedSearch
    from autovid.space import SearchSpace

SPACE = "two_stream"
RECIPE = (
    "epochs", "steps", "batch", "lr", "arch_lr", "frames", "crop", "stride", "jitter", "samples", "beta", "likelihood",
    "cost_gradient", "open_prior",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    training.experiment_argument(parser)
    training.experiment_arguments(parser, " (with EXPERIMENT), or strategy.KEY=VALUE")
    parser.add_argument("--space", help="a name from `autovid list`, or a YAML file (default: two_stream)")
    parser.add_argument(
        "--strategy", default="parsec", help="which architectures to look at: parsec (default), random, evolution"
    )
    parser.add_argument(
        "--score", default="supernet", metavar="supernet|training|table:FILE",
        help="how architectures are scored (default: by the supernet; random-baseline: by training)",
    )  # fmt: skip
    parser.add_argument("--data", type=options.source, help=options.EMBEDDED)
    parser.add_argument("-o", "--out", help="run directory (default: runs/search-SPACE)")
    parser.add_argument("--resume", action="store_true", help="go on with the search in the run directory")
    parser.add_argument(
        "--recipe",
        choices=["proxy", "full"],
        help="full: the space's published recipe; proxy: small clips and few steps (default with synthetic data)",
    )
    options.constraints(parser)
    method = parser.add_argument_group("method (PARSEC)")
    method.add_argument("--samples", type=options.number_or_auto(int), help="architectures a step, K (13), or auto")
    method.add_argument(
        "--beta", type=options.number_or_auto(float), help="weight of each cost's term, or auto (default)"
    )
    method.add_argument(
        "--cost-gradient", choices=["sampled", "exact", "in-range"],
        help="of the cost's term: by the K architectures (default with --recipe full), of the expected cost (default "
        "otherwise), or of log P(in range)",
    )  # fmt: skip
    method.add_argument(
        "--open-prior", choices=["quarter", "evidence"],
        help="the prior learns after a quarter of a part (default with --recipe full), or when the scores of "
        "architectures differ by more than the noise, and the supernet is better than chance (default otherwise)",
    )  # fmt: skip
    method.add_argument("--likelihood", choices=["mean", "sum"], help="over the clips of a batch (default: mean)")
    method.add_argument("--in-range", action="store_true", help="draw only architectures inside the ranges")
    recipe = parser.add_argument_group("recipe (default: the space's)")
    length = recipe.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=options.rate, help="of every part")
    length.add_argument("--steps", type=options.positive, help="of every part")
    recipe.add_argument("--batch", type=options.positive)
    recipe.add_argument("--lr", type=options.rate, help="of the weights")
    recipe.add_argument("--arch-lr", type=options.rate, help="of the prior")
    options.clips(recipe)
    launch.arguments(parser)
    search_by_training.arguments(parser)
    options.machine(parser)
    parser.set_defaults(seed=None, precision=None)  # an experiment has its own


def run_name(args: argparse.Namespace) -> str:
    """Return the name of the run directory. Raises ConfigError and CostRangeError for what cannot be searched."""
    from autovid.search import parse_constraints
    from autovid.space import load_space

    if args.experiment:
        return f"search-{_load(args).space.name}"
    space = load_space(args.space or SPACE)
    parse_constraints(space, options.ranges(args), options.cost_files(args))
    return f"search-{space.name}"


def run(args: argparse.Namespace) -> int:
    from autovid.cli.console import announce_search, show_search_result
    from autovid.errors import ConfigError
    from autovid.search import search

    if args.score == "training":
        search_by_training.run(args)
        return 0
    if args.score.startswith("table:"):
        return _by_table(args)
    if args.score != "supernet":
        raise ConfigError(f"--score {args.score}: give supernet, training or table:FILE")
    plan = _experiment(args) if args.experiment else _flags(args)
    if plan is None:
        return 0
    out = args.out or options.run_directory(f"search-{plan.space.name}", args.resume)
    announce_search(plan.space, plan.videos, plan.settings, out, plan.constraints)
    found = search(
        plan.space,
        plan.videos,
        plan.settings,
        out,
        constraints=plan.constraints,
        precision=args.precision or "auto",
        device=args.device,
        workers=options.decoders(args),
        resume=args.resume,
        resume_command=options.resume_command(out),
    )
    show_search_result(found, str(args.data or "DATA"))
    return 0


def _by_table(args: argparse.Namespace) -> int:
    """Search with scores from a table: seconds, and no data."""
    from pathlib import Path

    from autovid.cli.console import show_search_result
    from autovid.search import parse_constraints
    from autovid.search.strategy import read_strategy_options
    from autovid.space import load_space
    from autovid.studies import search_by_table

    space = load_space(args.space or SPACE)
    constraints = parse_constraints(space, options.ranges(args), options.cost_files(args))
    out = args.out or options.run_directory(f"search-{space.name}", args.resume)
    found = search_by_table(
        space, constraints, Path(args.score.removeprefix("table:")), Path(out), strategy=args.strategy,
        options=read_strategy_options(args.settings)[0], seed=args.seed or 0, rounds=args.steps, resume=args.resume,
        resume_command=options.resume_command(out),
    )  # fmt: skip
    show_search_result(found, "DATA")
    return 0


class _Plan(NamedTuple):
    """A search: the space, the videos, how, and inside which ranges."""

    space: "SearchSpace"
    videos: "VideoSet"
    settings: "SearchSettings"
    constraints: "tuple[Constraint, ...]"


def _flags(args: argparse.Namespace) -> _Plan:
    """The search that the flags alone ask for."""
    from autovid.data import halves, open_videos
    from autovid.errors import ConfigError
    from autovid.search import parse_constraints, settings_for
    from autovid.search.strategy import read_strategy_options
    from autovid.space import load_space

    strategy_options, others = read_strategy_options(args.settings)
    if others or args.dry_run:
        raise ConfigError(
            "--set and --dry-run are for experiments, autovid search EXPERIMENT; without one --set takes strategy.KEY"
        )
    space = load_space(args.space or SPACE)
    constraints = parse_constraints(space, options.ranges(args), options.cost_files(args))
    seed = args.seed or 0
    videos = open_videos(args.data or "synthetic", seed=seed)
    proxy = args.recipe == "proxy" or (args.recipe is None and args.data in (None, "synthetic"))
    changes = {name: getattr(args, name) for name in RECIPE}
    settings = settings_for(
        space,
        proxy=proxy,
        videos=len(halves(videos.train, seed)[0]),
        constrained=bool(constraints),
        in_range=args.in_range,
        seed=seed,
        strategy=args.strategy,
        score=args.score,
        options=strategy_options,
        **changes,
    )
    return _Plan(space, videos, settings, constraints)


def _experiment(args: argparse.Namespace) -> _Plan | None:
    """The search that an experiment asks for, with the flags on top; None after a dry run."""
    from autovid.data import halves, open_videos
    from autovid.data.index import DataSet
    from autovid.errors import DataError
    from autovid.search.experiment import search_plan

    loaded = _load(args)
    seed = loaded.experiment.recipe.seed
    source = args.data if args.data is not None else loaded.experiment.data
    videos = open_videos(source, seed=seed) if source else None
    if args.dry_run:
        known = loaded.experiment.dataset
        if videos is not None:
            known = DataSet(videos.name, len(videos.classes), len(videos.train), len(videos.val))
        print(search_plan(loaded, known, videos is not None))
        print("\nready; nothing was searched (--dry-run)" if videos else "\nto be given: --data")
        return None
    if videos is None:
        raise DataError(f"{args.experiment} has no data yet; give --data: {options.DATA}")
    launch.note(loaded.experiment.workers)
    settings = loaded.settings(len(halves(videos.train, seed)[0]))
    return _Plan(loaded.space, videos, settings, loaded.constraints)


def _load(args: argparse.Namespace) -> "LoadedSearch":
    """The experiment with the flags on top. Raises ConfigError."""
    from autovid.config import check_command, find_experiment
    from autovid.errors import ConfigError
    from autovid.search.experiment import load_search

    path = find_experiment(args.experiment)
    if path is None:
        raise ConfigError(f"{args.experiment} is no experiment; give a YAML file, or a space with --space")
    check_command(path, "search")
    flags = training.flag_settings(args, RECIPE, "recipe.")
    flags += ["recipe.in_range=true"] * args.in_range
    flags += [f"constraints.{option}={json.dumps(texts)}" for option, texts in options.ranges(args).items()]
    flags += [f"recipe.seed={args.seed}"] * bool(args.seed) + launch.settings(args)
    return load_search(path, [*args.settings, *flags], options.cost_files(args))
