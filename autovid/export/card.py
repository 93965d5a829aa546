"""The model card of an exported folder: what it is, how to use it without autovid, what it costs, where it is from."""

import re
from typing import Any

from autovid.clip import Clip
from autovid.errors import printable
from autovid.export.manifest import ARCHITECTURE, Manifest, caution

USE = {
    "safetensors": """\
import autovid

net = autovid.build("architecture.yaml")
autovid.load_weights(net, "model.safetensors")
logits = net.eval()(x)""",
    "torch": """\
import torch

net = torch.export.load("model.pt2").module()  # from somebody you trust: it may unpickle
with torch.no_grad():
    logits = net(x)""",
    "onnx": """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(None, {"clip": x})  # x as a NumPy array""",
}


def model_card(about: Manifest) -> str:
    """README.md of the folder."""
    clip, t, crop = about.clip, about.clip.frames, about.clip.crop
    parts = [
        f"# {about.name}",
        f"A network for video recognition: a clip of {t} frames in, {_classes(about)} out. Exported by autovid "
        f"{about.versions['autovid']} as {about.kind}; `model.json` says all of this for programs.",
        "## Use",
        f"```python\n# x: float32 (batch, 3, {t}, {crop}, {crop}); RGB in 0..1, minus mean, over std\n"
        f"mean, std = {list(clip.mean)}, {list(clip.std)}\n{USE[about.kind]}\n```",
        f"The clip: {_frames(clip)}, the short side resized to {crop} (bilinear, antialiased), the square in the "
        "middle. The batch may have any size, the clip has this one. Softmax over the logits gives probabilities; "
        "of several clips of a video, average these.",
        "`autovid predict FOLDER VIDEO` does all of it; autovid is the distribution `autovid-nas`, not what package "
        f"indexes call `autovid`. The weights are in `{about.file}` (sha256 in `model.json`), "
        f"the network as autovid builds it in `{ARCHITECTURE}`.",
        "## Cost",
        f"{about.cost.gflops:.4g} GFLOPs a clip, {about.cost.params / 1e6:.2f} M parameters. {about.cost.convention}.",
        "## Where it is from",
        *_origin(about),
        f"Exported with {', '.join(f'{name} {version}' for name, version in about.versions.items())}. The file was "
        f"run before it was kept: its logits differ from the network's by {about.check.difference:.1g} at most "
        f"(batches of {' and '.join(map(str, about.check.batches))} clips of noise).",
    ]
    if about.classes:
        parts += ["## Classes", "\n".join(f"{number}. {_plain(name)}" for number, name in enumerate(about.classes))]
    return "\n\n".join(parts) + "\n"


def _classes(about: Manifest) -> str:
    return f"logits of {about.outputs} classes" + ("" if about.classes else " whose names are not known")


def _frames(clip: Clip) -> str:
    if clip.sampling == "dense":
        return f"{clip.frames} frames, {clip.stride} apart" if clip.stride > 1 else "frames in a row"
    each = "one frame" if clip.snippet == 1 else f"{clip.snippet} frames in a row"
    return f"{clip.frames // clip.snippet} equal parts of the video, of the middle of each {each}"


def _origin(about: Manifest) -> list[str]:
    parts = ["A hand-designed network, by its name."]
    if about.found:
        parts = [f"How the architecture was found (hash {about.hash}):\n\n{_table(about.found)}"]
    if not about.trained:
        return [*parts, "**The weights are random: nothing was trained.**"]
    if doubt := caution(about.trained):
        parts.append(f"**The weights are {doubt}.**")
    trained = {key: value for key, value in about.trained.items() if key not in ("recipe", "accuracy")}
    parts.append(f"How it was trained:\n\n{_table({**trained, **about.trained.get('recipe', {})})}")
    for views, one in about.trained.get("accuracy", {}).items():
        top5 = "" if one["top5"] is None else f", top-5 {one['top5']:.2f} %"
        parts.append(
            f"Top-1 {one['top1']:.2f} %{top5} on {one['decoded']} videos of {_plain(one['data'])}, split "
            f"{one['split']}; views {views} at {one['crop']} x {one['crop']}."
        )
    return parts


def _table(rows: dict[str, Any]) -> str:
    lines = [f"| {_plain(key)} | {_plain(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _plain(value: Any) -> str:
    """Text that is no markup, on one line."""
    text = printable(" ".join(str(value).split()))
    for mark in "\\`*_|<>[]&~$":
        text = text.replace(mark, f"\\{mark}")
    return re.sub(r"^(\d*)([-+#=.)]+)(?=\s|$)", r"\1\\\2", text)  # what would begin a list or a heading
