"""What is exported: a network with its weights, in evaluation and on the CPU, and everything that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from autovid.clip import Clip
from autovid.costs import convention, count
from autovid.data.views import BY_NUMBER
from autovid.errors import ConfigError
from autovid.export.manifest import Cost, Interface
from autovid.models import Model, Network, NetworkSpec, build, load_weights
from autovid.run import RunDirectory
from autovid.run.config_file import recorded_versions
from autovid.space import Architecture
from autovid.space.schema import Reference
from autovid.train import find_model, open_trained
from autovid.train.evaluate import read_evaluation
from autovid.train.trained import KIND, find_weights, title_of


@dataclass(frozen=True)
class Subject:
    """`model` builds `net`; `trained` says where the weights come from, and is empty where nothing was trained."""

    stem: str
    model: Model
    net: Network
    interface: Interface
    cost: Cost
    found: Mapping[str, Any]
    trained: Mapping[str, Any]


def find_subject(what: str | Path, weights: Path | None = None) -> Subject:
    """A training's run directory; or a network's name, a YAML file of one or of an architecture, a search's run.

    These have weights in a safetensors file or a training's run, `weights`, or else random ones.
    Raises ConfigError and RunError.
    """
    path = Path(what)
    if path.is_dir() and RunDirectory.open(path).kind == KIND:
        if weights is not None:
            raise ConfigError(f"{path} has weights of its own; leave --weights out")
        return _of_training(path)
    model = find_model(what)
    stem = path.resolve().name if path.is_dir() else path.stem
    if weights is not None and weights.is_dir() and isinstance(model, Architecture):
        if (theirs := find_model(weights).hash) != model.hash:
            raise ConfigError(f"--weights {weights} are of architecture {theirs}, and {what} is {model.hash}")
        return replace(_of_training(weights), stem=stem)
    torch.manual_seed(0)
    net = build(model)
    trained: dict[str, Any] = {}
    if weights is not None:
        load_weights(net, find_weights(weights))
        trained["weights"] = weights.resolve().name
    if path.is_dir() and isinstance(model, Architecture):
        model = replace(model, found={**model.found, **recorded_versions(RunDirectory.open(path).config)})
    return _subject(stem, model, net, net.clip, (), trained)


def _of_training(path: Path) -> Subject:
    found = open_trained(path, "cpu")
    config = RunDirectory.open(path).config
    trained: dict[str, Any] = {
        "on": config["data"]["name"],
        "step": found.step,
        "steps": found.steps,
        "recipe": config["recipe"],
        **recorded_versions(config),
    }
    files = sorted(path.glob("evaluation-*.json"))
    views = dict.fromkeys([*BY_NUMBER.values(), *(file.stem.removeprefix("evaluation-") for file in files)])
    read = {name: read_evaluation(path, name) for name in views}
    accuracy = {name: one for name, one in read.items() if one and (one.split, one.step) == ("val", found.step)}
    trained["accuracy"] = {name: _accuracy(msgspec.to_builtins(one)) for name, one in accuracy.items()}
    clip = found.recipe.clip(found.net.clip)
    return _subject(path.resolve().name, found.model, found.net, clip, found.classes, trained)


def _accuracy(evaluation: dict[str, Any]) -> dict[str, Any]:
    return {key: evaluation[key] for key in ("top1", "top5", "decoded", "data", "split", "crop")}


def _subject(
    stem: str, model: Model, net: Network, clip: Clip, classes: tuple[str, ...], trained: dict[str, Any]
) -> Subject:
    net = net.float().eval().requires_grad_(False)
    figures = count(net, clip)
    reference = Reference.of(clip, net.classes)
    cost = Cost(params=figures.params, macs=figures.macs, gflops=figures.macs / 1e9, convention=convention(reference))
    found: dict[str, Any] = {}
    if isinstance(model, NetworkSpec):
        kept: Model = model.changed(classes=net.classes, frames=clip.frames, crop=clip.crop)
    else:
        found = {"space": model.space, **model.found}
        costs = {"macs": cost.macs, "gflops": round(cost.gflops, 6), "params": cost.params}
        kept = Architecture(model.space, model.network, reference, model.choices, costs, model.found)
    interface = Interface(name=title_of(model), hash=model.hash, outputs=net.classes, clip=clip, classes=classes)
    return Subject(stem, kept, net, interface, cost, found, trained)
