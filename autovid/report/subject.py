"""The network that a picture is about: of a training, or of a file beside its weights."""

from dataclasses import dataclass
from pathlib import Path

import torch

from autovid.clip import Clip
from autovid.errors import ConfigError, did_you_mean
from autovid.kernels.compute import Compute
from autovid.models import Model, Network, NetworkSpec, build, load_model, load_weights
from autovid.train import open_trained


@dataclass(frozen=True)
class Subject:
    """A network with its weights on `device`, the clips it was trained for, and its classes' names, if known."""

    name: str
    net: Network
    clip: Clip
    classes: tuple[str, ...]
    device: torch.device

    def class_name(self, number: int) -> str:
        return self.classes[number] if self.classes else f"class {number}"

    def class_number(self, text: str) -> int:
        """The class of a name, or of a number from 0. Raises ConfigError."""
        if text in self.classes:
            return self.classes.index(text)
        if text.isdecimal() and int(text) < self.net.classes:
            return int(text)
        names = f"{did_you_mean(text, self.classes)}its names are " if self.classes else "its names are not known; "
        few = ", ".join(self.classes[:4]) + (", …" if len(self.classes) > 4 else "")
        numbers = f"numbers 0 to {self.net.classes - 1}"
        raise ConfigError(
            f"{self.name} has no class {text!r}; {names}{few + ', or ' if self.classes else 'give '}{numbers}"
        )


def open_run(path: Path, device: str = "auto") -> Subject:
    """The network of a training, at its latest checkpoint. Raises RunError."""
    trained = open_trained(path, device)
    clip = trained.recipe.clip(trained.net.clip)
    name = f"{path.resolve().name} ({_title(trained.model)})"
    return Subject(name, trained.net, clip, trained.classes, trained.compute.device)


def open_files(model: str, weights: Path, device: str = "auto") -> Subject:
    """A network by its name, or of its YAML file or an architecture's, with weights from a safetensors file.

    Raises ConfigError where a file cannot be read, or the weights are another network's.
    """
    what = load_model(model)
    net = build(what)
    load_weights(net, weights)
    compute = Compute(device, "fp32")
    return Subject(f"{weights.stem} ({_title(what)})", net.to(compute.device), net.clip, (), compute.device)


def _title(model: Model) -> str:
    if isinstance(model, NetworkSpec):
        return " + ".join([model.network, *model.modules])
    return f"{model.space} {model.hash}"
