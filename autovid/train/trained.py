"""Networks with weights in run directories: of a training, or of a search's supernet."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from autovid.errors import ConfigError, RunError
from autovid.kernels.compute import Compute
from autovid.models import NETWORKS, Model, Network, NetworkSpec, build, load_model
from autovid.run import RunDirectory, advice
from autovid.space import Architecture
from autovid.space.schema import Reference
from autovid.train.inherited import calibrate, check_member, has_supernet, open_supernet_weights
from autovid.train.recipe import Recipe, make_recipe

KIND = "train"


@dataclass(frozen=True)
class Trained:
    """A network after `step` of `steps` steps, on the device of `compute`. `source` is the origin of the data.

    `recalibrated` is 0, or the number of training clips that its norms' statistics were taken from anew: then its
    weights are those of a search's supernet.
    """

    path: Path
    model: Model
    net: Network
    recipe: Recipe
    compute: Compute
    classes: tuple[str, ...]
    source: str
    step: int
    steps: int
    recalibrated: int = 0


def find_model(what: str | Path) -> Model:
    """Load a network by its name, a YAML file, or the architecture.yaml in a run directory.

    Raises ConfigError, and RunError for a directory without one.
    """
    if str(what) in NETWORKS or not Path(what).is_dir():
        return load_model(what)
    run, file = RunDirectory.open(Path(what)), Path(what) / "architecture.yaml"
    if not file.is_file():
        raise RunError(_no_architecture(run))
    return load_model(file)


def _no_architecture(run: RunDirectory) -> str:
    """Explain why a run has no architecture of its own."""
    several = sorted(file.parent.name for file in run.path.glob("*/architecture.yaml"))
    hint = "it has no architecture.yaml yet; finish it with --resume, or autovid derive it"
    if several:
        hint = f"it has several architectures; give one of its runs, such as {run.path / several[0]}"
    return f"{run.path} is a run of 'autovid {run.kind}': {hint}"


def find_architecture(path: Path) -> Architecture:
    """Load an architecture of a search space, as `find_model` does. Raises ConfigError for another network."""
    model = find_model(path)
    if not isinstance(model, Architecture):
        raise ConfigError(f"{path} is the network {model.network}; give an architecture of a search space here")
    return model


def find_weights(path: Path) -> Path:
    """Return the file of weights: `path` itself, or of a run directory the latest checkpoint of its training.

    Raises RunError where there is none yet.
    """
    if not path.is_dir():
        return path
    run = RunDirectory.open(path)
    checkpoint = run.latest()
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet; {advice(run)}")
    return path / "checkpoints" / f"step-{checkpoint.step:06d}" / "model.safetensors"


def open_trained(path: Path, device: str = "auto", data: str | None = None) -> Trained:
    """Open the latest checkpoint of a training or a search, also of one that still runs.

    A search's architecture has the weights of its supernet, and takes the statistics of its norms from training clips
    of `data`, by default those that the search has learned from. Raises RunError if there is no checkpoint, DataError
    where these clips are not there.
    """
    run = RunDirectory.open(path)
    if run.kind != KIND:
        if not (path / "architecture.yaml").is_file():
            raise RunError(_no_architecture(run))
        if has_supernet(path) and run.steps():
            return _open_searched(path, device, data)
        command = f"autovid train {shlex.quote(str(path))}"
        raise RunError(f"{path} is a run of 'autovid {run.kind}'; train its architecture first: {command}")
    checkpoint = run.latest()
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet; {advice(run)}")
    info = checkpoint.state.info
    recipe = msgspec.convert(run.config["recipe"], Recipe)
    compute = Compute(device, recipe.precision)
    compute.restore(info["compute"])
    model = load_model(path / "architecture.yaml")
    net = build(model, len(info["classes"]))
    net.load_state_dict(checkpoint.state.model)
    classes = tuple(info["classes"])
    return Trained(
        path, model, net.to(compute.device), recipe, compute, classes, info["source"], checkpoint.step, info["steps"]
    )


def _open_searched(path: Path, device: str, data: str | None) -> Trained:
    """Open the architecture of a search with its supernet's weights."""
    weights = open_supernet_weights(path)
    searched, arch = weights.searched, find_architecture(path)
    check_member(arch, searched.space, path)
    settings = searched.settings
    size = {"frames": settings.frames, "crop": settings.crop, "stride": settings.stride, "jitter": settings.jitter}
    precision = weights.config.get("precision", "auto")
    recipe = make_recipe(
        arch, proxy=settings.proxy, **size, batch=settings.batch, seed=settings.seed, precision=precision
    )
    compute = Compute(device, precision)
    compute.restore(weights.record)
    videos = weights.open_videos(data)
    net = weights.network(arch).to(compute.device)
    clips = calibrate(net, settings, videos, compute)
    return Trained(
        path, arch, net, recipe, compute, videos.classes, weights.source, searched.step, settings.steps, clips
    )


def as_trained(what: Path | Trained) -> Model:
    """Return the model of a training, at the clips and classes of that training; its file has those of the space.

    Before the first checkpoint the classes are those of the file.
    Raises RunError for a directory of another kind, ConfigError where its network cannot be read.
    """
    if isinstance(what, Trained):
        model, recipe, classes = what.model, what.recipe, len(what.classes)
    else:
        run = RunDirectory.open(what)
        if run.kind != KIND:
            raise RunError(f"{what} is a run of 'autovid {run.kind}', not a training")
        model = load_model(what / "architecture.yaml")
        recipe, checkpoint = msgspec.convert(run.config["recipe"], Recipe), run.latest()
        classes = len(checkpoint.state.info["classes"]) if checkpoint else 0
    if isinstance(model, NetworkSpec):
        return model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop)
    size = {"frames": recipe.frames, "crop": recipe.crop, "stride": recipe.stride}
    return replace(model, reference=Reference(**size, classes=classes or model.reference.classes), cost={})


def title_of(model: Model) -> str:
    """Name a network in a few words, for pictures and tables."""
    if isinstance(model, NetworkSpec):
        return " + ".join([model.network, *model.modules])
    return f"{model.space} {model.hash}"
