"""autovid search --score training: every architecture that the strategy asks for is trained from scratch."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from autovid.cli import dry_run, launch, options, training
from autovid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from autovid.data import VideoSet
    from autovid.search import Constraint
    from autovid.search.plan import LoadedSearch
    from autovid.space import Architecture, SearchSpace
    from autovid.studies import Comparison, Trainer
    from autovid.studies.by_training import Job, Runner
    from autovid.train import Evaluation, Recipe
    from autovid.train.experiment import Experiment

CHECKED = 100  # architectures whose memory is counted before the first is trained


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `--score training` takes beside the arguments of a search."""
    group = parser.add_argument_group("with --score training: every architecture is trained from scratch")
    group.add_argument(
        "-n", type=options.positive, help="how many architectures (default: 16), where the strategy lets one say"
    )
    group.add_argument(
        "--searched", type=_searched, metavar="WHAT", help="a search's or training's directory, or a YAML file"
    )
    group.add_argument("--warmup", type=float, metavar="EPOCHS", help="of linear warm-up; default 34 in 300")
    group.add_argument(
        "--augment", choices=["auto", "none"], help="AutoAugment on every frame; default auto; proxy none"
    )
    group.add_argument("--weight-decay", type=float, help="default 5e-5, none on batch norm")
    launch.trial_resources(group)


def is_baseline(name: str) -> bool:
    """Return True for an experiment of `random-baseline`."""
    from autovid.config import find_experiment, read_layers

    path = find_experiment(name)
    return path is not None and read_layers(path).plain().plain().get("command") == "random-baseline"


def run(args: argparse.Namespace, strategy: str, loaded: "LoadedSearch | None") -> None:
    """Draw, train one after the other, compare; `loaded` is an experiment of `autovid search`."""
    from autovid.search.strategy import takes
    from autovid.studies import Trainer, find_rival, search_by_training
    from autovid.studies.by_training import cost_at, macs_at
    from autovid.studies.comparison import outside_note

    launch.check_trials(args)
    job = _find_job(args, strategy, loaded)
    space, recipe = job.space, job.recipe
    if args.dry_run:
        return _show_plan(args, job)
    if not job.data:
        raise DataError(f"{args.experiment} has no data yet; give --data: {options.DATA}")
    videos, source = training.open_data(job.data, recipe.seed)
    training.note_batch(recipe, videos)
    _check_memory(args, job, videos)
    out = Path(args.out) if args.out else options.run_directory(f"{strategy}-{space.name}", args.resume)
    rival = find_rival(args.searched, videos, recipe) if args.searched else None
    for constraint in job.constraints if rival is not None else ():
        assert rival is not None
        cost = constraint.cost
        value = macs_at(space, rival.arch) if cost.name == "macs" else cost_at(rival.arch, cost)
        if constraint.whole is not None and (note := outside_note(cost, value, constraint.whole)):
            print(note)  # now, not after days
    strategy_options = job.options
    if args.address and takes(strategy, "architectures") and takes(strategy, "batch"):
        strategy_options.setdefault("batch", job.n)  # all of them side by side: they are as many as before
    command, cache = options.resume_command(out), options.trial_cache(args)
    print(options.board_line(out), flush=True)
    comparison = search_by_training(
        space,
        job.constraints,
        Trainer(videos, source, recipe, args.device, options.decoders(args), cache, command),
        out,
        strategy=strategy,
        options=strategy_options,
        seed=recipe.seed,
        rival=rival,
        resume=args.resume,
        report=lambda so_far: print(f"{so_far.summary()} · so far, with table and plot in {out}"),
        **({"runner": on_ray(args, out)} if args.address else {}),
    )
    _show(comparison, out)


