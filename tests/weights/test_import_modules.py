"""Weights for networks with modules: what these add starts anew, what they replace is left out, all else must fit.

Weights are equal to the bit: they are copies, in the same format, or drawn by the same code from the same seed.
"""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from elsewhere import Fact, random_network, written_elsewhere
from safetensors.torch import load_file
from torch import Tensor

import autovid
from autovid.cli import main
from autovid.config.resources import experiments_dir
from autovid.errors import ConfigError
from autovid.models import MODULES, NetworkSpec, build_network
from autovid.train.experiment import load_experiment

ADDED = re.compile(
    r"\.norm1\.shared\.|\.norm2\.relay\."
)  # DNR's: an LSTM for a stage's first norms, one for each second
REPLACED = re.compile(r"stages\.\d\.\d\.norm[12]\.(weight|bias)$")  # the affine of these norms


@cache
def images(depth: int) -> dict[str, Tensor]:
    """A ResNet for images, as torchvision writes it."""
    it = Fact("torchvision", f"tsn_resnet{depth}", 0, {})
    return written_elsewhere(random_network(it), it)


@pytest.fixture
def resnet18(tmp_path: Path) -> Path:
    torch.save(images(18), tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


def weights(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def test_what_dnr_adds_starts_anew_and_all_else_arrives(resnet18: Path) -> None:
    spec = NetworkSpec(network="tsm_resnet18", classes=400, modules={"dnr": {}})
    torch.manual_seed(3)
    new = weights(autovid.build(spec))
    torch.manual_seed(3)
    imported = autovid.import_weights(resnet18, spec)
    plain = weights(autovid.import_weights(resnet18, "tsm_resnet18", 400).net)
    mine = weights(imported.net)
    added = [name for name in mine if name not in plain]
    assert len(added) == 96
    assert all(ADDED.search(name) for name in added)
    assert all(torch.equal(mine[name], new[name] if name in added else plain[name]) for name in mine)
    left = [name for name in plain if name not in mine]
    assert len(left) == 32
    assert all(REPLACED.match(name) for name in left)
    assert imported.notes[1:] == (
        "70 tensors loaded",
        "96 start anew, as dnr adds them: stages.0.0.norm1.shared.cell.read.0.weight, "
        "stages.0.0.norm1.shared.cell.read.0.bias, stages.0.0.norm1.shared.cell.read.2.weight, …",
        "32 of the file are left out, as dnr replaces what had them: layer1.0.bn1.weight, layer1.0.bn1.bias, "
        "layer1.0.bn2.weight, …",
    )


@pytest.mark.parametrize("module", MODULES)
def test_modules_without_weights_take_the_file_as_it_is(module: str, resnet18: Path) -> None:
    imported = autovid.import_weights(resnet18, NetworkSpec(network="tsn_resnet18", classes=400, modules={module: {}}))
    said = [note for note in imported.notes if module in note]
    assert len(said) == (2 if module == "dnr" else 0)
    assert imported.notes[1] == ("70 tensors loaded" if module == "dnr" else "102 tensors loaded")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer4.1.conv1.weight": None}, "1 missing: layer4.1.conv1.weight"),
        ({"layer1.0.bn1.weight": None}, "1 missing: layer1.0.bn1.weight"),  # though DNR has no place for it
        ({"layer1.0.bn1.weight": torch.ones(7)}, r"1 of another shape: layer1.0.bn1.weight is \(7,\) there"),
        ({"layer1.0.bn3.weight": torch.ones(64)}, "1 left over: layer1.0.bn3.weight"),
    ],
)
def test_what_no_module_explains_is_refused(change: dict[str, Tensor | None], said: str, tmp_path: Path) -> None:
    content = {name: tensor for name, tensor in (images(18) | change).items() if tensor is not None}
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ConfigError, match=f"does not fit tsm_resnet18: {said}"):
        autovid.import_weights(tmp_path / "odd.pth", NetworkSpec(network="tsm_resnet18", modules={"dnr": {}}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsm", "tanet", "tdn"])
def test_the_trainings_of_dnr_start_as_their_headers_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(images(50), "resnet50.pth")
    path = experiments_dir() / f"dnr_kinetics400_{name}.yaml"
    (command,) = re.findall(r"autovid (import-weights .*)", path.read_text(encoding="utf-8"))
    assert main(command.split()) == 0
    shown = capsys.readouterr().out
    assert "160 start anew, as dnr adds them" in shown
    assert "64 of the file are left out, as dnr replaces what had them" in shown
    model = load_experiment(path).model
    assert isinstance(model, NetworkSpec)
    imported, expected = load_file(command.split()[-1]), build_network(model, "meta").state_dict()
    assert {name: tensor.shape for name, tensor in imported.items()} == {n: t.shape for n, t in expected.items()}
    assert torch.equal(imported["stages.3.2.conv3.weight"], images(50)["layer4.2.conv3.weight"])
    assert torch.equal(imported["stages.0.0.norm1.running_var"], images(50)["layer1.0.bn1.running_var"])
