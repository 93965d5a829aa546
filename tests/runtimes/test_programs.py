"""Every family of networks as a program of torch.export, most as ONNX, run against the network at two batch sizes.

Of each family the smallest network, with one block a stage where its depth can be changed: the operations are those of
the deep ones.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from autovid.errors import ConfigError
from autovid.export.classifier import open_file
from autovid.export.manifest import Kind
from autovid.export.package import TOLERANCE, compare, noise, write_export
from autovid.export.source import ExportSource, find_source
from autovid.models import Model, Network, NetworkSpec, frame_networks
from autovid.models.folding import folded
from autovid.models.resnet import DEPTHS
from autovid.runtimes.programs import save_onnx, save_openvino, save_torch, to_onnx, trace
from autovid.space import Architecture, load_space

pytestmark = pytest.mark.slow


def named(name: str, frames: int = 4, **options: str) -> Model:
    return NetworkSpec(network=name, classes=3, frames=frames, crop=32, options={**options})


def searched(space: str, number: int) -> Architecture:
    arch = load_space(space).sample(number + 1, seed=0)[number]
    return arch.scaled(crop=32, frames=8, depth_factor=0.1)


def with_modules(name: str, *modules: str) -> Model:
    return NetworkSpec(network=name, classes=3, frames=4, crop=32, modules={module: {} for module in modules})


FAMILIES: dict[str, Callable[[], Model]] = {
    "two_stream": partial(searched, "two_stream", 1),  # all ways of fusion, both of attention
    "x3d": partial(searched, "x3d", 0),
    **{strategy: partial(named, f"{strategy}_resnet18") for strategy in ("i3d", "s3d", "tam", "tsm", "nln", "conv")},
    "inception": partial(named, "tsn_inception_v1", 2),
    "slowonly": partial(named, "slowonly_r34_8x8"),
    "slowfast": partial(named, "slowfast_r50_8x8", 8),
    "csn": partial(named, "csn_r50"),
    "tanet": partial(named, "tanet_resnet50"),
    "tdn": partial(named, "tdn_resnet50", 10),
    "mobilenet": partial(named, "tsm_mobilenet_v2"),
    "s2dnet": partial(named, "s2dnet", 8),
    "s2dnet_linear": partial(named, "s2dnet", 8, temporal_filter="linear", fusion="concat1x1", top_k="soft"),
    "images": partial(named, "resnet110_cifar", 1),
    "modules": partial(with_modules, "tsn_resnet18", "dnr", "rms", "random_drop", "shake_drop"),
}
# Those that have an operation that no other here has, since ONNX takes some 6 s each; torch is tried with all.
IN_ONNX = ("two_stream", "i3d", "tam", "nln", "csn", "tanet", "s2dnet_linear", "modules")
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2), (6, 64, 1, 2), (6, 160, 1, 2), (6, 320, 1, 1))  # of MobileNetV2


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    for depth in DEPTHS:
        monkeypatch.setitem(DEPTHS, depth, (1, 1, 1, 1))
    monkeypatch.setattr(frame_networks, "STAGES", STAGES)


def subject(model: Model, folder: Path) -> ExportSource:
    """The network with statistics as training would leave them: nothing is zero, and nothing blows up."""
    model.save(folder / "model.yaml")
    source = find_source(folder / "model.yaml")
    settle(source.net)
    return source


def settle(net: Network) -> None:
    """By 16 clips: in S2DNet's locator some channels vary so little over four that they enlarge rounding."""
    torch.manual_seed(1)
    for module in net.modules():
        if hasattr(module, "running_var"):
            module.momentum = 1.0
            if isinstance(module.weight if hasattr(module, "weight") else None, torch.Tensor):
                torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    x = torch.randn(16, 3, net.clip.frames, net.clip.crop, net.clip.crop)
    with torch.no_grad():
        net.train()(x.contiguous(memory_format=torch.channels_last_3d))
    net.eval()


# Of the others each differs from one of these by an operation or two.
IN_SUITE = ("two_stream", "mobilenet")


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in IN_SUITE else [pytest.mark.thorough]) for name in FAMILIES]
)
def test_a_family_runs_without_autovid_as_it_does_inside(family: str, tmp_path: Path) -> None:
    source = subject(FAMILIES[family](), tmp_path)
    net, clip = folded(source.net), noise(source.interface.clip, 2)
    save_torch(trace(net, [clip], family), tmp_path / "model.pt2")
    kinds: list[Kind] = ["torch"]
    if family in IN_ONNX:
        model = to_onnx(trace(net, [clip], family, translate=True), family)
        save_onnx(model, tmp_path / "model.onnx")
        save_openvino(model, tmp_path / "model.xml")
        kinds += ["onnx", "openvino"]
    for kind in kinds:
        check = compare(source.net, open_file(tmp_path, kind, "cpu", source.interface), source, kind)
        # What every export is held to. How near fp32 comes on any machine is seen by changing the clip by its 6e-8:
        # that moves S2DNet's logits by 1e-5 to 4e-5 and the others' by less than 1e-5.
        assert check.difference <= TOLERANCE, kind  # in itself, whatever the logits
        assert check.largest_logit > 1e-3


def test_what_differs_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = subject(named("tsm_resnet18"), tmp_path)
    kind, exporting = type(source.net), torch.compiler.is_exporting
    honest = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: honest(self, x) + 2e-4 * exporting())
    with pytest.raises(ConfigError, match=r"cannot be exported as torch: logits differ by 0\.0002"):
        write_export(source, "torch", tmp_path / "out")
    monkeypatch.setattr(kind, "forward", lambda self, x: honest(self, x) if not exporting() or x.sum() < 1e9 else x)
    with pytest.raises(ConfigError, match=r"^tsm_resnet18 cannot be exported as torch: ") as refused:
        write_export(source, "torch", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.yaml"]
