"""Whatever can classify clips, opened for that: a training's run, an exported folder, an ONNX file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from autovid.errors import ConfigError
from autovid.export.manifest import ARCHITECTURE, FILES, MANIFEST, Interface, Kind, read_interface, read_manifest
from autovid.export.programs import METADATA, needed
from autovid.export.subject import title
from autovid.export.untrusted import load_program
from autovid.models import build, load_model, load_weights
from autovid.nn.compute import find_device
from autovid.train import open_trained

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

Logits = Callable[[Tensor], Tensor]
"""Clips (B, 3, T, H, W), normalised, on the CPU -> logits (B, classes), fp32, on the CPU."""


@dataclass(frozen=True)
class Classifier:
    """`logits` computes what `interface` describes."""

    interface: Interface
    logits: Logits


def open_classifier(what: Path, device: str = "auto") -> Classifier:
    """A training's run directory, an exported folder or an ONNX file of ours, on a device.

    An exported program is run as such. Raises ConfigError and RunError.
    """
    if (what / MANIFEST).is_file():
        manifest = read_manifest(what)
        return Classifier(manifest, open_file(what, manifest.kind, device))
    if what.is_dir():
        return _of_training(what, device)
    if what.suffix == ".onnx":
        session = _session(what, device)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA)
        if text is None:
            raise ConfigError(f"{what} does not say what clips it wants; give one that autovid export has written")
        return Classifier(read_interface(text, str(what)), _of_session(session))
    raise ConfigError(f"{what} is no run directory, exported folder or ONNX file; give one of these")


def open_file(folder: Path, kind: Kind, device: str) -> Logits:
    """The weights file of an exported folder, ready to run. Raises ConfigError."""
    file = folder / FILES[kind]
    if kind == "onnx":
        return _of_session(_session(file, device))
    where = find_device(device)
    if kind == "torch":
        program = load_program(file)
        if where.type != "cpu":
            program = move_to_device_pass(program, where)
        return _of_module(program.module(), where)
    net = build(load_model(folder / ARCHITECTURE))
    load_weights(net, file)
    return _of_module(net.eval().to(where), where)


def _of_module(module: Callable[[Tensor], Tensor], device: torch.device) -> Logits:
    def logits(x: Tensor) -> Tensor:
        with torch.no_grad():
            return module(x.to(device)).float().cpu()

    return logits


def _of_training(path: Path, device: str) -> Classifier:
    found = open_trained(path, device)
    net, compute = found.net.eval(), found.compute
    interface = Interface(
        name=title(found.model),
        hash=found.model.hash,
        outputs=net.classes,
        clip=found.recipe.clip(net.clip),
        classes=found.classes,
    )

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast("forward"):
            return net(x.to(compute.device)).float().cpu()  # type: ignore[no-any-return]

    return Classifier(interface, logits)


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


def _of_session(session: Any) -> Logits:
    name = session.get_inputs()[0].name

    def logits(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return logits
