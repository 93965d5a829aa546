"""autovid search: a network for a FLOPs range."""

import argparse
import json
from typing import TYPE_CHECKING

from autovid.cli import experiments, launch, options

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.search import SearchSettings
    from autovid.search.experiment import LoadedSearch
    from autovid.space import SearchSpace

RECIPE = (
    "epochs", "steps", "batch", "lr", "arch_lr", "frames", "crop", "stride", "jitter", "samples", "beta", "likelihood",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    experiments.positional(parser)
    experiments.arguments(parser, " (with EXPERIMENT)")
    parser.add_argument(
        "--space", default="two_stream", help="a name from `autovid list`, or a YAML file (default: two_stream)"
    )
    parser.add_argument(
        "--flops",
        action="append",
        default=[],
        metavar="MIN:MAX",
        help="range of the whole network in GFLOPs at the space's reference input; PART=MIN:MAX for a part's own",
    )
    options.latency(parser)
    parser.add_argument("--data", type=options.source, help=options.EMBEDDED)
    parser.add_argument("-o", "--out", help="run directory (default: runs/search-SPACE)")
    parser.add_argument("--resume", action="store_true", help="go on with the search in the run directory")
    parser.add_argument(
        "--recipe",
        choices=["proxy", "full"],
        help="full: the space's published recipe; proxy: small clips and few steps (default with synthetic data)",
    )
    method = parser.add_argument_group("method (PARSEC)")
    method.add_argument("--samples", type=options.number_or_auto(int), help="architectures a step, K (13), or auto")
    method.add_argument(
        "--beta", type=options.number_or_auto(float), help="weight of the FLOPs term, or auto (default)"
    )
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
    options.machine(parser)


def stem(args: argparse.Namespace) -> str:
    """What the run directory is called. Raises ConfigError and CostRangeError for what cannot be searched."""
    from autovid.search import Target, settle
    from autovid.search.latency import latency_of_parts
    from autovid.space import load_space

    loaded = _load(args) if args.experiment else None
    space = loaded.space if loaded else load_space(args.space)
    target = settle(space, Target.parse(loaded.experiment.flops if loaded else args.flops, space))
    if latency := options.latency_range(args):
        latency_of_parts(space, target, latency)
    return f"search-{space.name}"


def run(args: argparse.Namespace) -> int:
    from autovid.cli.console import announce_search, show_found
    from autovid.kernels.allocator import keep_memory
    from autovid.search import search

    keep_memory()
    if args.experiment:
        planned = _experiment(args)
        if planned is None:
            return 0
        space, videos, settings = planned
    else:
        space, videos, settings = _flags(args)
    out = args.out or options.run_directory(f"search-{space.name}", args.resume)
    announce_search(space, videos, settings, out, args.latency)
    found = search(
        space,
        videos,
        settings,
        out,
        latency=options.latency_range(args),
        precision=args.precision,
        device=args.device,
        workers=options.decoders(args),
        resume=args.resume,
        resume_command=options.resume_command(out),
    )
    show_found(found, str(args.data or "DATA"))
    return 0


def _flags(args: argparse.Namespace) -> tuple["SearchSpace", "VideoSet", "SearchSettings"]:
    """What the flags alone ask for."""
    from autovid.data import halves, open_videos
    from autovid.errors import ConfigError
    from autovid.search import Target, settings_for, settle
    from autovid.space import load_space

    if args.settings or args.dry_run:
        raise ConfigError("--set and --dry-run are for experiments: autovid search EXPERIMENT")
    space = load_space(args.space)
    settle(space, Target.parse(args.flops, space))
    videos = open_videos(args.data or "synthetic", seed=args.seed)
    proxy = args.recipe == "proxy" or (args.recipe is None and args.data in (None, "synthetic"))
    changes = {name: getattr(args, name) for name in RECIPE}
    settings = settings_for(
        space,
        proxy=proxy,
        videos=len(halves(videos.train, args.seed)[0]),
        flops=tuple(args.flops),
        in_range=args.in_range,
        latency=args.latency is not None,
        seed=args.seed,
        **changes,
    )
    return space, videos, settings


def _experiment(args: argparse.Namespace) -> tuple["SearchSpace", "VideoSet", "SearchSettings"] | None:
    """What an experiment asks for, with the flags on top; None after a dry run."""
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
    return loaded.space, videos, loaded.settings(len(halves(videos.train, seed)[0]))


def _load(args: argparse.Namespace) -> "LoadedSearch":
    """The experiment with the flags on top. Raises ConfigError."""
    from autovid.config import check_command, find_experiment
    from autovid.errors import ConfigError
    from autovid.search.experiment import load_search

    path = find_experiment(args.experiment)
    if path is None:
        raise ConfigError(f"{args.experiment} is no experiment; give a YAML file, or a space with --space")
    check_command(path, "search")
    flags = experiments.flag_settings(args, RECIPE, "recipe.")
    flags += ["recipe.in_range=true"] * args.in_range + [f"flops={json.dumps(args.flops)}"] * bool(args.flops)
    flags += [f"recipe.seed={args.seed}"] * bool(args.seed) + launch.settings(args)
    return load_search(path, [*args.settings, *flags], args.latency is not None)
