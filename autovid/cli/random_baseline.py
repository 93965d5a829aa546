"""autovid random-baseline: architectures drawn at random from a FLOPs range, trained as the searched one is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autovid.cli import launch, options, training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autovid.costs import LatencyRange
    from autovid.solver import CostRange
    from autovid.space import Architecture, SearchSpace
    from autovid.studies import Comparison, Trainer
    from autovid.studies.random_baseline import Job, Runner
    from autovid.train import Evaluation, Recipe
    from autovid.train.experiment import Experiment


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    training.experiment_argument(parser)
    training.experiment_arguments(parser, " (with EXPERIMENT)")
    parser.add_argument("--space", help="a name from `autovid list`, or a YAML file (default: that of --searched)")
    parser.add_argument("--flops", metavar="MIN:MAX", help="range in GFLOPs (default: --searched's, 2 %% either way)")
    options.latency(parser)
    parser.add_argument("-n", type=options.positive, help="how many architectures (default: 16)")
    parser.add_argument(
        "--searched", type=_searched, metavar="WHAT", help="a search's or training's directory, or a YAML file"
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (default: runs/random-SPACE)")
    training.arguments(parser)
    launch.trial_arguments(parser)
    parser.set_defaults(data=None, seed=None, precision=None)  # an experiment has its own


def run(args: argparse.Namespace) -> None:
    """Draws, trains one after the other, compares."""
    from autovid.errors import DataError
    from autovid.kernels.allocator import keep_memory
    from autovid.solver import MILLISECONDS
    from autovid.studies import Trainer, find_rival, random_baseline
    from autovid.studies.comparison import outside_note
    from autovid.studies.random_baseline import macs_at, predicted

    keep_memory()
    launch.check_trials(args)
    job = _experiment(args) if args.experiment else _flags(args)
    space, flops, n, recipe = job.space, job.flops, job.n, job.recipe
    if args.dry_run:
        return _show_plan(job)
    if not job.data:
        raise DataError(f"{args.experiment} has no data yet; give --data: {options.DATA}")
    videos, source = training.open_data(job.data, recipe.seed)
    out = args.out or options.run_directory(f"random-{space.name}", args.resume)
    rival = find_rival(args.searched, videos, recipe) if args.searched else None
    if rival is not None and flops is not None and (note := outside_note(macs_at(space, rival.arch), flops)):
        print(note)  # now, not after days
    time = predicted(rival.arch, job.latency) if rival else None
    if job.latency and time is not None and (note := outside_note(time, job.latency.range, MILLISECONDS)):
        print(note)
    comparison = random_baseline(
        space,
        flops,
        n,
        Trainer(videos, source, recipe, args.device, options.decoders(args), options.resume_command(out)),
        out,
        latency=job.latency,
        seed=recipe.seed,
        rival=rival,
        resume=args.resume,
        report=lambda found: print(f"{found.summary()} · so far, with table and plot in {out}"),
        **({"runner": on_ray(args, out)} if args.address else {}),
    )
    _show(comparison, out)


def on_ray(args: argparse.Namespace, out: Path) -> "Runner":
    """All of them side by side, as trials of Ray Tune."""
    from autovid.cluster import run_trials

    def run(jobs: "Sequence[Job]", trainer: "Trainer", folder: Path) -> "Iterator[tuple[int, Evaluation | str]]":
        folder = folder.resolve()
        found = run_trials(
            [job.name for job in jobs],
            lambda number, _: jobs[number].run(trainer, folder),
            **launch.trial_options(args),
            resume_command=options.resume_command(out),
        )
        for trial in found:
            yield trial.number, trial.failed or trial.result

    return run


class _Job(NamedTuple):
    """What is to be drawn, and how it is trained."""

    space: "SearchSpace"
    flops: "CostRange | None"
    latency: "LatencyRange | None"
    n: int
    recipe: "Recipe"
    data: str | None
    experiment: "Experiment | None" = None


def _flags(args: argparse.Namespace) -> _Job:
    """What the flags alone ask for."""
    from autovid.errors import ConfigError
    from autovid.search.derive import LATENCY
    from autovid.solver import parse_gflops
    from autovid.solver.range_check import check_range
    from autovid.space import load_space
    from autovid.studies import range_around
    from autovid.studies.random_baseline import draw
    from autovid.train import find_architecture

    if args.dry_run:
        raise ConfigError("--dry-run is for experiments: autovid random-baseline EXPERIMENT")
    kept = args.searched / LATENCY if args.searched else None
    latency = options.latency_range(args, kept)
    if not (args.flops or args.searched or latency):
        raise ConfigError("--flops MIN:MAX (or --latency) is needed, or --searched to compare with its like")
    rival = find_architecture(args.searched) if args.searched else None
    space = load_space(args.space or _space_of(args.searched, rival))
    flops = parse_gflops(args.flops) if args.flops else None
    if flops is None and latency is None and rival:
        flops, latency = range_around(space, rival), _its_latency(args.searched)
    if flops is not None:
        check_range(space.cost_table(), *flops)
    draw(space, 1, 0, flops, latency)
    recipe = training.recipe_from(args, space, training.settings_of(args.settings))
    return _Job(space, flops, latency, args.n or 16, recipe, args.data or training.SYNTHETIC)


def _searched(text: str) -> Path:
    """A run's architecture.yaml stands for the run, which knows more of it."""
    path = Path(text)
    whole = path.name == "architecture.yaml" and (path.parent / "config.yaml").is_file()
    return path.parent if whole else path


