"""autovid search: a network inside ranges of cost."""

import argparse
import contextlib
import dataclasses
import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from autovid.cli import dry_run, launch, options, search_by_training, training
from autovid.cli.search_arguments import arguments, check_used
from autovid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from autovid.costs.machine import MachineProfile
    from autovid.data import FrameCache, VideoSet
    from autovid.search import Constraint, SearchSettings
    from autovid.search.plan import LoadedSearch, SearchPlan
    from autovid.space import SearchSpace

__all__ = ["arguments", "run", "run_name"]

SPACE, STRATEGY = "two_stream", "parsec"
RECIPE = (
    "epochs", "steps", "batch", "lr", "arch_lr", "archs_per_update", "split", "alpha_every", "held_out_fraction",
    "frames", "crop", "stride", "jitter", "samples", "beta", "likelihood", "cost_gradient", "open_prior",
    "sync_norm", "balance",
)  # fmt: skip


def run_name(args: argparse.Namespace) -> str:
    """Return the name of the run directory. Raises ConfigError and CostRangeError for what cannot be searched."""
    way = _find_way(args)
    return f"search-{(way.loaded.space if way.loaded is not None else _asked(args)[0]).name}"


class _Way(NamedTuple):
    """The strategy that searches, how its architectures are scored, and the experiment, where one is searched."""

    strategy: str
    score: str
    loaded: "LoadedSearch | None" = None


def _find_way(args: argparse.Namespace) -> _Way:
    """Return the way to search that the flags ask for, or the experiment. Raises ConfigError."""
    from autovid.search.strategy import score_of

    baseline = args.experiment is not None and search_by_training.is_baseline(args.experiment)
    way = _Way(args.strategy or ("random" if baseline else STRATEGY), "")
    way = way._replace(score=score_of(way.strategy, args.score))
    if args.experiment and not (baseline and way.score == "training"):
        loaded = _load(args)
        way = _Way(loaded.strategy, loaded.score, loaded)
    check_used(args, way.score)
    launch.check_address(args, trials=way.score == "training")
    return way


def run(args: argparse.Namespace) -> int:
    """Search as the strategy's score asks for."""
    began = time.monotonic()
    way = _find_way(args)
    if way.score == "training":
        search_by_training.run(args, way.strategy, way.loaded)
        return 0
    if way.score != "supernet":
        return _by_table(args, way)
    if args.threads and (args.processes or args.workers_of_run):
        raise ConfigError("--threads are those of one process; leave out --processes and --workers")
    dry_run.read_hardware(args)
    plan = _flags(args, way.strategy) if way.loaded is None else _experiment(args, way.loaded)
    if plan is None:
        return 0
    with launch.second_process(args) if _tries_two(args, plan) else contextlib.nullcontext(0) as threads:
        return _search(args, plan, threads, began)


def _tries_two(args: argparse.Namespace, plan: "_Plan") -> bool:
    """Return True if a second process is started: to measure, or because the run that goes on was planned for two.

    A second process has no work where an update learns from one architecture.
    """
    from autovid import distributed
    from autovid.search.run import planned

    if plan.budget is None or not args.resume or distributed.size() > 1:
        return plan.budget is not None and (plan.settings.archs_per_update or 1) > 1
    known = planned(args.out or options.run_directory(f"search-{plan.space.name}", True), True)
    return known is not None and known.processes == 2


def _search(args: argparse.Namespace, plan: "_Plan", threads: int, began: float) -> int:
    """Search.

    `threads`: those of one process where a second one was started, which ends where it is of no use; `began`: when the
    time of a budget began.
    """
    from autovid import distributed
    from autovid.cli.console import announce_search, show_search_result
    from autovid.data.frame_cache import choose_cache
    from autovid.search import search

    out = args.out or options.run_directory(f"search-{plan.space.name}", args.resume)
    with contextlib.ExitStack() as stack:
        cache = choose_cache(args.cache, plan.videos.train, plan.videos.root)
        stack.enter_context(cache or contextlib.nullcontext())
        if plan.budget is not None:
            plan = plan._replace(settings=_within_budget(args, plan, Path(out), cache, threads, began))
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
        if result.seconds:  # 0 where it was finished before
            result = dataclasses.replace(result, seconds=time.monotonic() - began)
        show_search_result(result, str(args.data or plan.source))
    return 0


