"""S2DNet from torchvision's ImageNet weights: two files, written here by hand with torchvision's names and shapes.

Weights are equal to the bit: copies of whole numbers below 2**24, or drawn by the same code from the same seed.
"""

from pathlib import Path

import pytest
import torch

import autovid
from autovid.cli import main
from autovid.errors import ConfigError
from autovid.models import load_weights

Shapes = dict[str, tuple[int, ...]]
MOBILENET = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


def mobilenet_v2() -> Shapes:
    """torchvision.models.mobilenet_v2: a projection and its norm stand by themselves, other layers are pairs."""
    shapes: Shapes = {"features.0.0.weight": (32, 3, 3, 3), **norm("features.0.1", 32)}
    width_in, number = 32, 0
    for expansion, width, depth in MOBILENET:
        for _ in range(depth):
            number, inner, place = number + 1, width_in * expansion, 0
            conv = f"features.{number}.conv"
            if expansion > 1:
                shapes |= {f"{conv}.0.0.weight": (inner, width_in, 1, 1), **norm(f"{conv}.0.1", inner)}
                place = 1
            shapes |= {f"{conv}.{place}.0.weight": (inner, 1, 3, 3), **norm(f"{conv}.{place}.1", inner)}
            shapes |= {f"{conv}.{place + 1}.weight": (width, inner, 1, 1), **norm(f"{conv}.{place + 2}", width)}
            width_in = width
    shapes |= {"features.18.0.weight": (1280, 320, 1, 1), **norm("features.18.1", 1280)}
    return {**shapes, "classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}


def resnet50() -> Shapes:
    """torchvision.models.resnet50."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    width_in = 64
    for stage, depth in enumerate((3, 4, 6, 3), 1):
        inner = 32 * 2**stage
        for index in range(depth):
            block = f"layer{stage}.{index}"
            shapes |= {f"{block}.conv1.weight": (inner, width_in, 1, 1), **norm(f"{block}.bn1", inner)}
            shapes |= {f"{block}.conv2.weight": (inner, inner, 3, 3), **norm(f"{block}.bn2", inner)}
            shapes |= {f"{block}.conv3.weight": (4 * inner, inner, 1, 1), **norm(f"{block}.bn3", 4 * inner)}
            if index == 0:
                shapes |= {f"{block}.downsample.0.weight": (4 * inner, width_in, 1, 1)}
                shapes |= norm(f"{block}.downsample.1", 4 * inner)
            width_in = 4 * inner
    return {**shapes, "fc.weight": (1000, 2048), "fc.bias": (1000,)}


def write(file: Path, shapes: Shapes, first: int) -> None:
    """A checkpoint in which every tensor has a number of its own throughout, from `first` on; one number is stored."""
    numbers = enumerate(shapes.items(), first)
    torch.save({name: torch.full((1,), float(number)).expand(shape) for number, (name, shape) in numbers}, file)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "resnet50.pth", tmp_path / "mobilenet_v2.pth"]
    write(paths[0], resnet50(), 1)
    write(paths[1], mobilenet_v2(), 10_001)
    return paths


def test_as_many_weights_as_torchvision_documents() -> None:
    """The numbers of parameters that are published beside the two files."""
    for shapes, parameters in ((resnet50(), 25_557_032), (mobilenet_v2(), 3_504_872)):
        learned = {name: shape for name, shape in shapes.items() if "running" not in name}
        assert sum(torch.Size(shape).numel() for shape in learned.values()) == parameters


def test_both_backbones_arrive_and_the_rest_is_new(files: list[Path]) -> None:
    torch.manual_seed(5)
    new = autovid.build("s2dnet", 7).state_dict()
    torch.manual_seed(5)
    imported = autovid.import_weights(files, "s2dnet", 7, new_head=True)
    state = {n: tensor for n, tensor in imported.net.state_dict().items() if not n.endswith("num_batches_tracked")}
    backbones = [n for n in state if n.startswith(("synopsis.", "detail.")) and ".classifier." not in n]
    assert all(torch.equal(state[n], new[n]) for n in state if n not in backbones)
    arrived = sorted(tensor.unique().item() for tensor in (state[n] for n in backbones))
    heads = 2  # weight and bias
    last, last_mobile = len(resnet50()) - heads, len(mobilenet_v2()) - heads
    assert arrived == [*range(1, last + 1), *range(10_001, 10_001 + last_mobile)]
    assert (state["detail.stages.3.2.norm3.running_var"] == last).all()
    assert (state["synopsis.stem.0.weight"] == 10_001).all()
    assert (state["synopsis.head.1.running_var"] == 10_000 + last_mobile).all()
    assert "a new classifier of 7 classes" in imported.notes


def test_the_command_takes_two_files_and_training_starts_from_what_it_writes(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, option = tmp_path / "s2dnet.safetensors", ["--option", "fuse_in_classifier=false"]
    options = ["--model", "s2dnet", "--classes", "7", "--new-head", *option, "-o", str(out)]
    assert main(["import-weights", *map(str, files), *options]) == 0
    assert "format torchvision, told by the names" in capsys.readouterr().out
    net = autovid.build("s2dnet", 7, fuse_in_classifier=False)
    load_weights(net, out, new_head=True)
    assert (net.state_dict()["detail.stem.0.weight"] == 1).all()
    assert not (net.state_dict()["detail.classifier.weight"] == 0).all()


def test_what_is_wrong_with_the_files_is_said(files: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"resnet50.pth \(torchvision\) does not fit s2dnet: 260 missing: features"):
        autovid.import_weights(files[0], "s2dnet", 7, new_head=True)
    with pytest.raises(ConfigError, match="resnet50.pth holds bn1.bias, and so does another of the files"):
        autovid.import_weights([files[0], files[0]], "s2dnet", 7)
    with pytest.raises(ConfigError, match=r"Give --new-head for a new one$"):  # its classifier takes more than features
        autovid.import_weights(files, "s2dnet", 1000)
