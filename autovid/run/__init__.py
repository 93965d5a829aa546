"""Run directory, checkpoints, random state, signals, progress, metrics log, and the loop. Knows nothing of networks."""

from autovid.fileio import write_atomic
from autovid.run.directory import Checkpoint, RunDirectory
from autovid.run.loop import Outcome, run_task
from autovid.run.progress import Progress
from autovid.run.seeds import derive_seed, seed_step, step_generator
from autovid.run.shared import shared_run
from autovid.run.signals import Interrupted
from autovid.run.task import Task, TaskState

__all__ = [
    "Checkpoint",
    "Interrupted",
    "Outcome",
    "Progress",
    "RunDirectory",
    "Task",
    "TaskState",
    "derive_seed",
    "run_task",
    "seed_step",
    "shared_run",
    "step_generator",
    "write_atomic",
]
