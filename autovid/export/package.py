"""An exported folder: written beside its place, run and compared with the network there, and only then moved."""

import math
import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import safetensors.torch
import torch
from torch import Tensor

from autovid import __version__
from autovid.clip import Clip
from autovid.data import VideoSet
from autovid.errors import ConfigError, RunError, printable
from autovid.export.classifier import Logits, Program, open_file
from autovid.export.manifest import (
    ARCHITECTURE,
    CARD,
    FILES,
    FORMAT,
    MANIFEST,
    METADATA,
    WEIGHTS,
    Check,
    ExportManifest,
    Interface,
    Kind,
    caution,
)
from autovid.export.quantized import compare_scores, quantize
from autovid.export.source import ExportSource
from autovid.fileio import digest, explained, sync_folder, write_synced
from autovid.models import Network
from autovid.models.folding import folded
from autovid.runtimes.programs import needed, save_onnx, save_openvino, save_torch, to_onnx, trace
from autovid.train.inherited import check_classes

BATCHES = (1, 3)  # that every export is run with
TOLERANCE = 1e-4  # of logits; times the largest of them where that is above 1, as it may be in an untrained network
PACKAGES = {"safetensors": ("safetensors",), "torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime")}
PACKAGES["openvino"] = ("onnx", "onnxscript", "openvino")


