"""autovid search: a network inside ranges of cost."""

import argparse
import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from autovid.cli import launch, options, search_by_training, training

if TYPE_CHECKING:
    from autovid.data import FrameCache, VideoSet
    from autovid.search import Constraint, SearchSettings
    from autovid.search.experiment import LoadedSearch
    from autovid.search.plan import SearchPlan
    from autovid.space import SearchSpace

SPACE = "two_stream"
RECIPE = (
    "epochs", "steps", "batch", "lr", "arch_lr", "archs_per_update", "split", "alpha_every", "held_out_fraction",
    "frames", "crop", "stride", "jitter", "samples", "beta", "likelihood", "cost_gradient", "open_prior",
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
    _method_arguments(parser)
    _recipe_arguments(parser)
    launch.arguments(parser)
    search_by_training.arguments(parser)
    options.machine(parser)
    parser.set_defaults(seed=None, precision=None)  # an experiment has its own


def _method_arguments(parser: argparse.ArgumentParser) -> None:
    method = parser.add_argument_group("method (PARSEC)")
    method.add_argument(
        "--samples", type=options.number_or_auto(int), help="architectures a step, K, or auto (default: 13)"
    )
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


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("recipe (default: the space's)")
    length = recipe.add_mutually_exclusive_group()
    length.add_argument(
        "--budget", type=options.duration, metavar="TIME", help="such as 10m (default) or 1h (default with --data)"
    )
    length.add_argument(
        "--epochs", type=options.rate, help="of every part (default: the space's, or planned for --budget)"
    )
    length.add_argument(
        "--steps",
        type=options.steps,
        metavar="N",
        help="of every part, or PART=N,PART=N,... (default: the space's, or planned for --budget)",
    )
    recipe.add_argument("--batch", type=options.positive, help="clips a step (default: the space's)")
    recipe.add_argument("--lr", type=options.rate, help="of the weights, in every part (default: the space's)")
    recipe.add_argument("--arch-lr", type=options.rate, help="of the prior, in every part (default: the space's)")
    recipe.add_argument(
        "--archs-per-update",
        type=options.positive,
        metavar="J",
        help="architectures that an update learns from (default: the space's, and one for each of --processes; full: "
        "as many as K)",
    )
    recipe.add_argument(
        "--split",
        choices=["architectures", "batch"],
        help="what several workers divide: architectures (default, where there are enough), or each batch, which "
        "takes less memory",
    )
    recipe.add_argument(
        "--alpha-every",
        type=options.positive,
        metavar="N",
        help="updates of the weights for one of the prior (default: the space's, or planned; full: 1)",
    )
    recipe.add_argument(
        "--held-out-fraction",
        type=options.fraction,
        metavar="F",
        help="of the training videos, to judge architectures (default: the space's; full: 0.5)",
    )
    options.clips(recipe)


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
    from autovid.errors import ConfigError

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
    with launch.second_process(args) if _tries_two(args, plan) else contextlib.nullcontext(0) as threads:
        return _search(args, plan, threads)


def _tries_two(args: argparse.Namespace, plan: "_Plan") -> bool:
    """Whether a second process is to be started: to measure, or because the run that goes on was planned for two."""
    from autovid import distributed
    from autovid.search.run import planned

    if plan.budget is None or not args.resume or distributed.size() > 1:
        return plan.budget is not None
    known = planned(args.out or options.run_directory(f"search-{plan.space.name}", True))
    return known is not None and known.processes == 2


def _search(args: argparse.Namespace, plan: "_Plan", threads: int) -> int:
    """Search. `threads`: those of one process where a second one was started, which ends where it is of no use."""
    from autovid import distributed
    from autovid.cli.console import announce_search, show_search_result
    from autovid.data.frame_cache import choose_cache
    from autovid.search import search

    out = args.out or options.run_directory(f"search-{plan.space.name}", args.resume)
    with contextlib.ExitStack() as stack:
        cache = choose_cache(args.cache, plan.videos.train, plan.videos.root)
        stack.enter_context(cache or contextlib.nullcontext())
        if plan.budget is not None:
            plan = plan._replace(settings=_within_budget(args, plan, Path(out), cache, threads))
        if threads and plan.settings.processes == 1:
            if not distributed.is_rank0():
                return 0
            stack.enter_context(distributed.alone(threads))
        announce_search(plan.space, plan.videos, plan.settings, out, plan.constraints)
        result = search(
            plan.space,
            plan.videos,
            plan.settings,
            out,
            constraints=plan.constraints,
            source=plan.source,
            precision=args.precision or "auto",
            device=args.device,
            workers=options.decoders(args),
            cache=cache,
            resume=args.resume,
            resume_command=options.resume_command(out),
        )
        show_search_result(result, str(args.data or plan.source))
    return 0


def _within_budget(
    args: argparse.Namespace, plan: "_Plan", out: Path, cache: "FrameCache | None", threads: int
) -> "SearchSettings":
    """Plan the steps for a time, or take up the plan of the run that goes on; print the command without a clock."""
    from autovid.cli.console import copyable
    from autovid.kernels.compute import Compute
    from autovid.search.budget import within_budget
    from autovid.search.run import planned

    assert plan.budget is not None
    if args.resume and (known := planned(out)) is not None:
        return known
    compute = Compute(args.device, args.precision or "auto")
    settings = within_budget(
        plan.space,
        plan.videos,
        plan.settings,
        plan.budget,
        compute,
        plan.constraints,
        workers=options.decoders(args),
        cache=cache,
        threads=threads,
    )
    where = {None: "", 1: ", on one process"}.get(settings.processes, f", on {settings.processes} processes")
    copyable([f"planned for {plan.budget / 60:.3g} min{where}; without a clock:  {_repeated(settings)}"])
    return settings


def _repeated(settings: "SearchSettings") -> str:
    """Return the command that does the same steps as a plan, on any machine."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not (skip or word.startswith("--budget")):
            words.append(word)
        skip = word == "--budget"
    words += ["--recipe", "proxy"] if "--recipe" not in words else []
    words += ["--steps", ",".join(f"{part.name}={part.steps}" for part in settings.parts if part.steps)]
    words += ["--alpha-every", str(settings.alpha_every)]
    words += ["--processes", str(settings.processes)] if (settings.processes or 1) > 1 else []
    if settings.choice is not None:
        for key, value in msgspec.structs.asdict(settings.choice).items():
            words += ["--set", f"choice.{key}={value}"]
    return shlex.join(["autovid", *words])


def _by_table(args: argparse.Namespace) -> int:
    """Search with scores from a table: seconds, and no data."""
    from autovid.cli.console import show_search_result
    from autovid.search import parse_constraints
    from autovid.search.strategy import read_strategy_options
    from autovid.space import load_space
    from autovid.studies import search_by_table

    space = load_space(args.space or SPACE)
    constraints = parse_constraints(space, options.ranges(args), options.cost_files(args))
    out = args.out or options.run_directory(f"search-{space.name}", args.resume)
    result = search_by_table(
        space, constraints, Path(args.score.removeprefix("table:")), Path(out), strategy=args.strategy,
        options=read_strategy_options(args.settings)[0], seed=args.seed or 0, rounds=args.steps, resume=args.resume,
        resume_command=options.resume_command(out),
    )  # fmt: skip
    show_search_result(result, "DATA")
    return 0


class _Plan(NamedTuple):
    """A search: the space, the videos and their source, how, and inside which ranges."""

    space: "SearchSpace"
    videos: "VideoSet"
    source: str
    settings: "SearchSettings"
    constraints: "tuple[Constraint, ...]"
    budget: float | None = None  # seconds


def _show_plan(args: argparse.Namespace, plan: "SearchPlan", available: bool) -> None:
    """Print the plan of a dry run. Raises ConfigError for a step that does not fit into this machine's memory."""
    from autovid.kernels.compute import find_device

    print(plan.text())
    if available and plan.workers == 1:
        plan.memory.check(find_device(args.device))
    print("\nready; nothing was searched (--dry-run)" if available else "\nto be given: --data")


def _flags(args: argparse.Namespace) -> _Plan | None:
    """Return the search that the flags alone ask for; None after a dry run."""
    from autovid.errors import ConfigError
    from autovid.search import parse_constraints, settings_for
    from autovid.search.budget import budget_of
    from autovid.search.plan import SearchPlan
    from autovid.search.strategy import read_strategy_options
    from autovid.space import load_space

    strategy_options, others = read_strategy_options(args.settings)
    choice, others = read_strategy_options(others, "choice")
    if others:
        raise ConfigError(
            f"--set {others[0]} is for experiments, autovid search EXPERIMENT; without one --set takes strategy.KEY "
            "and choice.KEY, and the rest has options of its own"
        )
    space = load_space(args.space or SPACE)
    constraints = parse_constraints(space, options.ranges(args), options.cost_files(args))
    seed, embedded = args.seed or 0, args.data in (None, "synthetic")
    budget = budget_of(args.budget, args.recipe, args.steps, args.epochs, embedded)
    videos, source = training.open_data(args.data or "synthetic", seed)
    proxy = budget is not None or args.recipe == "proxy" or (args.recipe is None and embedded)
    changes = {name: getattr(args, name) for name in RECIPE}
    settings = settings_for(
        space,
        proxy=proxy,
        videos=len(videos.train),
        constrained=bool(constraints),
        in_range=args.in_range,
        seed=seed,
        strategy=args.strategy,
        score=args.score,
        options=strategy_options,
        choice=choice,
        **changes,
    )
    if args.processes and args.archs_per_update is None and settings.archs_per_update is not None:
        several = max(settings.archs_per_update, args.processes)  # one for each process
        settings = msgspec.structs.replace(settings, archs_per_update=several)
    if args.dry_run:
        data, workers = videos.size, args.workers_of_run or 1
        about = f"search {space.name}"
        plan = SearchPlan(about, space, settings, constraints, str(data), data.classes, workers, budget)
        _show_plan(args, plan, available=True)
        return None
    return _Plan(space, videos, source, settings, constraints, budget)


def _experiment(args: argparse.Namespace) -> _Plan | None:
    """Return the search that an experiment asks for, with the flags on top; None after a dry run."""
    from autovid.errors import DataError
    from autovid.search.plan import SearchPlan

    loaded = _load(args)
    seed = loaded.experiment.recipe.seed
    given = args.data if args.data is not None else loaded.experiment.data
    videos, source = training.open_data(given, seed) if given else (None, "")
    if args.dry_run:
        experiment, known = loaded.experiment, loaded.experiment.dataset if videos is None else videos.size
        data, planned = f"{'none given yet; ' if videos is None else ''}{known}", loaded.settings(known.train)
        plan = SearchPlan(
            experiment.about, loaded.space, planned, loaded.constraints, data, known.classes, experiment.workers
        )
        _show_plan(args, plan, available=videos is not None)
        return None
    if videos is None:
        raise DataError(f"{args.experiment} has no data yet; give --data: {options.DATA}")
    launch.note(loaded.experiment.workers)
    settings = loaded.settings(len(videos.train))
    return _Plan(loaded.space, videos, source, settings, loaded.constraints)


def _load(args: argparse.Namespace) -> "LoadedSearch":
    """Return the experiment with the flags on top. Raises ConfigError."""
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
