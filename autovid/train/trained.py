"""A network as a training has left it."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from autovid.errors import RunError
from autovid.models import Network, build
from autovid.nn.compute import Compute
from autovid.run import RunDirectory
from autovid.space import Architecture, load_architecture
from autovid.train.recipe import Recipe

KIND = "train"


@dataclass(frozen=True)
class Trained:
    """The weights after `step` of `steps` steps, on the device of `compute`. `source` is where the data came from."""

    path: Path
    arch: Architecture
    net: Network
    recipe: Recipe
    compute: Compute
    classes: tuple[str, ...]
    source: str
    step: int
    steps: int


def find_architecture(path: Path) -> Architecture:
    """The architecture in a file, or the architecture.yaml in a run directory. Raises RunError where there is none."""
    if path.is_dir():
        run, path = RunDirectory.open(path), path / "architecture.yaml"
        if not path.is_file():
            raise RunError(f"{run.path} has no architecture.yaml yet; finish it with --resume, or autovid derive it")
    return load_architecture(path)


def open_trained(path: Path, device: str = "auto") -> Trained:
    """The latest checkpoint of a training, also of one that still runs. Raises RunError if there is none."""
    run = RunDirectory.open(path)
    if run.kind != KIND:
        raise RunError(f"{path} is a run of 'autovid {run.kind}'; train its architecture first: autovid train {path}")
    checkpoint = run.latest()
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet; go on with its training: autovid train … --resume")
    info = checkpoint.state.info
    recipe = msgspec.convert(run.config["recipe"], Recipe)
    compute = Compute(device, recipe.precision)
    compute.restore(info["compute"])
    arch = load_architecture(path / "architecture.yaml")
    net = build(arch, len(info["classes"]))
    net.load_state_dict(checkpoint.state.model)
    classes = tuple(info["classes"])
    return Trained(
        path, arch, net.to(compute.device), recipe, compute, classes, info["source"], checkpoint.step, info["steps"]
    )
