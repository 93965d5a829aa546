"""Ray: one run on many workers (Ray Train), many trainings side by side (Ray Tune). The only room that imports ray."""

from autovid.cluster.trials import Halving, Resources, Trial, run_trials
from autovid.cluster.workers import Workers, run_workers

__all__ = ["Halving", "Resources", "Trial", "Workers", "run_trials", "run_workers"]
