"""An exported folder: written beside its place, run there and held against the network, and only then moved in."""

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

from autovid import __version__
from autovid.errors import ConfigError, RunError
from autovid.export.card import model_card
from autovid.export.manifest import ARCHITECTURE, CARD, FILES, FORMAT, MANIFEST, Check, Kind, Manifest
from autovid.export.programs import needed, noise, save_onnx, save_torch, trace
from autovid.export.runtime import Logits, open_file
from autovid.export.subject import Subject
from autovid.fileio import digest, explained, sync_folder, write_synced
from autovid.models import Network

BATCHES = (1, 3)  # that every export is run with
TOLERANCE = 1e-4  # of logits; times the largest of them where that is above 1, as it may be in an untrained network
PACKAGES = {"safetensors": ("safetensors",), "torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def write_export(
    subject: Subject, kind: Kind, out: Path, notice: Callable[[str], None] = lambda line: None
) -> Manifest:
    """Writes the folder `out`, or nothing; `notice` is told what comes next before whatever may take long.

    Raises ConfigError where the network cannot be exported so, RunError.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already; choose another -o")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with explained(f"cannot write {out}"):
        try:
            temporary.mkdir(parents=True)
            manifest = _fill(temporary, subject, kind, notice)
            sync_folder(temporary)
            os.replace(temporary, out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _fill(folder: Path, subject: Subject, kind: Kind, notice: Callable[[str], None]) -> Manifest:
    write_synced(folder / ARCHITECTURE, subject.model.to_yaml().encode())
    _write_weights(folder / FILES[kind], subject, kind, notice)
    notice(f"running {FILES[kind]}, to compare it with the network")
    check = compare(subject.net, open_file(folder, kind, "cpu", subject.interface), subject, kind)
    manifest = Manifest(
        **{name: getattr(subject.interface, name) for name in subject.interface.__struct_fields__},
        format=FORMAT,
        kind=kind,
        file=FILES[kind],
        sha256=digest(folder / FILES[kind]),
        architecture_sha256=digest(folder / ARCHITECTURE),
        cost=subject.cost,
        found=dict(subject.found),
        trained=dict(subject.trained),
        versions=_versions(kind),
        check=check,
    )
    write_synced(folder / MANIFEST, manifest.to_json().encode())
    write_synced(folder / CARD, model_card(manifest).encode())
    return manifest


def _write_weights(file: Path, subject: Subject, kind: Kind, notice: Callable[[str], None]) -> None:
    if kind == "safetensors":
        state = subject.net.state_dict()
        # A copy of each: safetensors refuses channels_last_3d strides.
        tensors = {n: t.clone(memory_format=torch.contiguous_format) for n, t in state.items()}
        return write_synced(file, safetensors.torch.save(tensors, {"network": subject.model.to_yaml()}))
    notice("tracing the network with torch.export")
    program = trace(subject.net, subject.interface.clip, subject.interface.name)
    if kind == "torch":
        return save_torch(program, file)
    notice("translating it to ONNX")
    return save_onnx(program, file, subject.interface)


def compare(net: Network, logits: Logits, subject: Subject, kind: Kind) -> Check:
    """Runs both on the same clips, laid out in both ways. Raises ConfigError where they differ."""
    name, difference, largest = subject.interface.name, 0.0, 0.0
    for batch in BATCHES:
        x = noise(subject.interface.clip, batch)
        with torch.no_grad():
            want = net(x)
        got = logits(x.contiguous() if batch == 1 else x)
        if got.shape != want.shape or not want.isfinite().all():
            raise ConfigError(f"{name} cannot be exported: {'not finite' if got.shape == want.shape else got.shape}")
        difference = max(difference, float((got - want).abs().max()))
        largest = max(largest, float(want.abs().max()))
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ConfigError(
            f"{name} cannot be exported as {kind}: logits differ by {difference:.2g} from the network's "
            f"(largest: {largest:.3g})"
        )
    return Check(batches=BATCHES, difference=difference, largest_logit=largest)


def _versions(kind: Kind) -> dict[str, str]:
    found = {"autovid": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    return found | {package: str(needed(package).__version__) for package in PACKAGES[kind]}