def write_export(
    source: ExportSource,
    kind: Kind,
    out: Path,
    notice: Callable[[str], None] = lambda line: None,
    *,
    int8: VideoSet | None = None,
) -> ExportManifest:
    """Write the folder `out`, or nothing; `notice` is told what comes next before whatever may take long.

    With `int8`, videos of the network's classes, convolutions are in int8: `onnx` and `openvino` alone. Raises
    ConfigError where the network cannot be exported so, DataError, RunError.
    """
    if int8 is not None:
        if kind not in ("onnx", "openvino"):
            raise ConfigError(f"there is no int8 for {kind}; give --format onnx or openvino")
        check_classes(int8, source.interface.classes, Path(source.stem))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already; choose another -o")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with explained(f"cannot write {out}"):
        try:
            temporary.mkdir(parents=True)
            manifest = _fill(temporary, source, kind, notice, int8)
            sync_folder(temporary)
            os.replace(temporary, out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _fill(
    folder: Path, source: ExportSource, kind: Kind, notice: Callable[[str], None], int8: VideoSet | None
) -> ExportManifest:
    write_synced(folder / ARCHITECTURE, source.model.to_yaml().encode())
    clips = _write_weights(folder / FILES[kind], source, kind, notice, int8)
    notice(f"running {FILES[kind]}, to compare it with the network")
    logits, quantized = open_file(folder, kind, "cpu", source.interface), None
    check = compare(source.net, logits, source, kind, TOLERANCE if int8 is None else math.inf)
    if int8 is not None:
        notice("measuring what int8 loses")
        program = Program(logits, source.interface)
        quantized = compare_scores(folded(source.net), program, source.interface.clip, int8, clips)
    manifest = ExportManifest(
        **{name: getattr(source.interface, name) for name in source.interface.__struct_fields__},
        format=FORMAT,
        kind=kind,
        file=FILES[kind],
        sha256=digest(folder / FILES[kind]),
        weights_sha256=digest(folder / WEIGHTS[kind]) if kind in WEIGHTS else "",
        architecture_sha256=digest(folder / ARCHITECTURE),
        cost=source.cost,
        provenance=dict(source.provenance),
        trained=dict(source.trained),
        versions=_versions(kind),
        check=check,
        quantized=quantized,
    )
    write_synced(folder / MANIFEST, manifest.to_json().encode())
    write_synced(folder / CARD, model_card(manifest).encode())
    return manifest


def _write_weights(
    file: Path, source: ExportSource, kind: Kind, notice: Callable[[str], None], int8: VideoSet | None
) -> int:
    """Write what `kind` needs, and return how many clips have set the ranges of int8; 0 without."""
    if kind == "safetensors":
        state = source.net.state_dict()
        # A copy of each: safetensors refuses channels_last_3d strides.
        tensors = {n: t.clone(memory_format=torch.contiguous_format) for n, t in state.items()}
        write_synced(file, safetensors.torch.save(tensors, {"network": source.model.to_yaml()}))
        return 0
    notice("tracing the network with torch.export")
    net, clip = folded(source.net, source.interface.clip), noise(source.interface.clip, 2)
    program = trace(net, [clip], source.interface.name, translate=kind != "torch")
    if kind == "torch":
        save_torch(program, file)
        return 0
    notice("translating it to ONNX")
    model = to_onnx(program, source.interface.name, {METADATA: _interface_json(source.interface)})
    clips = 0
    if int8 is not None:
        notice("running clips of training, for the ranges of int8")
        model, clips = quantize(model, source.interface.clip, int8)
    save_onnx(model, file) if kind == "onnx" else save_openvino(model, file)
    return clips


def _interface_json(interface: Interface) -> str:
    """Encode what clips and classes a program has; a part of what model.json says."""
    own = msgspec.structs.asdict(interface)
    return msgspec.json.encode({key: own[key] for key in Interface.__struct_fields__}).decode()


def noise(clip: Clip, batch: int) -> Tensor:
    """Make clips (batch, 3, T, H, W) of normal noise in channels_last_3d, always the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, clip.frames, clip.crop, clip.crop, generator=generator)
    return x.contiguous(memory_format=torch.channels_last_3d)


def compare(net: Network, logits: Logits, source: ExportSource, kind: Kind, tolerance: float = TOLERANCE) -> Check:
    """Run both on the same clips, in both memory layouts. Raises ConfigError where they differ."""
    name, difference, largest = source.interface.name, 0.0, 0.0
    for batch in BATCHES:
        x = noise(source.interface.clip, batch)
        with torch.no_grad():
            expected = net(x)
        actual = logits(x.contiguous() if batch == 1 else x)
        if actual.shape != expected.shape or not expected.isfinite().all():
            reason = "not finite" if actual.shape == expected.shape else actual.shape
            raise ConfigError(f"{name} cannot be exported: {reason}")
        difference = max(difference, float((actual - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    if not difference <= tolerance * max(1.0, largest):
        raise ConfigError(
            f"{name} cannot be exported as {kind}: logits differ by {difference:.2g} from the network's "
            f"(largest: {largest:.3g})"
        )
    return Check(batches=BATCHES, difference=difference, largest_logit=largest)


def _versions(kind: Kind) -> dict[str, str]:
    versions = {"autovid": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    return versions | {package: str(needed(package).__version__) for package in PACKAGES[kind]}


def model_card(manifest: ExportManifest) -> str:
    """Render templates/card.md: use without autovid, cost, origin and classes."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = jinja2.Environment(loader=jinja2.PackageLoader("autovid.export"), **options)  # type: ignore[arg-type]
    environment.filters["plain"] = _plain
    training = {key: value for key, value in manifest.trained.items() if key not in ("recipe", "accuracy")}
    return environment.get_template("card.md").render(
        m=manifest,
        frames=_frames(manifest.clip),
        architecture=ARCHITECTURE,
        weights=WEIGHTS.get(manifest.kind, manifest.file),
        caution=caution(manifest.trained),
        training={**training, **manifest.trained.get("recipe", {})},
    )


def _frames(clip: Clip) -> str:
    if clip.sampling == "dense":
        return f"{clip.frames} frames, {clip.stride} apart" if clip.stride > 1 else "frames in a row"
    each = "one frame" if clip.snippet == 1 else f"{clip.snippet} frames in a row"
    return f"{clip.frames // clip.snippet} equal parts of the video, of the middle of each {each}"


def _plain(value: Any) -> str:
    """Escape a text, so that it is no Markdown, and put it on one line."""
    text = printable(" ".join(str(value).split()))
    for mark in "\\`*_|<>[]&~$":
        text = text.replace(mark, f"\\{mark}")
    return re.sub(r"^(\d*)([-+#=.)]+)(?=\s|$)", r"\1\\\2", text)  # would begin a list or a heading
