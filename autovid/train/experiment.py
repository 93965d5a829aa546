"""An experiment: a network, a recipe and a protocol in one YAML file, as `autovid train EXPERIMENT` runs it.

    about: RMS on Mini-Kinetics          # a line for people
    base: slowonly_mini_kinetics.yaml    # the file with all other keys
    network: slowonly_r50_8x8            # by name, or `architecture:` and a YAML file
    options: {dropout: 0.5}
    with: {rms: {}}
    dataset: {name: mini-kinetics, classes: 200, train: 80000, val: 5000}     # the data set that it is for
    data: null                           # its folder; usually given by --data
    workers: 4                           # processes, one a GPU, that share a batch
    start: {about: weights of ImageNet}  # the first weights; the file usually by --weights
    recipe: {epochs: 250, batch: 64, lr: 0.2}
    views: [10-lcr]                      # of the evaluation at the end

A file for `autovid random-baseline` has `command: random-baseline`, `space`, `constraints` and `architectures` in place
of a network. Those for `autovid search` are read by `autovid.search.plan`.
"""

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from autovid.clip import Clip
from autovid.config import Layers, read_layers
from autovid.data.index import DataSet
from autovid.data.transforms import jitter_range
from autovid.data.views import views_name
from autovid.errors import ConfigError
from autovid.models import Model, NetworkSpec, build_network, load_model
from autovid.models.factory import Option
from autovid.space import SearchSpace, load_space
from autovid.train.recipe import Recipe, RecipeError, check_clip, check_recipe, view_crop


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first weights: their description, and the file or run directory that has them."""

    about: str = ""
    file: str | None = None
    new_head: bool = False  # the classifier starts anew


class RecipeValues(Recipe, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A recipe as a file has it. 0 stands for the network's own frames, stride and crop, and for their usual jitter."""

    warmup: float = 0.0
    frames: int = 0
    stride: int = 0
    crop: int = 0
    jitter: tuple[int, int] = (0, 0)

    def complete(self, frames: int, stride: int, crop: int) -> Recipe:
        """Fill in open values at the network's own clip."""
        values = {field.name: getattr(self, field.name) for field in msgspec.structs.fields(Recipe)}
        own = {"frames": frames, "stride": stride, "crop": self.crop or crop}
        values |= {name: values[name] or value for name, value in own.items()}
        values["jitter"] = self.jitter if self.jitter[0] else jitter_range(values["crop"])
        return Recipe(**values)


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"modules": "with"}):
    """The content of an experiment's file."""

    command: Literal["train", "random-baseline"] = "train"
    about: str
    network: str | None = None
    architecture: str | None = None
    options: dict[str, Option] = {}
    modules: dict[str, dict[str, Option]] = {}
    space: str | None = None
    constraints: dict[str, str | tuple[str, ...]] = {}
    architectures: int | None = None  # to be trained; None: the strategy's own number
    dataset: DataSet
    data: str | None = None
    workers: int = 1
    start: Start | None = None
    recipe: RecipeValues
    views: tuple[str, ...] = ("center",)


class LoadedExperiment(NamedTuple):
    """An experiment ready to run: the file, its content, and the network (or space) and recipe that follow."""

    path: Path
    experiment: Experiment
    model: Model | SearchSpace
    recipe: Recipe


def load_experiment(path: Path, settings: Sequence[str] = ()) -> LoadedExperiment:
    """Read an experiment, with key=value `settings` on top. Raises ConfigError with file, line and key."""
    layers = read_layers(path, settings, full_key)
    experiment = layers.as_type(Experiment)
    with layers.at("views"):
        experiment = msgspec.structs.replace(experiment, views=tuple(map(views_name, experiment.views)))
    with layers.at(next((name for name in ("space", "architecture") if getattr(experiment, name)), "network")):
        model = _model(path, experiment)
    own = _own_clip(model, layers) if isinstance(model, NetworkSpec) else model.reference
    recipe = experiment.recipe.complete(own.frames, own.stride, own.crop)
    try:
        check_recipe(recipe)
    except RecipeError as error:
        raise layers.error(str(error), "recipe", error.key) from None
    if (recipe.frames, recipe.crop) != (own.frames, own.crop):
        with layers.at("recipe", "frames"):
            check_clip(model, recipe.frames, recipe.crop)
    with layers.at("views"):
        for views in experiment.views:
            view_crop(recipe.crop, views)
    if experiment.workers < 1:
        raise layers.error(f"{experiment.workers} workers: give 1 or more", "workers")
    if recipe.batch % (experiment.workers * recipe.accumulate):
        parts = f"{experiment.workers} workers" + (f" in {recipe.accumulate} parts" * (recipe.accumulate > 1))
        raise layers.error(f"a batch of {recipe.batch} clips does not divide among {parts}", "recipe", "batch")
    return LoadedExperiment(path, experiment, model, recipe)


def full_key(key: str) -> str:
    """Complete `lr` to `recipe.lr`, and so on; keys of the experiment itself stay."""
    own = {field.encode_name for field in msgspec.structs.fields(Experiment)}
    recipe = {field.name for field in msgspec.structs.fields(Recipe)}
    first = key.split(".")[0]
    in_recipe = first in recipe or difflib.get_close_matches(first, recipe, n=1)  # the recipe names the nearest key
    return f"recipe.{key}" if in_recipe and first not in own else key


def _own_clip(spec: NetworkSpec, layers: Layers) -> Clip:
    """Return the clip of the network itself. Raises ConfigError at the key that is wrong."""
    with contextlib.suppress(ConfigError):
        return build_network(spec, "meta").clip
    with layers.at("network"):
        build_network(msgspec.structs.replace(spec, options={}, modules={}), "meta")
    with layers.at("options"):
        build_network(msgspec.structs.replace(spec, modules={}), "meta")
    with layers.at("with"):
        return build_network(spec, "meta").clip


def _model(path: Path, experiment: Experiment) -> Model | SearchSpace:
    keys = [name for name in ("network", "architecture", "space") if getattr(experiment, name)]
    allowed = ["space"] if experiment.command == "random-baseline" else ["network", "architecture"]
    if len(keys) != 1 or keys[0] not in allowed:
        raise ConfigError(f"give {' or '.join(allowed)}, and nothing else in its place")
    if experiment.space:
        return load_space(experiment.space)
    if experiment.architecture:
        return load_model(path.parent / experiment.architecture)
    spec = NetworkSpec(network=str(experiment.network), options=experiment.options, modules=experiment.modules)
    return spec.changed(classes=experiment.dataset.classes)
