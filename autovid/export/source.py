"""The source of an export: a network with its weights, in evaluation and on the CPU, and all that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autovid.clip import Clip
from autovid.costs import convention
from autovid.costs.count import count
from autovid.data.views import BY_NUMBER
from autovid.errors import ConfigError
from autovid.export.manifest import ClipCost, Interface
from autovid.models import Model, Network, NetworkSpec, build, load_weights
from autovid.run import RunDirectory
from autovid.run.directory import recorded_versions
from autovid.space import Architecture
from autovid.space.schema import Reference
from autovid.train import find_model, open_trained
from autovid.train.evaluate import read_evaluation
from autovid.train.inherited import has_supernet
from autovid.train.trained import KIND, Which, find_weights, title_of

FIGURES = ("top1", "top5", "decoded", "data", "split", "crop")  # of an evaluation, kept with the weights


@dataclass(frozen=True)
class ExportSource:
    """A network to export, which `model` builds; `trained` is the origin of its weights, empty for random ones."""

    stem: str
    model: Model
    net: Network
    interface: Interface
    cost: ClipCost
    provenance: Mapping[str, Any]
    trained: Mapping[str, Any]


def find_source(what: str | Path, weights: Path | None = None, which: Which = "best") -> ExportSource:
    """Open a training's run directory; or a network's name, a YAML file of one or of an architecture, a search's run.

    These have weights in a safetensors file or a training's run, `weights`; a search has else those of its supernet,
    and others have random ones. Of a training's checkpoints it is the best, or the last.
    Raises ConfigError, DataError and RunError.
    """
    path = Path(what)
    if path.is_dir() and weights is None and _has_weights(path):
        return _of_run(path, which)
    if path.is_dir() and weights is not None and RunDirectory.open(path).kind == KIND:
        raise ConfigError(f"{path} has weights of its own; leave --weights out")
    model = find_model(what)
    stem = path.resolve().name if path.is_dir() else path.stem
    if weights is not None and weights.is_dir() and isinstance(model, Architecture):
        if (trained_hash := find_model(weights).hash) != model.hash:
            raise ConfigError(f"--weights {weights} are of architecture {trained_hash}, and {what} is {model.hash}")
        return replace(_of_run(weights, which), stem=stem)
    torch.manual_seed(0)
    net = build(model)
    trained: dict[str, Any] = {}
    if weights is not None:
        load_weights(net, find_weights(weights))
        trained["weights"] = weights.resolve().name
    if path.is_dir() and isinstance(model, Architecture):
        model = replace(model, provenance={**model.provenance, **recorded_versions(RunDirectory.open(path).config)})
    return _source(stem, model, net, net.clip, (), trained)


def _has_weights(path: Path) -> bool:
    run = RunDirectory.open(path)
    return run.kind == KIND or (has_supernet(path) and bool(run.steps()))


def _of_run(path: Path, which: Which) -> ExportSource:
    opened = open_trained(path, "cpu", which=which)
    config = RunDirectory.open(path).config
    trained: dict[str, Any] = {
        "on": config["data"]["name"] if "recipe" in config else config["data"],
        "step": opened.step,
        "steps": opened.steps,
        "finished": opened.finished,
        **({"checkpoint": opened.weights} if opened.weights else {}),
        **({"validations": opened.validations} if opened.validations else {}),
        **(
            {"recipe": {**config["recipe"], "epochs": opened.recipe.epochs}}
            if "recipe" in config
            else {"recalibrated": opened.recalibrated}
        ),
        **recorded_versions(config),
    }
    files = sorted(path.glob("evaluation-*.json"))
    views = dict.fromkeys([*BY_NUMBER.values(), *(file.stem.removeprefix("evaluation-") for file in files)])
    read = {name: read_evaluation(path, name) for name in views}
    mine = ("val", opened.step, opened.model.hash)
    accuracy = {name: one for name, one in read.items() if one and (one.split, one.step, one.architecture) == mine}
    trained["accuracy"] = {name: {key: getattr(one, key) for key in FIGURES} for name, one in accuracy.items()}
    clip = opened.recipe.clip(opened.net.clip)
    name = path.resolve().name
    return _source(name, opened.model, opened.net, clip, opened.classes, trained, opened.multi_label)


def _source(
    stem: str,
    model: Model,
    net: Network,
    clip: Clip,
    classes: tuple[str, ...],
    trained: dict[str, Any],
    multi_label: bool = False,
) -> ExportSource:
    net = net.float().eval().requires_grad_(False)
    total = count(net, clip)
    reference = Reference.of(clip, net.classes)
    cost = ClipCost(params=total.params, macs=total.macs, gflops=total.macs / 1e9, convention=convention(reference))
    provenance: dict[str, Any] = {}
    if isinstance(model, NetworkSpec):
        kept: Model = model.changed(classes=net.classes, frames=clip.frames, crop=clip.crop)
    else:
        provenance = {"space": model.space, **model.provenance}
        costs = {"macs": cost.macs, "gflops": round(cost.gflops, 6), "params": cost.params}
        kept = Architecture(model.space, model.network, reference, model.choices, costs, model.provenance)
    interface = Interface(
        name=title_of(model),
        hash=model.hash,
        outputs=net.classes,
        clip=clip,
        classes=classes,
        multi_label=multi_label,
    )
    return ExportSource(stem, kept, net, interface, cost, provenance, trained)