def _within_budget(
    args: argparse.Namespace, plan: "_Plan", out: Path, cache: "FrameCache | None", threads: int, began: float
) -> "SearchSettings":
    """Plan the steps for a time, or take up the plan of the run that goes on; print the command without a clock."""
    from autovid.cli.console import copyable
    from autovid.kernels.compute import Compute
    from autovid.search.budget import within_budget
    from autovid.search.run import planned

    assert plan.budget is not None
    if (known := planned(out, args.resume)) is not None:
        return known
    compute = Compute(args.device, args.precision or "auto")
    print(f"measuring some updates, to plan for {plan.budget / 60:.3g} min", flush=True)
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
        began=began,
    )
    where = {None: "", 1: ", on one process"}.get(settings.processes, f", on {settings.processes} processes")
    copyable([f"planned for {plan.budget / 60:.3g} min{where}; without a clock:  {_repeated(settings)}"])
    return settings


def _repeated(settings: "SearchSettings") -> str:
    """Return the command that does the same steps as a plan, on any machine, in a run directory of its own."""
    words, skip = [], False
    for word in options.own_words():
        if not (skip or word.startswith(("--budget", "--out", "-o"))):
            words.append(word)
        skip = word in ("--budget", "--out", "-o")
    words += ["--recipe", "proxy"] if "--recipe" not in words else []
    words += ["--steps", ",".join(f"{part.name}={part.steps}" for part in settings.parts if part.steps)]
    words += ["--alpha-every", str(settings.alpha_every)]
    if "rounds" in settings.options:
        words += ["--set", f"strategy.rounds={settings.options['rounds']}"]
    words += ["--processes", str(settings.processes)] if (settings.processes or 1) > 1 else []
    if settings.choice is not None:
        for key, value in msgspec.structs.asdict(settings.choice).items():
            words += ["--set", f"choice.{key}={value}"]
    words += ["--threads", str(settings.threads)] if settings.threads and "--threads" not in words else []
    return shlex.join(["autovid", *words])


def _by_table(args: argparse.Namespace, way: _Way) -> int:
    """Search with scores from a table: seconds, and no data."""
    from autovid.cli.console import show_search_result
    from autovid.search.plan import values_for
    from autovid.search.strategy import TABLE, read_strategy_options
    from autovid.studies import load_benchmark, search_by_table

    table = load_benchmark(way.score.removeprefix(TABLE))
    if way.loaded is None:
        strategy_options, others = read_strategy_options(args.settings)
        if others:
            raise ConfigError(f"--set {others[0]}: a search by a table takes strategy.KEY alone")
        space, constraints = _asked(args)
        seed, rounds = args.seed or 0, args.steps
    else:
        space, constraints, strategy_options = way.loaded.space, way.loaded.constraints, way.loaded.options
        values = values_for(way.loaded.experiment.recipe, way.score, ("seed", "steps"))
        seed, rounds = values["seed"], values["steps"]
    out = args.out or options.run_directory(f"search-{space.name}", args.resume)
    result = search_by_table(
        space, constraints, table, Path(out), strategy=way.strategy, options=strategy_options, seed=seed, rounds=rounds,
        resume=args.resume, resume_command=options.resume_command(out),
    )  # fmt: skip
    print(f"table   {table.file.space}: {table.coverage()}")
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

    machine = dry_run.read_hardware(args)
    print(plan.text(timed=available and machine is None))
    if machine is not None:
        _predict(plan, machine, args.precision or "auto")
    elif available and plan.workers == 1:
        plan.memory.check(find_device(args.device))
    print("\nready; nothing was searched (--dry-run)" if available else "\nto be given: --data")


def _predict(plan: "SearchPlan", machine: "MachineProfile", precision: str) -> None:
    from autovid.studies.prediction import SearchWork

    if plan.budget is not None:
        raise ConfigError("--budget plans steps by a clock on this machine: for --hardware give --steps or --recipe")
    dry_run.predict(SearchWork(plan), machine, plan.workers, precision)


