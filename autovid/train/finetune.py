"""The start of a fine-tuning from weights of another run: the size of a clip, the classifier, parts of layers.

Networks of one macro nest in each other, as those that were found in the space `x3d` and X3D itself. Each layer then
takes leading channels and the middle of a kernel, as from a supernet, and a larger one has zeros around them.
"""

from pathlib import Path
from typing import NamedTuple

from autovid.data import VideoSet
from autovid.errors import ConfigError
from autovid.models import Model, NetworkSpec, build, build_network
from autovid.models.builder import classes_in, load_weights, nesting
from autovid.run import RunDirectory
from autovid.search import read_search
from autovid.train.inherited import clip_of, has_supernet
from autovid.train.recipe import Recipe
from autovid.train.trained import KIND, find_weights, recorded_recipe


class Fit(NamedTuple):
    """The way to load weights: with a new classifier, as parts of a larger network's; `notes` say why."""

    new_head: bool
    sliced: bool
    notes: tuple[str, ...]


def clip_size(start: Path) -> dict[str, int]:
    """Return frames, crop and stride of what the weights of a run have learned from; nothing for a file."""
    if not start.is_dir():
        return {}
    run = RunDirectory.open(start)
    if run.kind == KIND:
        learned: Recipe = recorded_recipe(run.config)
        return {"frames": learned.frames, "crop": learned.crop, "stride": learned.stride}
    if has_supernet(start):
        clip = clip_of(read_search(start).settings)
        return {"frames": clip.frames, "crop": clip.crop, "stride": clip.stride}
    return {}


def fit(model: Model, recipe: Recipe, start: Path, videos: VideoSet, new_head: bool) -> Fit:
    """Find out how the weights of a file or of a training's run fit a network. Raises ConfigError, RunError."""
    file, notes = find_weights(start), []
    if not new_head and (reason := _other_classes(start, file, videos)):
        notes.append(f"the classifier starts anew: {reason}")
        new_head = True
    if isinstance(model, NetworkSpec):
        spec = model.changed(classes=len(videos.classes), frames=recipe.frames, crop=recipe.crop)
        load_weights(build_network(spec), file, new_head=new_head)
        return Fit(new_head, False, tuple(notes))
    net = build(model, len(videos.classes))
    try:
        load_weights(net, file, new_head=new_head)
    except ConfigError:
        note = nesting(net, file)
        return Fit(True, True, (note, "the classifier starts anew: the features are other ones"))
    return Fit(new_head, False, tuple(notes))


def _other_classes(start: Path, file: Path, videos: VideoSet) -> str:
    """Say how the classes that weights were learned for differ from those of the videos; empty where they do not."""
    run = RunDirectory.open(start) if start.is_dir() else None
    last = run.latest() if run is not None else None
    if last is not None:
        learned = tuple(last.state.info["classes"])
        differ, number = learned != videos.classes, len(learned)
    else:
        number = classes_in(file) or 0
        differ = number != len(videos.classes)
    return f"the weights are for other classes ({number} there, {len(videos.classes)} here)" if differ else ""
