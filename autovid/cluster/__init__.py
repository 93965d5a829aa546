"""Ray: one run on many workers (Ray Train), many trainings side by side (Ray Tune). No other folder imports ray."""

from autovid.cluster.trials import Halving, Resources, Trial, run_trials
from autovid.cluster.workers import WorkerGroup, run_workers

__all__ = ["Halving", "Resources", "Trial", "WorkerGroup", "run_trials", "run_workers"]