def _flags(args: argparse.Namespace, strategy: str) -> _Plan | None:
    """Return the search that the flags alone ask for; None after a dry run."""
    from autovid.data.index import check_for_search
    from autovid.search import settings_for
    from autovid.search.budget import budget_of
    from autovid.search.plan import SearchPlan
    from autovid.search.strategy import read_strategy_options

    strategy_options, others = read_strategy_options(args.settings)
    choice, others = read_strategy_options(others, "choice")
    if others:
        raise ConfigError(
            f"--set {others[0]} is for experiments, autovid search EXPERIMENT; without one --set takes strategy.KEY "
            "and choice.KEY, and the rest has options of its own"
        )
    space, constraints = _asked(args)
    seed, embedded = args.seed or 0, args.data in (None, "synthetic")
    planned = args.alpha_every is not None or choice
    budget = budget_of(args.budget, args.recipe, args.steps, args.epochs, embedded, planned)
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
        strategy=strategy,
        options=strategy_options,
        choice=choice,
        **changes,
    )
    if args.processes and args.archs_per_update is None and settings.archs_per_update is not None:
        several = max(settings.archs_per_update, args.processes)  # one for each process
        settings = msgspec.structs.replace(settings, archs_per_update=several)
    settings = msgspec.structs.replace(settings, threads=args.threads)
    if args.dry_run:
        check_for_search(videos, settings.held_out_fraction, seed)
        data, workers = videos.size, args.workers_of_run or 1
        about = f"search {space.name}"
        plan = SearchPlan(about, space, settings, constraints, str(data), data.classes, workers, budget)
        _show_plan(args, plan, available=True)
        return None
    return _Plan(space, videos, source, settings, constraints, budget)


def _experiment(args: argparse.Namespace, loaded: "LoadedSearch") -> _Plan | None:
    """Return the search that an experiment asks for, with the flags on top; None after a dry run."""
    from autovid.data.index import check_for_search
    from autovid.search.plan import SearchPlan

    seed = loaded.experiment.recipe.seed
    data_argument = args.data if args.data is not None else loaded.experiment.data
    videos, source = training.open_data(data_argument, seed) if data_argument else (None, "")
    if args.dry_run:
        experiment, known = loaded.experiment, loaded.experiment.dataset if videos is None else videos.size
        data, planned = f"{'none given yet; ' if videos is None else ''}{known}", loaded.settings(known.train)
        if videos is not None:
            check_for_search(videos, planned.held_out_fraction, planned.seed)
        plan = SearchPlan(
            experiment.about, loaded.space, planned, loaded.constraints, data, known.classes, experiment.workers
        )
        _show_plan(args, plan, available=videos is not None)
        return None
    if videos is None:
        raise DataError(f"{args.experiment} has no data yet; give --data: {options.DATA}")
    launch.note(loaded.experiment.workers)
    settings = msgspec.structs.replace(loaded.settings(len(videos.train)), threads=args.threads)
    return _Plan(loaded.space, videos, source, settings, loaded.constraints)


def _asked(args: argparse.Namespace) -> "tuple[SearchSpace, tuple[Constraint, ...]]":
    """Return the space and the constraints of the flags. They are resolved once: `run_name` may have come first."""
    from autovid.search import parse_constraints
    from autovid.space import load_space

    if "asked" not in args:
        space = load_space(args.space or SPACE)
        args.asked = space, parse_constraints(space, options.ranges(args), options.cost_files(args))
    asked: tuple[SearchSpace, tuple[Constraint, ...]] = args.asked
    return asked


def _load(args: argparse.Namespace) -> "LoadedSearch":
    """Return the experiment with the flags on top; it is read once. Raises ConfigError."""
    if "loaded" not in args:
        args.loaded = _read(args)
    loaded: LoadedSearch = args.loaded
    return loaded


def _read(args: argparse.Namespace) -> "LoadedSearch":
    from autovid.config import check_command, find_experiment
    from autovid.search.plan import load_search

    path = find_experiment(args.experiment)
    if path is None:
        raise ConfigError(f"{args.experiment} is no experiment; give a YAML file, or a space with --space")
    check_command(path, "search")
    if args.budget or args.recipe:
        flag = "budget" if args.budget else "recipe"
        raise ConfigError(f"--{flag} is for a search without an experiment, which has its own recipe: change its steps")
    flags = training.flag_settings(args, ("space", "score"), "")
    flags += [f"strategy.name={json.dumps(args.strategy)}"] * (args.strategy is not None)
    flags += training.flag_settings(args, RECIPE, "recipe.")
    flags += ["recipe.in_range=true"] * args.in_range
    flags += [f"constraints.{option}={json.dumps(texts)}" for option, texts in options.ranges(args).items()]
    flags += [f"recipe.seed={args.seed}"] * bool(args.seed) + launch.settings(args)
    return load_search(path, [*args.settings, *flags], options.cost_files(args))
