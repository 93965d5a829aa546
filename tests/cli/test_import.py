"""autovid import-weights."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import autovid
from autovid.cli import main
from autovid.cli.import_weights import FORMATS
from autovid.weights import FORMATS as TABLES

NAMES = (
    *((rf"^stages\.{i}\.", f"layer{i + 1}.") for i in range(4)),
    (r"^stem\.0\.", "conv1."),
    (r"^stem\.1\.", "bn1."),
    (r"\.norm", ".bn"),
    (r"shortcut", "downsample"),
    (r"^classifier", "fc"),
)


def resnet18() -> dict[str, Tensor]:
    """A ResNet-18 for images, as torchvision writes it."""
    state = {}
    for name, tensor in autovid.build("tsn_resnet18", 1000).state_dict().items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    return state


def wrong(words: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused."""
    assert main(["import-weights", *map(str, words)]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


@pytest.mark.slow
def test_a_networks_weights_are_written_beside_its_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = resnet18()
    torch.save(theirs, tmp_path / "resnet18.pth")
    out = tmp_path / "imported" / "i3d.safetensors"
    words = [tmp_path / "resnet18.pth", "--model", "i3d_resnet18", "-o", out, "--inflate", "divide"]
    words += ["--new-head", "--classes", 5, "--frames", 4, "--option", "temporal_pooling=true"]
    assert main(["import-weights", *map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "format torchvision, told by the names\n100 tensors loaded\n17 of them are 2-D weights copied along" in said
    assert "a new classifier of 5 classes" in said
    assert str(out) in said
    net = autovid.build(out.with_suffix(".yaml"))
    assert net.spec == autovid.NetworkSpec(
        network="i3d_resnet18", classes=5, frames=4, options={"temporal_pooling": True}
    )
    autovid.load_weights(net, out)
    # To the bit: one division of each number, done here as there.
    assert torch.equal(net.state_dict()["stem.0.weight"][:, :, 2], theirs["conv1.weight"] / 3)
    again = tmp_path / "again.safetensors"
    assert main(["import-weights", *map(str, [*words[:4], again, *words[5:]])]) == 0
    autovid.load_weights(other := autovid.build(out.with_suffix(".yaml")), again)
    # To the bit: the same file, read by the same code.
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(resnet18(), tmp_path / "w.pth")
    out = ["-o", tmp_path / "o.safetensors"]
    model = ["--model", "tsn_resnet18"]
    assert "--classes 1000 to keep the classifier, or --new-head" in wrong([tmp_path / "w.pth", *model, *out], capsys)
    assert "No such file" in wrong([tmp_path / "none", *model, *out], capsys)
    assert "called 'tsn_resnet19'" in wrong([tmp_path / "w.pth", "--model", "tsn_resnet19", *out], capsys)
    assert "give it that ending" in wrong([tmp_path / "w.pth", *model, "-o", tmp_path / "o.pth"], capsys)
    words = [tmp_path / "w.pth", *model, *out, "--format", "mmaction2"]
    assert "102 missing: backbone.conv1.bn.bias, " in wrong(words, capsys)
    assert not (tmp_path / "o.safetensors").exists()


def test_every_format_can_be_asked_for() -> None:
    assert tuple(TABLES) == FORMATS


@pytest.mark.slow
def test_training_starts_from_imported_weights(tmp_path: Path, tiny_videos: Path) -> None:
    theirs = resnet18()
    torch.save(theirs, tmp_path / "resnet18.pth")
    words = [tmp_path / "resnet18.pth", "--model", "tsn_resnet18", "-o", tmp_path / "w.safetensors"]
    assert main(["import-weights", *map(str, words), "--new-head", "--classes", "12"]) == 0
    size = ["--epochs", "1", "--batch", "12", "--frames", "2", "--crop", "32", "--lr", "1e-9", "--recipe", "proxy"]
    size += ["--device", "cpu", "--precision", "fp32", "--decoders", "0"]
    train = ["train", str(tmp_path / "w.yaml"), "--data", str(tiny_videos), *size]
    assert main([*train, "-o", str(tmp_path / "run"), "--weights", str(tmp_path / "w.safetensors")]) == 0
    trained = load_file(next((tmp_path / "run").glob("checkpoints/*/model.safetensors")))
    # Two steps at a rate of 1e-9: a gradient would have to be 5,000. Another start differs by 0.1.
    assert torch.allclose(trained["stem.0.weight"], theirs["conv1.weight"], rtol=0, atol=1e-5)
    assert "weights: " in (tmp_path / "run" / "config.yaml").read_text()
    assert main([*train, "-o", str(tmp_path / "run"), "--resume"]) == 5  # a run from other weights


@pytest.mark.usefixtures("without_plugins")
def test_a_module_of_ones_own_comes_with_its_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(
        "from autovid.models.registry import MODULES\n"
        "@MODULES.register('frozen_stem', 'a stem that does not learn')\n"
        "def attach(net):\n    net.stem.requires_grad_(False)\n"
    )
    torch.save(resnet18(), tmp_path / "w.pth")
    words = [tmp_path / "w.pth", "--model", "tsn_resnet18", "--with", "frozen_stem", "--new-head"]
    words += ["-o", tmp_path / "o.safetensors"]
    assert "there is no module 'frozen_stem'" in wrong(words, capsys)
    assert main([*map(str, ["import-weights", *words, "--plugin", plugin])]) == 0
    assert "frozen_stem" in (tmp_path / "o.yaml").read_text()
