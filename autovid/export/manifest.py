"""model.json of an exported folder: the description of its network for other programs."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from autovid.clip import MOST, Clip
from autovid.errors import ConfigError
from autovid.fileio import digest
from autovid.train.inherited import recalibrated_note

FORMAT = 1  # of model.json
FILES = {"safetensors": "model.safetensors", "torch": "model.pt2", "onnx": "model.onnx", "openvino": "model.xml"}
WEIGHTS = {"openvino": "model.bin"}  # of a program that has them in another file
MANIFEST, ARCHITECTURE, CARD = "model.json", "architecture.yaml", "README.md"
METADATA = "autovid"  # the key of an ONNX file's metadata that has the interface

Kind = Literal["safetensors", "torch", "onnx", "openvino"]


class Interface(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Clips (B, 3, frames, crop, crop), RGB in 0..1 minus `clip.mean` over `clip.std`, in; logits (B, outputs) out.

    `classes` names the logits, or is empty where names are not known; `hash` is the architecture's.
    """

    name: str
    hash: str
    outputs: int
    clip: Clip
    classes: tuple[str, ...]
    multi_label: bool = False  # probabilities are sigmoids, of each class by itself, not a softmax

    def class_name(self, number: int) -> str:
        """Return the class of a logit."""
        return self.classes[number] if self.classes else f"class {number}"


class ClipCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cost of one view, that is one clip at its crop."""

    params: int
    macs: int
    gflops: float
    convention: str


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The largest difference between the logits of the written file and of the network, on clips of noise."""

    batches: tuple[int, ...]
    difference: float
    largest_logit: float


class Quantized(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Scores in percent, top-1 or mAP, of the network and of its program in int8, on the same `videos` of a split.

    `clips` of the training split have set the ranges of maps.
    """

    data: str
    clips: int
    split: str
    videos: int
    metric: str
    fp32: float
    int8: float

    @property
    def text(self) -> str:
        """Say what is lost."""
        return (
            f"{self.metric} {self.int8:.2f} % in int8, {self.fp32:.2f} % before ({self.int8 - self.fp32:+.2f}), on "
            f"{self.videos} videos of {self.data}, split {self.split}; ranges of maps by {self.clips} clips of training"
        )


class ExportManifest(Interface, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of model.json. `file` has the weights; `provenance` is that of the architecture, `trained` of these.

    The digests are those of the file, of the weights where they are in another one, and of architecture.yaml; the first
    exports have none of the latter.
    """

    format: int
    kind: Kind
    file: str
    sha256: str
    weights_sha256: str = ""
    architecture_sha256: str = ""
    cost: ClipCost
    provenance: dict[str, Any]
    trained: dict[str, Any]
    versions: dict[str, str]
    check: Check
    quantized: Quantized | None = None

    def to_json(self) -> str:
        """Encode as model.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"


def read_manifest(folder: Path) -> ExportManifest:
    """Read model.json of an exported folder, and check its files by their digests. Raises ConfigError."""
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=ExportManifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise ConfigError(f"{path}: format {manifest.format} is not known here; this autovid reads {FORMAT}")
    check_interface(manifest, str(path))
    digests = {FILES[manifest.kind]: manifest.sha256}
    if weights := WEIGHTS.get(manifest.kind):
        digests[weights] = manifest.weights_sha256
    if manifest.architecture_sha256:
        digests[ARCHITECTURE] = manifest.architecture_sha256
    for name, sha256 in digests.items():
        if not (folder / name).is_file():
            raise ConfigError(f"{folder / name} is missing; export again")
        if digest(folder / name) != sha256:
            raise ConfigError(
                f"{folder / name} is changed or damaged: its sha256 is not the one in {MANIFEST}; export again"
            )
    return manifest


def read_interface(text: str, source: str) -> Interface:
    """Read an interface from JSON. Raises ConfigError."""
    try:
        interface = msgspec.json.decode(text, type=Interface)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{source}: {error}") from error
    check_interface(interface, source)
    return interface


def check_interface(interface: Interface, source: str) -> None:
    """Raise ConfigError for values that no network of ours has; the file may be anybody's."""
    clip = interface.clip
    sizes = all(0 < getattr(clip, name) <= MOST[name] for name in ("frames", "crop", "stride"))
    snippets = clip.sampling in ("dense", "uniform") and clip.snippet > 0 and clip.frames % clip.snippet == 0
    colours = all(map(math.isfinite, (*clip.mean, *clip.std))) and min(clip.std) > 0
    if not (sizes and snippets and colours):
        raise ConfigError(f"{source}: no such clip can be read: {clip}")
    if interface.outputs < 1 or len(interface.classes) not in (0, interface.outputs):
        raise ConfigError(f"{source}: {len(interface.classes)} names for {interface.outputs} classes")


def caution(trained: Mapping[str, Any]) -> str:
    """Return a warning about weights that no finished training has made; empty for others."""
    if not trained:
        return "random weights, as nothing was trained"
    if isinstance(clips := trained.get("recalibrated"), int) and clips:
        return recalibrated_note(clips)
    step, steps = (trained.get(name) for name in ("step", "steps"))
    unfinished = isinstance(step, int) and isinstance(steps, int) and step < steps and not trained.get("finished")
    return f"at step {step} of {steps} of its training, not its end" if unfinished else ""
