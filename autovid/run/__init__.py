"""Run directory, checkpoints, random state, signals, progress, metrics log, and the loop. Knows nothing of networks."""

from autovid.fileio import write_atomic
from autovid.run.directory import Checkpoint, RunDirectory, advice, shared_run
from autovid.run.loop import Interrupted, TaskOutcome, run_task
from autovid.run.progress import Progress
from autovid.run.task import Task, TaskState, derive_seed, seed_step, step_generator

__all__ = [
    "Checkpoint",
    "Interrupted",
    "Progress",
    "RunDirectory",
    "Task",
    "TaskOutcome",
    "TaskState",
    "advice",
    "derive_seed",
    "run_task",
    "seed_step",
    "shared_run",
    "step_generator",
    "write_atomic",
]
