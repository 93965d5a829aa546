"""autovid sweep: an experiment with every combination of some values, as trials of Ray Tune, and their table."""

import argparse
import contextlib
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import dry_run, launch, options, training
from autovid.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autovid.data import VideoSet
    from autovid.studies.sweep import Runner, SweepResult, SweepTraining


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what", metavar="WHAT", help="as for `autovid train`: an experiment, a network, an architecture"
    )
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        required=True,
        metavar="KEY=VALUES",
        help="a key as --set has it, and its values: lr=0.1,0.2 or seed=0..3; each --over multiplies the trainings",
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (default: runs/sweep-NAME)")
    training.experiment_arguments(parser)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="first weights of each, as for `autovid train`")
    parser.add_argument("--new-head", action="store_true", help="with --weights: the classifier starts anew")
    launch.trial_arguments(parser, always=True)
    group = parser.add_argument_group("halving (ASHA): the worst trainings end early")
    group.add_argument(
        "--asha",
        type=options.positive,
        metavar="EPOCHS",
        help="after so many epochs, and 4, 16, ... times as many, only the best quarter goes on: by the accuracy on "
        "val, which is then measured after every epoch",
    )
    training.arguments(parser, decoders="0, each trial decodes its own")
    options.network(parser)
    parser.set_defaults(seed=None, precision=None)  # an experiment has its own


def run(args: argparse.Namespace) -> None:
    """Train every combination, and print the table."""
    from autovid.studies.sweep import combinations, sweep

    jobs = _jobs(args, combinations(args.over))
    first = next(iter(jobs.values()))
    if args.dry_run:
        print(f"{len(jobs)} trainings: {'; '.join(' '.join(settings) for settings in jobs)}; the plan of the first:")
        return dry_run.show_plan(first, training.find_data(args, first)[0], args.device)
    trainings = _trainings(args, jobs)
    out = args.out or options.run_directory(f"sweep-{first.name}", args.resume)
    print(f"{len(trainings)} trainings of {first.name} on Ray, which starts now; all of them are in {out}", flush=True)
    runner, command = _on_ray(args, out, first.recipe.epochs), options.resume_command(out)
    results = sweep(trainings, out, runner, resume=args.resume, resume_command=command)
    _show(results, out)
    if failed := [one for one in results if one.failed]:
        raise RunError(
            f"{len(failed)} of {len(results)} trainings failed, {' '.join(failed[0].settings)}: {failed[0].failed}"
        )


def _jobs(args: argparse.Namespace, settings: "list[tuple[str, ...]]") -> "dict[tuple[str, ...], training.TrainingJob]":
    """Return the training of each combination, all checked before the first begins. Raises ConfigError."""
    common = [*args.settings]
    jobs = {}
    for number, pairs in enumerate(settings):
        args.settings = [*common, *pairs]
        shown = tuple(map(options.without_secrets, pairs))  # in tables and the names of folders
        if shown in jobs:
            raise ConfigError(f"--over {' '.join(shown)}: given twice, with other secrets; give it once")
        with contextlib.redirect_stdout(io.StringIO()) if number else contextlib.nullcontext():
            jobs[shown] = training.find_job(args)
    if args.asha:
        jobs = {pairs: _validated(job) for pairs, job in jobs.items()}
    return jobs


def _validated(job: training.TrainingJob) -> training.TrainingJob:
    """Validate after every epoch, where the recipe leaves that open: halving goes by it. Raises ConfigError."""
    from msgspec.structs import replace

    if job.recipe.validate_every == 0:
        raise ConfigError("--asha goes by the accuracy on val: leave --validate-every 0 out")
    return job._replace(recipe=replace(job.recipe, validate_every=job.recipe.validate_every or 1.0))


def _trainings(args: argparse.Namespace, jobs: "dict[tuple[str, ...], training.TrainingJob]") -> "list[SweepTraining]":
    from autovid.studies.sweep import SweepTraining

    opened: dict[tuple[str, int], tuple[VideoSet | None, str]] = {}
    trainings = []
    for settings, job in jobs.items():
        key = (str(args.data or job.experiment.data), job.recipe.seed)
        if key not in opened:
            opened[key] = training.find_data(args, job)
        videos, source = opened[key]
        if videos is None:
            raise DataError(f"{args.what} has no data yet; give --data: {options.DATA}")
        weights = job.weights and job.weights.resolve()
        trainings.append(
            SweepTraining(
                settings,
                job.model,
                job.recipe,
                videos,
                source,
                args.device,
                args.decoders or 0,
                weights,
                job.new_head,
                job.experiment.views,
                "off" if args.cache == "auto" else args.cache,  # trials side by side
            )
        )
    return trainings


def _on_ray(args: argparse.Namespace, out: Path, epochs: float) -> "Runner":
    from autovid.cluster import Halving, Trial, run_trials
    from autovid.studies.sweep import SweepResult

    def result(settings: tuple[str, ...], trial: Trial) -> SweepResult:
        evaluation, retries = trial.result, trial.retries
        if evaluation is None or isinstance(evaluation, str):
            failed = evaluation or trial.failed or ("" if trial.stopped_at else "ended without a message")
            return SweepResult(settings, retries=retries, stopped_at=trial.stopped_at, failed=failed)
        return SweepResult(
            settings, evaluation.top1, evaluation.top5, evaluation.params, evaluation.macs_per_view, retries
        )

    def run(trainings: "Sequence[SweepTraining]", folder: Path) -> "Iterator[tuple[int, SweepResult]]":
        trials = run_trials(
            [training.name for training in trainings],
            lambda number, report: trainings[number].run(folder, report),
            **launch.trial_options(args),
            halving=Halving(args.asha, math.ceil(epochs)) if args.asha else None,
            resume_command=options.resume_command(out),
        )
        for trial in trials:
            yield trial.number, result(trainings[trial.number].settings, trial)

    return run


def _show(results: "list[SweepResult]", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from autovid.studies.sweep import seeds, table

    head, *rows = table(results)
    shown = Table(*head)
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)
    for line in seeds(results):
        print(line)
    print(f"\nwhere   {out}: table.md, table.csv, trials.json, and a run directory for each training")
