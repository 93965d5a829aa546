"""Plan, memory and time of a training, before it begins: measured here, or predicted for the machine of a profile."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovid.cli.training import TrainingJob
    from autovid.costs.machine import MachineProfile
    from autovid.data import VideoSet
    from autovid.models import Model
    from autovid.studies.prediction import Workload
    from autovid.train import Recipe


def hardware_argument(parser: argparse.ArgumentParser) -> None:
    """Add --hardware."""
    parser.add_argument(
        "--hardware",
        type=Path,
        metavar="FILE",
        help="with --dry-run: predict the time on --workers such machines, from a file of autovid profile",
    )


def read_hardware(args: argparse.Namespace) -> "MachineProfile | None":
    """Return the machine that --hardware names. Raises ConfigError, also for one without --dry-run."""
    from autovid.costs.machine import read_machine_profile

    if args.hardware is None:
        return None
    if not args.dry_run:
        raise ConfigError("--hardware predicts, and only --dry-run does so: give --dry-run, too")
    return read_machine_profile(args.hardware)


def predict(work: "Workload", machine: "MachineProfile", workers: int, precision: str) -> None:
    """Print what is predicted on a machine. Raises ConfigError where it cannot be, as in another precision.

    fp16 and bf16 are taken to be alike.
    """
    from autovid.studies.prediction import describe

    if precision != "auto" and (precision == "fp32") != (machine.precision == "fp32"):
        raise ConfigError(
            f"--hardware was measured in {machine.precision}, and this trains in {precision}: measure with autovid "
            f"profile --precision {precision}, or give --precision auto"
        )
    print("\npredicted, not measured", *describe(work, machine, workers), sep="\n")


def show_plan(
    job: "TrainingJob", videos: "VideoSet | None", device: str, machine: "MachineProfile | None" = None, done: int = 0
) -> None:
    """Print the plan, and arguments that are still missing. Raises ConfigError, DataError.

    With a `machine` the time of the whole training is predicted on it, and nothing is measured here. `done` steps are
    behind a training that goes on.
    """
    from autovid.kernels.compute import find_device
    from autovid.train.plan import estimate_time, make_plan, step_memory

    print(make_plan(job.model, job.recipe, job.experiment, videos))
    if videos is not None and done:
        steps = job.recipe.steps(len(videos.train))
        print(f"left     {steps - done:,} of {steps:,} steps")
    if machine is not None:
        _predict_training(job, videos, machine)
    elif videos is not None:
        print(estimate_time([(job.model, job.recipe)], videos, job.experiment.workers, done))
    if videos is not None and job.experiment.workers == 1 and machine is None:
        half = job.recipe.precision in ("fp16", "bf16")
        step_memory(job.model, job.recipe, len(videos.classes), 1, half).check(find_device(device))
    missing = [] if videos else ["--data"]
    if job.experiment.start is not None and job.experiment.start.file is None:
        missing.append("--weights")
    elif job.weights is not None and not job.weights.is_file():
        raise ConfigError(f"--weights {job.weights}: no such file")
    print(f"\nto be given: {', '.join(missing)}" if missing else "\nready; nothing was trained (--dry-run)")


def _predict_training(job: "TrainingJob", videos: "VideoSet | None", machine: "MachineProfile") -> None:
    from autovid.studies.prediction import TrainingWork

    known = job.experiment.dataset
    classes, train, val = known.classes, known.train, known.val
    if videos is not None:
        classes, train, val = len(videos.classes), len(videos.train), len(videos.val)
    work = TrainingWork(job.model, job.recipe, classes, train, val)
    predict(work, machine, job.experiment.workers, job.recipe.precision)


def check_memory(trainings: "Mapping[str, tuple[Model, Recipe]]", videos: "VideoSet", device: str) -> None:
    """Raise ConfigError, with its name, where the largest of some trainings does not fit: before the first begins."""
    from autovid.kernels.compute import Compute
    from autovid.train.plan import step_memory

    steps, classes = {}, len(videos.classes)
    for name, (model, recipe) in trainings.items():
        compute = Compute(device, recipe.precision)
        half = compute.precision.train in ("bf16", "fp16")
        steps[name] = step_memory(model, recipe, classes, 1, half)
    largest = max(steps, key=lambda name: steps[name].total)
    try:
        steps[largest].check(compute.device)
    except ConfigError as error:
        raise ConfigError(f"{largest}: {error}") from None