def on_ray(args: argparse.Namespace, out: Path) -> "Runner":
    """All of them side by side, as trials of Ray Tune."""
    from autovid.cluster import run_trials

    def run(jobs: "Sequence[Job]", trainer: "Trainer", folder: Path) -> "Iterator[tuple[int, Evaluation | str]]":
        folder = folder.resolve()
        trials = run_trials(
            [job.name for job in jobs],
            lambda number, _: jobs[number].run(trainer, folder),
            **launch.trial_options(args),
            resume_command=options.resume_command(out),
        )
        for trial in trials:
            yield trial.number, trial.failed or trial.result

    return run


class _Job(NamedTuple):
    """Architectures to look for, and their training."""

    space: "SearchSpace"
    constraints: "Sequence[Constraint]"
    strategy: str
    options: dict[str, Any]
    recipe: "Recipe"
    data: str | None
    experiment: "Experiment"

    @property
    def n(self) -> int:
        """The number of architectures that are trained."""
        from autovid.search.strategy import strategy_settings
        from autovid.studies.by_training import planned

        return planned(self.strategy, strategy_settings(self.strategy, self.options))


def _find_job(args: argparse.Namespace, strategy: str, loaded: "LoadedSearch | None") -> _Job:
    """Return what is to be trained. Raises ConfigError."""
    from autovid.search.strategy import read_strategy_options

    if args.n is not None and "architectures" in read_strategy_options(args.settings)[0]:
        raise ConfigError("-n and --set strategy.architectures say the same; leave one of them out")
    if loaded is not None:
        return _of_search(args, loaded)
    return _experiment(args, strategy) if args.experiment else _flags(args, strategy)


def _with_number(strategy: str, options: "Mapping[str, Any]", n: int | None, said: str) -> dict[str, Any]:
    """Return a strategy's settings with the number of architectures, which `said` has given or nobody.

    Raises ConfigError for a strategy that has no such setting.
    """
    from autovid.search.strategy import takes

    if takes(strategy, "architectures"):
        return {**options, **({} if n is None else {"architectures": n})}
    if n is not None:
        raise ConfigError(
            f"{said}: the strategy {strategy} has no setting `architectures`; "
            "its other settings say how many it looks at: --set strategy.rounds=N"
        )
    return dict(options)


def _flags(args: argparse.Namespace, strategy: str) -> _Job:
    """Return the job that the flags alone ask for."""
    from autovid.search import read_constraints
    from autovid.search.constraints import whole_constraints
    from autovid.search.strategy import read_strategy_options
    from autovid.space import load_space
    from autovid.studies.by_training import draw, like, space_of
    from autovid.train import find_architecture

    ranges = options.ranges(args)
    if not (args.searched or ranges):
        raise ConfigError(
            "a range is needed, such as --flops 0.0071:0.0079; or --searched RUN, for networks of the run's own cost"
        )
    rival = find_architecture(args.searched) if args.searched else None
    space = load_space(args.space or space_of(args.searched, rival))
    constraints: Sequence[Constraint] = read_constraints(space, ranges, options.cost_files(args, args.searched))
    if rival and not constraints:
        constraints = like(space, args.searched, rival)
    draw(space, 1, 0, whole_constraints(constraints, space))
    given, others = read_strategy_options(args.settings)
    strategy_options = _with_number(strategy, given, args.n, "-n")
    training.default_data(args, *([args.searched] if args.searched else []))
    recipe = training.recipe_from(args, space, training.settings_of(others))
    experiment = training.plain_experiment(f"train architectures of {space.name}", recipe)
    return _Job(space, constraints, strategy, strategy_options, recipe, args.data, experiment)


def _searched(text: str) -> Path:
    from autovid.studies.by_training import searched_at

    return searched_at(text)