def _its_latency(path: Path) -> "LatencyRange | None":
    """The range of latency that a search was given, if this is one's run."""
    from autovid.run import RunDirectory
    from autovid.search.derive import latency_of

    return latency_of(RunDirectory.open(path)) if path.is_dir() else None


def _experiment(args: argparse.Namespace) -> _Job:
    """What an experiment asks for, with the flags on top."""
    from autovid.config import check_command, find_experiment
    from autovid.errors import ConfigError
    from autovid.solver import parse_gflops
    from autovid.solver.range_check import check_range
    from autovid.space import SearchSpace
    from autovid.train.experiment import load_experiment

    path = find_experiment(args.experiment)
    if path is None:
        raise ConfigError(f"{args.experiment} is no experiment; give a YAML file, or a space with --space")
    check_command(path, "random-baseline")
    flags = training.flag_settings(args, training.RECIPE, "recipe.")
    flags += training.flag_settings(args, ("space", "flops"), "")
    loaded = load_experiment(path, [*args.settings, *flags])
    space, experiment = loaded.model, loaded.experiment
    assert isinstance(space, SearchSpace)
    flops = parse_gflops(experiment.flops or "")
    check_range(space.cost_table(), *flops)
    n, data = args.n or experiment.architectures, args.data or experiment.data
    return _Job(space, flops, options.latency_range(args), n, loaded.recipe, data, experiment)


def _show_plan(job: _Job) -> None:
    """The plan of the first architecture, which is like the others'."""
    from autovid.studies.random_baseline import draw
    from autovid.train.plan import make_plan

    assert job.experiment is not None
    arch = draw(job.space, job.n, job.recipe.seed, job.flops, job.latency)[0]
    videos = training.open_data(job.data, job.recipe.seed)[0] if job.data else None
    within = " and ".join(str(ends) for ends in (job.flops, job.latency) if ends)
    print(f"{job.n} architectures of {within}, one after the other; the plan of the first:")
    print(make_plan(arch, job.recipe, job.experiment, videos))
    print("\nready; nothing was trained (--dry-run)" if videos else "\nto be given: --data")


def _space_of(path: Path | None, rival: "Architecture | None") -> str | Path:
    """Where the searched architecture comes from: the space that its search has kept, or the shipped one it names."""
    if path is None or rival is None:
        return "two_stream"
    return path / "space.yaml" if (path / "space.yaml").is_file() else rival.space


def _show(comparison: "Comparison", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for number, name in enumerate(comparison.columns()):
        table.add_column(name, justify="right" if number > 1 else "left", no_wrap=number == 0)
    for row in comparison.rows():
        table.add_row(*row, style="bold" if row[1] == "searched" else "")
    Console().print(table)
    said = [comparison.summary(), comparison.note(), comparison.about(), comparison.conventions()]
    print("\n".join(line for line in said if line))
    print(f"\nwhere   {out}: table.md, table.csv, plot.png, and a run directory for each architecture")
