"""Classifiers of videos, opened from a run, an exported folder or an ONNX file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from autovid.errors import ConfigError
from autovid.export.manifest import (
    ARCHITECTURE,
    FILES,
    MANIFEST,
    METADATA,
    Interface,
    Kind,
    caution,
    read_interface,
    read_manifest,
)
from autovid.export.untrusted import load_program
from autovid.kernels.compute import Compute, find_device
from autovid.models import Network, build, load_model, load_weights
from autovid.models.folding import folded
from autovid.runtimes.programs import Shape, program_shapes
from autovid.runtimes.sessions import Session, open_onnxruntime, open_openvino
from autovid.train import Trained, make_recipe, open_trained
from autovid.train.trained import Which, title_of

Logits = Callable[[Tensor], Tensor]
"""Clips (B, 3, T, H, W), normalised, on the CPU -> logits (B, classes), fp32, on the CPU."""


@dataclass(frozen=True)
class VideoClassifier:
    """A function `logits` of clips that `interface` describes; `caution` says why its predictions may be poor.

    `weights` says which checkpoint of a training it is.
    """

    interface: Interface
    logits: Logits
    caution: str = ""
    weights: str = ""


def open_classifier(what: Path, device: str = "auto", which: Which = "best") -> VideoClassifier:
    """Open the run directory of a training or a search, an exported folder or an ONNX file of ours, on a device.

    Of a training it is the best checkpoint, or the last. An exported program is run as such.
    Raises ConfigError and RunError.
    """
    if (what / MANIFEST).is_file():
        manifest = read_manifest(what)
        return VideoClassifier(manifest, open_file(what, manifest.kind, device, manifest), caution(manifest.trained))
    if what.is_dir():
        return _of_training(what, device, which)
    if what.suffix == ".onnx":
        session = open_onnxruntime(str(what), device, str(what))
        text = session.metadata.get(METADATA)
        if text is None:
            raise ConfigError(f"{what} does not say what clips it wants; give one that autovid export has written")
        interface = read_interface(text, str(what))
        return VideoClassifier(interface, _of_session(session, interface, what))
    if (what.parent / MANIFEST).is_file():
        raise ConfigError(f"{what} is a part of an exported folder; give the folder, {what.parent}")
    raise ConfigError(f"{what} is no run directory, exported folder or ONNX file; give one of these")


def open_file(folder: Path, kind: Kind, device: str, interface: Interface) -> Logits:
    """Open the weights file of an exported folder. Raises ConfigError, also for one of another interface."""
    file = folder / FILES[kind]
    if kind == "onnx":
        return _of_session(open_onnxruntime(str(file), device, str(file)), interface, file)
    if kind == "openvino":
        content = (file.read_bytes(), file.with_suffix(".bin").read_bytes())
        return _of_session(open_openvino(*content, device, str(file)), interface, file)
    where = find_device(device)
    if kind == "torch":
        program = load_program(file)
        _check_shapes(interface, file, *program_shapes(program))
        if where.type != "cpu":
            program = move_to_device_pass(program, where)
        return _of_module(program.module(), where)
    net = build(load_model(folder / ARCHITECTURE))
    load_weights(net, file)
    _check_shapes(interface, file, [(3, net.clip.frames, net.clip.crop, net.clip.crop)], [(net.classes,)])
    return _of_module(folded(net.to(where)), where)


def _check_shapes(interface: Interface, file: Path, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> None:
    """Raise ConfigError where the shapes of a network, without the batch's dimension, are not those of `interface`."""
    clip = (3, interface.clip.frames, interface.clip.crop, interface.clip.crop)
    if list(inputs) != [clip] or list(outputs) != [(interface.outputs,)]:
        expected, actual = _shapes([clip], [(interface.outputs,)]), _shapes(inputs, outputs)
        raise ConfigError(f"{file} takes {actual} classes, and is said to take {expected}; export it again")


def _shapes(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """Write "clips 3x16x64x64 to 12"."""
    clips, classes = (" and ".join("x".join(map(str, one)) for one in some) or "none" for some in (inputs, outputs))
    return f"clips {clips} to {classes}"


def _of_module(module: Callable[[Tensor], Tensor], device: torch.device) -> Logits:
    def logits(x: Tensor) -> Tensor:
        with torch.no_grad():
            return module(x.to(device)).float().cpu()

    return logits


def is_exported(what: Path) -> bool:
    """Tell whether a folder is one that export has written."""
    return (what / MANIFEST).is_file()


class Program(Network):
    """An exported program in the place of a network, for evaluation alone: it has no layers and no weights."""

    def __init__(self, logits: Logits, interface: Interface) -> None:
        super().__init__()
        self.logits, self.clip, self.classes = logits, interface.clip, interface.outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x.cpu())


def open_exported(folder: Path, device: str = "auto", *, programs: bool = False) -> Trained:
    """Open the network of an exported folder as that of a training.

    With `programs` it may be a program, too: then `Trained.program` is what is to be run, and the network has random
    weights. Without, ConfigError is raised for one.
    """
    manifest = read_manifest(folder)
    if manifest.kind != "safetensors" and not programs:
        raise ConfigError(
            f"{folder} holds a program ({manifest.kind}), which has no layers to look into; give the run, or what "
            "autovid export --format safetensors has written"
        )
    model, clip = load_model(folder / ARCHITECTURE), manifest.clip
    net = build(model, manifest.outputs)
    program = None
    if manifest.kind == "safetensors":
        load_weights(net, folder / FILES[manifest.kind])
    else:
        program = Program(open_file(folder, manifest.kind, device, manifest), manifest)
    net.multi_label = manifest.multi_label
    sampling: Any = clip.sampling
    trained = manifest.trained
    epochs = trained.get("recipe", {}).get("epochs")
    size: dict[str, Any] = {"frames": clip.frames, "crop": clip.crop, "stride": clip.stride}
    recipe = make_recipe(model, **size, sampling=sampling, epochs=epochs)
    compute = Compute(device, "fp32")
    step, steps, validations = (int(trained.get(key, 0)) for key in ("step", "steps", "validations"))
    finished = bool(trained.get("finished", step == steps))
    classes = manifest.classes or tuple(map(str, range(manifest.outputs)))
    return Trained(
        folder, model, net.to(compute.device), recipe, compute, classes, "", step, steps, finished, validations,
        program=program,
    )  # fmt: skip


def _of_training(path: Path, device: str, which: Which) -> VideoClassifier:
    opened = open_trained(path, device, which=which)
    net, compute = folded(opened.net), opened.compute
    interface = Interface(
        name=title_of(opened.model),
        hash=opened.model.hash,
        outputs=net.classes,
        clip=opened.recipe.clip(net.clip),
        classes=opened.classes,
        multi_label=opened.multi_label,
    )

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast("forward"):
            return net(x.to(compute.device)).float().cpu()  # type: ignore[no-any-return]

    state = {name: getattr(opened, name) for name in ("step", "steps", "finished", "recalibrated")}
    return VideoClassifier(interface, logits, caution(state), opened.weights)


def _of_session(session: Session, interface: Interface, file: Path) -> Logits:
    _check_shapes(interface, file, session.inputs, session.outputs)

    def logits(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run([x.contiguous().numpy()]))

    return logits
