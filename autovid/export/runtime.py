"""Whatever can classify clips, opened for that: a training's run, an exported folder, an ONNX file."""

import re
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
    Interface,
    Kind,
    caution,
    read_interface,
    read_manifest,
)
from autovid.export.programs import METADATA, Shape, needed, program_shapes
from autovid.export.untrusted import load_program
from autovid.kernels.compute import find_device
from autovid.models import build, load_model, load_weights
from autovid.train import open_trained
from autovid.train.trained import title_of

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

Logits = Callable[[Tensor], Tensor]
"""Clips (B, 3, T, H, W), normalised, on the CPU -> logits (B, classes), fp32, on the CPU."""


@dataclass(frozen=True)
class Classifier:
    """`logits` computes what `interface` describes. `caution`: why little is to be expected of it, if so."""

    interface: Interface
    logits: Logits
    caution: str = ""


def open_classifier(what: Path, device: str = "auto") -> Classifier:
    """A training's run directory, an exported folder or an ONNX file of ours, on a device.

    An exported program is run as such. Raises ConfigError and RunError.
    """
    if (what / MANIFEST).is_file():
        manifest = read_manifest(what)
        return Classifier(manifest, open_file(what, manifest.kind, device, manifest), caution(manifest.trained))
    if what.is_dir():
        return _of_training(what, device)
    if what.suffix == ".onnx":
        session = _session(what, device)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA)
        if text is None:
            raise ConfigError(f"{what} does not say what clips it wants; give one that autovid export has written")
        interface = read_interface(text, str(what))
        return Classifier(interface, _of_session(session, interface, what))
    if (what.parent / MANIFEST).is_file():
        raise ConfigError(f"{what} is a part of an exported folder; give the folder, {what.parent}")
    raise ConfigError(f"{what} is no run directory, exported folder or ONNX file; give one of these")


def open_file(folder: Path, kind: Kind, device: str, interface: Interface) -> Logits:
    """The weights file of an exported folder, ready to run. Raises ConfigError, also for one of another interface."""
    file = folder / FILES[kind]
    if kind == "onnx":
        return _of_session(_session(file, device), interface, file)
    where = find_device(device)
    if kind == "torch":
        program = load_program(file)
        _agree(interface, file, *program_shapes(program))
        if where.type != "cpu":
            program = move_to_device_pass(program, where)
        return _of_module(program.module(), where)
    net = build(load_model(folder / ARCHITECTURE))
    load_weights(net, file)
    _agree(interface, file, [(3, net.clip.frames, net.clip.crop, net.clip.crop)], [(net.classes,)])
    return _of_module(net.eval().to(where), where)


def _agree(said: Interface, file: Path, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> None:
    """Raises ConfigError where a network, by its shapes without the batch's dimension, is not as `said`."""
    clip = (3, said.clip.frames, said.clip.crop, said.clip.crop)
    if list(inputs) != [clip] or list(outputs) != [(said.outputs,)]:
        wanted, found = _shapes([clip], [(said.outputs,)]), _shapes(inputs, outputs)
        raise ConfigError(f"{file} takes {found} classes, and is said to take {wanted}; export it again")


def _shapes(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """ "clips 3x16x64x64 to 12"."""
    clips, classes = (" and ".join("x".join(map(str, one)) for one in some) or "none" for some in (inputs, outputs))
    return f"clips {clips} to {classes}"


def _of_module(module: Callable[[Tensor], Tensor], device: torch.device) -> Logits:
    def logits(x: Tensor) -> Tensor:
        with torch.no_grad():
            return module(x.to(device)).float().cpu()

    return logits


def _of_training(path: Path, device: str) -> Classifier:
    found = open_trained(path, device)
    net, compute = found.net.eval(), found.compute
    interface = Interface(
        name=title_of(found.model),
        hash=found.model.hash,
        outputs=net.classes,
        clip=found.recipe.clip(net.clip),
        classes=found.classes,
    )

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast("forward"):
            return net(x.to(compute.device)).float().cpu()  # type: ignore[no-any-return]

    return Classifier(interface, logits, caution({"step": found.step, "steps": found.steps}))


def _session(file: Path, device: str) -> Any:
    """An ONNX file in onnxruntime. Raises ConfigError."""
    runtime = needed("onnxruntime")
    there = runtime.get_available_providers()
    found = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    kind = found[1] if found else device
    if kind == "auto":
        kind = "cuda" if PROVIDERS["cuda"] in there else "cpu"
    if PROVIDERS.get(kind) not in there:
        raise ConfigError(f"this onnxruntime has no device {device}; use --device cpu, or pip install onnxruntime-gpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    number = {"device_id": int(found[2])} if found and found[2] and kind == "cuda" else {}
    try:
        return runtime.InferenceSession(str(file), options, providers=[(PROVIDERS[kind], number)])
    except Exception as error:  # onnxruntime has an exception for every status, without a class in common
        raise ConfigError(f"{file} is no ONNX file that can be read: {str(error).splitlines()[0]}") from error


def _of_session(session: Any, interface: Interface, file: Path) -> Logits:
    inputs, outputs = ([tuple(one.shape[1:]) for one in some] for some in (session.get_inputs(), session.get_outputs()))
    _agree(interface, file, inputs, outputs)
    name = session.get_inputs()[0].name

    def logits(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return logits
