"""The run of a training as the teacher of another one: what it must have in common with that."""

from pathlib import Path

import msgspec

from autovid.clip import Clip
from autovid.data import VideoSet
from autovid.errors import ConfigError, DataError, RunError
from autovid.train.distillation import Teacher
from autovid.train.inherited import check_classes
from autovid.train.recipe import Recipe
from autovid.train.trained import Trained, open_trained

SIZE = ("frames", "crop", "stride")


def check_teacher(trained: Trained, videos: VideoSet, clip: Clip) -> None:
    """Raise ConfigError where a teacher cannot look at the `clip` that its pupil sees, DataError for other classes."""
    if trained.recalibrated:
        raise RunError(f"{trained.path} is a search: its supernet is no teacher; give a training")
    check_classes(videos, trained.classes, trained.path)
    if trained.multi_label != videos.multi_label:
        raise DataError(f"{trained.path} and {videos.name} differ in whether a video may have several classes")
    theirs = trained.recipe.clip(trained.net.clip)
    if theirs != clip:
        odd = [name for name in SIZE if getattr(theirs, name) != getattr(clip, name)]
        if odd:
            flags = " ".join(f"--{name} {getattr(theirs, name)}" for name in SIZE)
            raise ConfigError(f"--teacher {trained.path} has learned from clips of another size; give {flags}")
        other = next(n for n, value in msgspec.structs.asdict(theirs).items() if getattr(clip, n) != value)
        raise ConfigError(
            f"--teacher {trained.path} sees its clips otherwise: their {other} is {getattr(theirs, other)}, and "
            f"{getattr(clip, other)} here; give a teacher that sees the same"
        )


def open_teacher(path: Path, videos: VideoSet, recipe: Recipe, clip: Clip, device: str) -> Teacher:
    """Open the best checkpoint of a training as the teacher of another one on clips of `recipe` and a network's `clip`.

    Raises ConfigError, DataError and RunError where it cannot be.
    """
    trained = open_trained(path, device)
    check_teacher(trained, videos, recipe.clip(clip))
    return Teacher(trained.net, recipe.distillation)
