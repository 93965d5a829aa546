"""Small trainings for the tests of this folder."""

from pathlib import Path
from typing import Any

from autovid.data import VideoSet
from autovid.kernels.compute import Compute
from autovid.models import Model
from autovid.space import load_space
from autovid.train import Evaluation, Recipe, make_recipe, train_model

SPACE = load_space("tiny")
ARCH = SPACE.sample(1, seed=3)[0]


def recipe(**changes: Any) -> Recipe:
    """Six steps of eight small clips."""
    small = {"epochs": 2, "batch": 8, "frames": 8, "crop": 24, "stride": 1, "lr": 0.05, "precision": "fp32"}
    return make_recipe(SPACE, name="proxy", **{**small, **changes})


def train(out: Path, videos: VideoSet, model: Model = ARCH, **options: Any) -> Evaluation:
    chosen = options.pop("recipe", None) or recipe()
    compute = Compute("cpu", chosen.precision)
    return train_model(model, videos, chosen, out, source=str(videos.root), compute=compute, **options)