def _of_search(args: argparse.Namespace, loaded: "LoadedSearch") -> _Job:
    """Return the job that an experiment of `autovid search` asks for, which has its flags already."""
    from autovid.search.plan import values_for
    from autovid.search.strategy import TRAINING
    from autovid.train import make_recipe

    used = ("epochs", "batch", "lr", "sync_norm", "balance", "frames", "crop", "stride", "jitter", "seed")
    values = values_for(loaded.experiment.recipe, TRAINING, used)
    more = {key: getattr(args, key) for key in ("warmup", "augment", "weight_decay", "precision")}
    recipe = make_recipe(loaded.space, **values, **more)
    plain = training.plain_experiment(loaded.experiment.about, recipe)
    experiment = msgspec.structs.replace(plain, dataset=loaded.experiment.dataset)
    strategy_options = _with_number(loaded.strategy, loaded.options, args.n, "-n")
    data = args.data or loaded.experiment.data
    return _Job(loaded.space, loaded.constraints, loaded.strategy, strategy_options, recipe, data, experiment)


def _experiment(args: argparse.Namespace, strategy: str) -> _Job:
    """Return the job that an experiment of `random-baseline` asks for, with the flags on top."""
    from autovid.config import find_experiment
    from autovid.search import read_constraints
    from autovid.search.constraints import whole_constraints
    from autovid.search.strategy import read_strategy_options
    from autovid.space import SearchSpace
    from autovid.studies.by_training import draw
    from autovid.train.experiment import load_experiment

    path = find_experiment(args.experiment)
    assert path is not None  # is_baseline has seen it
    flags = training.flag_settings(args, training.RECIPE, "recipe.")
    flags += training.flag_settings(args, ("space",), "")
    flags += [f"constraints.{option}={json.dumps(texts)}" for option, texts in options.ranges(args).items()]
    given, others = read_strategy_options(args.settings)
    loaded = load_experiment(path, [*others, *flags])
    space, experiment = loaded.model, loaded.experiment
    assert isinstance(space, SearchSpace)
    constraints = read_constraints(space, experiment.constraints, options.cost_files(args))
    draw(space, 1, 0, whole_constraints(constraints, space))
    own = None if "architectures" in given else experiment.architectures  # a flag goes before the file
    n, said = (args.n, "-n") if args.n else (own, f"architectures in {path}")
    strategy_options, data = _with_number(strategy, given, n, said), args.data or experiment.data
    return _Job(space, constraints, strategy, strategy_options, loaded.recipe, data, experiment)


def _drawn(job: _Job) -> "list[Architecture]":
    """Return architectures like those that will be trained: of a random search, the very ones."""
    from autovid.search.constraints import whole_constraints
    from autovid.search.strategy import takes
    from autovid.studies.by_training import draw

    distinct = job.n if takes(job.strategy, "architectures") else 1  # others may ask for one again
    return draw(job.space, distinct, job.recipe.seed, whole_constraints(job.constraints, job.space))


def _check_memory(args: argparse.Namespace, job: _Job, videos: "VideoSet") -> None:
    """Raise ConfigError where one of the first of them, or the searched one, does not fit into the memory here."""
    from autovid.train import find_architecture

    models = {f"architecture {arch.hash}": arch for arch in _drawn(job)[:CHECKED]}
    if args.searched:
        models[str(args.searched)] = find_architecture(args.searched)
    if not args.address:  # there each is trained somewhere else
        dry_run.check_memory({name: (arch, job.recipe) for name, arch in models.items()}, videos, args.device)


def _show_plan(args: argparse.Namespace, job: _Job) -> None:
    """Print the plan of the first architecture, which is like the others', and the time of all."""
    from autovid.search.constraints import ranges_text
    from autovid.train.plan import estimate_time, make_plan

    arch = _drawn(job)[0]
    videos = training.open_data(job.data, job.recipe.seed)[0] if job.data else None
    number = f"the searched architecture and {job.n} others" if args.searched else f"{job.n} architectures"
    print(f"{number} of {ranges_text(job.constraints)}, one after the other; the plan of the first drawn one:")
    print(make_plan(arch, job.recipe, job.experiment, videos))
    if videos is not None:
        training.note_batch(job.recipe, videos)
        _check_memory(args, job, videos)
        print(estimate_time([(arch, job.recipe)], videos, times=job.n + bool(args.searched)))
    print("\nready; nothing was trained (--dry-run)" if videos else "\nto be given: --data")


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
