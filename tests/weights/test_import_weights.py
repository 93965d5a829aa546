"""Weights from elsewhere: the names are the real ones, every tensor arrives, and what does not fit is refused.

Tensors are equal to the bit because they are copied, or because both sides do one and the same thing to each number.
"""

import os
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import FACTS, FAST, Fact, random_network, table_of, written_elsewhere
from safetensors.torch import save_file
from torch import Tensor, nn

import autovid
from autovid.errors import ConfigError
from autovid.models import NETWORKS, NetworkSpec, build_network
from autovid.weights import FORMATS
from autovid.weights.importing import read_tensors

NAMES = [f"{fact.format}-{fact.network}" + "".join(f"-{value}" for value in fact.options.values()) for fact in FACTS]


def fact(format: str, network: str) -> Fact:
    return next(f for f in FACTS if (f.format, f.network) == (format, network))


def kept(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


@cache
def tensors(network: str) -> dict[str, Tensor]:
    return kept(build_network(NetworkSpec(network=network), "meta").state_dict())


def images(depth: int = 18) -> dict[str, Tensor]:
    """A ResNet for images, as torchvision writes it."""
    it = Fact("torchvision", f"tsn_resnet{depth}", 0, {})
    return written_elsewhere(random_network(it), it)


def refused(tmp_path: Path, content: Any, model: str | NetworkSpec = "tsn_resnet18", **options: Any) -> str:
    """The one line with which weights are refused."""
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ConfigError) as error:
        autovid.import_weights(tmp_path / "weights.pth", model, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("it", FACTS, ids=NAMES)
def test_names_and_shapes_are_those_of_real_checkpoints(it: Fact) -> None:
    shapes = {name: tuple(t.shape) for name, t in written_elsewhere(random_network(it, "meta"), it).items()}
    assert {name: shapes.get(name) for name in it.shapes} == it.shapes
    assert len(shapes) == it.count


# Of each format one network of each family.
USUAL = ("csn_r50", "i3d_resnet18", "s3d_resnet18", "slowfast_r50_8x8", "tanet_resnet50", "tdn_resnet50",
         "tsm_mobilenet_v2", "tsn_inception_v1", "x3d_m")  # fmt: skip


def usual(fact: Fact) -> bool:
    """Of SlowFast, the largest of them, one format."""
    return fact.network in USUAL and (fact.network != "slowfast_r50_8x8" or fact.format == "pyslowfast")


@pytest.mark.slow
@pytest.mark.parametrize(
    "it",
    [pytest.param(fact, marks=[] if usual(fact) else [pytest.mark.thorough]) for fact in FACTS],
    ids=NAMES,
)
def test_every_tensor_arrives(it: Fact, tmp_path: Path) -> None:
    net = random_network(it)
    theirs = written_elsewhere(net, it)
    theirs |= {f"{n.rpartition('.')[0]}.num_batches_tracked": torch.tensor(7) for n in theirs if "running_mean" in n}
    save_file({name: tensor.contiguous() for name, tensor in theirs.items()}, tmp_path / "w.safetensors")
    imported = autovid.import_weights(tmp_path / "w.safetensors", it.spec)
    assert imported.format == it.format
    mine, table = kept(net.state_dict()), table_of(it)
    arrived = kept(imported.net.state_dict())
    assert mine.keys() == arrived.keys()
    assert [n for n in mine if not table.is_identity(n) and not torch.equal(mine[n], arrived[n])] == []


@pytest.mark.slow
def test_no_two_tensors_of_ours_have_one_name_elsewhere() -> None:
    for format, form in FORMATS.items():
        for network in NETWORKS:
            for table in form.tables_of(NetworkSpec(network=network)):
                state = kept(
                    build_network(NetworkSpec(network=network, options=dict(table.needs)), "meta").state_dict()
                )
                names = [n for target in state if not table.is_fresh(target) for n in table.source_names(target)]
                if (format, network) != ("torchvision", "tdn_resnet50"):  # starts twice from the same images
                    assert len({*names}) == len(names), (format, network)


@pytest.mark.parametrize("how", ["copy", "divide"])
def test_images_are_inflated_along_time(how: Any, tmp_path: Path) -> None:
    theirs = images()
    torch.save(theirs, tmp_path / "resnet18.pth")
    imported = autovid.import_weights(tmp_path / "resnet18.pth", "i3d_resnet18", inflate=how)
    mine = imported.net.state_dict()
    for ours, name in (("stem.0.weight", "conv1.weight"), ("stages.3.1.conv2.weight", "layer4.1.conv2.weight")):
        assert mine[ours].shape[2] == 3
        for frame in range(3):
            assert torch.equal(mine[ours][:, :, frame], theirs[name] / (3 if how == "divide" else 1))
    assert torch.equal(mine["stages.1.0.shortcut.0.weight"], theirs["layer2.0.downsample.0.weight"])
    assert any("17 of them are 2-D weights copied along time" in note for note in imported.notes)


def test_dividing_is_refused_where_nothing_is_inflated(tmp_path: Path) -> None:
    assert "no weights to inflate" in refused(tmp_path, images(), inflate="divide")


def test_what_images_do_not_have_starts_as_in_a_new_network(tmp_path: Path) -> None:
    torch.save(images(), tmp_path / "resnet18.pth")
    torch.manual_seed(3)
    new = kept(autovid.build("s3d_resnet18").state_dict())
    torch.manual_seed(3)
    imported = kept(autovid.import_weights(tmp_path / "resnet18.pth", "s3d_resnet18").net.state_dict())
    fresh = {name for name in new if ".temporal." in name or ".norm1." in name or ".norm2." in name}
    assert len(fresh) == 16 * 5
    assert {name for name in new if torch.equal(new[name], imported[name])} == fresh


def test_tdn_starts_its_differences_from_images(tmp_path: Path) -> None:
    theirs = images(50)
    torch.save(theirs, tmp_path / "resnet50.pth")
    mine = autovid.import_weights(tmp_path / "resnet50.pth", "tdn_resnet50").net.state_dict()
    assert torch.equal(mine["short_term.image_conv.weight"], theirs["conv1.weight"])
    assert torch.equal(mine["short_term.res2.2.conv2.weight"], theirs["layer1.2.conv2.weight"])
    spread = theirs["conv1.weight"].mean(1, keepdim=True).expand(64, 12, 7, 7)
    assert torch.equal(mine["short_term.stem.0.weight"], spread)
    assert mine["stages.0.0.conv1.bias"].count_nonzero() == 0


def test_googlenets_auxiliary_classifiers_are_not_needed(tmp_path: Path) -> None:
    it = fact("torchvision", "tsn_inception_v1")
    torch.save({**written_elsewhere(random_network(it), it), "aux1.fc2.bias": torch.ones(400)}, tmp_path / "g.pth")
    assert "1 of the file are not needed: aux1.fc2.bias" in autovid.import_weights(tmp_path / "g.pth", it.spec).notes


def test_a_norm_that_is_missing_elsewhere_changes_nothing(tmp_path: Path) -> None:
    it = Fact("pytorchvideo", "x3d_xs", 480, {})
    torch.save({"model_state": written_elsewhere(random_network(it), it)}, tmp_path / "X3D_XS.pyth")
    net = autovid.import_weights(tmp_path / "X3D_XS.pyth", it.spec).net.double().eval()
    x = torch.randn(1, 3, 4, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        ours = net(x)
        net.get_submodule("sites.main-stage1-block1").shortcut_norm = nn.Identity()
        without = net(x)
        # The scale that takes back eps is a float32, 2**-24 off, which weights that are all positive do not enlarge.
        assert (ours - without).norm() < 2**-23 * without.norm()  # without it 2e-6, with logits of 1e24


def test_mmactions_slowfast_has_the_fast_path_first_in_its_classifier(tmp_path: Path) -> None:
    it = fact("mmaction2", "slowfast_r50_8x8")
    theirs = written_elsewhere(random_network(it), it)
    torch.save({"state_dict": theirs, "meta": {"epoch": 3}}, tmp_path / "slowfast.pth")
    imported = autovid.import_weights(tmp_path / "slowfast.pth", it.network)
    weight = theirs["cls_head.fc_cls.weight"]
    assert torch.equal(
        imported.net.state_dict()["classifier.weight"], torch.cat([weight[:, FAST:], weight[:, :FAST]], 1)
    )
    assert imported.spec.options == {"lateral_norm": False}
    assert "option lateral_norm=False, which these weights need" in imported.notes


def test_wrappers_prefixes_and_other_spellings_are_taken_off(tmp_path: Path) -> None:
    it = Fact("tsm", "tsm_resnet18", 102, {})
    theirs = {
        f"module.{n.replace('new_fc', 'base_model.fc')}": t
        for n, t in written_elsewhere(random_network(it), it).items()
    }
    beside = {
        "epoch": 50,
        "arch": "resnet18",
        "best_prec1": torch.tensor(70.0),
        "optimizer": {"state": {0: torch.ones(3)}},
    }
    torch.save({"state_dict": theirs, **beside}, tmp_path / "ckpt.best.pth.tar")
    imported = autovid.import_weights(tmp_path / "ckpt.best.pth.tar", it.spec)
    assert torch.equal(imported.net.state_dict()["classifier.weight"], theirs["module.base_model.fc.weight"])


def test_what_is_missing_or_left_over_is_listed_and_refused(tmp_path: Path) -> None:
    theirs = images()
    for name in [n for n in theirs if n.startswith("layer4.1.")]:
        theirs["extra." + name] = theirs.pop(name)
    line = refused(tmp_path, theirs)
    assert "(torchvision) does not fit tsn_resnet18: 10 missing: layer4.1.bn1.bias, " in line
    assert "; 10 left over: extra.layer4.1.conv1.weight, " in line
    assert line.count(", …") == 2


def test_another_shape_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, images() | {"layer1.0.conv2.weight": torch.zeros(64, 64, 1, 1)})
    assert "1 of another shape: layer1.0.conv2.weight is (64, 64, 1, 1) there, (64, 64, 3, 3) here" in line
    assert "--new-head" not in line


def test_another_number_of_classes_needs_a_word(tmp_path: Path) -> None:
    theirs = images()
    line = refused(tmp_path, theirs, classes=7)
    assert "fc.weight is (400, 512) there, (7, 512) here" in line
    assert line.endswith("Give --classes 400 to keep the classifier, or --new-head for a new one")
    torch.manual_seed(5)
    new = autovid.build("tsn_resnet18", 7).state_dict()
    torch.manual_seed(5)
    imported = autovid.import_weights(tmp_path / "weights.pth", "tsn_resnet18", 7, new_head=True)
    assert torch.equal(imported.net.state_dict()["classifier.weight"], new["classifier.weight"])
    assert torch.equal(imported.net.state_dict()["stem.0.weight"], theirs["conv1.weight"])
    headless = {name: tensor for name, tensor in theirs.items() if not name.startswith("fc.")}
    assert refused(tmp_path, headless).endswith("2 missing: fc.bias, fc.weight. Give --new-head for a new one")
    autovid.import_weights(tmp_path / "weights.pth", "tsn_resnet18", new_head=True)


def test_weights_of_no_network_of_ours_are_refused(tmp_path: Path) -> None:
    assert "in none of the formats" in refused(tmp_path, {"encoder.weight": torch.ones(3)})
    assert "no checkpoint of torchvision is known to fit x3d_m" in refused(tmp_path, images(), "x3d_m")
    assert "there is no format 'caffe'" in refused(tmp_path, images(), format="caffe")
    assert "102 missing: backbone.conv1.bn.bias, " in refused(tmp_path, images(), format="mmaction2")
    it = fact("mmaction2", "csn_r50")
    spec = NetworkSpec(network="csn_r50", options={"norm_eps": 1e-5})
    assert "need --option norm_eps=0.001" in refused(tmp_path, written_elsewhere(random_network(it), it), spec)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        (torch.zeros(64, 3, 7, 7, dtype=torch.int64), "int64 cpu"),
        (torch.zeros(64, 3, 7, 7, dtype=torch.complex64), "complex64 cpu"),
        (torch.zeros(64, 3, 7, 7).to_sparse(), "float32 sparse_coo cpu"),
        (torch.zeros(64, 3, 7, 7, device="meta"), "float32 meta"),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, str) else "",
)
def test_a_tensor_without_real_numbers_is_refused(weight: Tensor, kind: str, tmp_path: Path) -> None:
    line = refused(tmp_path, {**images(), "conv1.weight": weight}, classes=1000)
    assert f"1 not of real numbers: conv1.weight ({kind})" in line


def test_odd_names_in_a_file_do_not_break_the_line(tmp_path: Path) -> None:
    line = refused(tmp_path, {**images(), "two\nlines\x1b[31m": torch.zeros(1)}, classes=1000)
    assert r"1 left over: two\nlines\x1b[31m" in line


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    theirs = images()
    line = refused(tmp_path, theirs | {"module.conv1.weight": theirs["conv1.weight"]})
    assert "holds conv1.weight twice, once as module.conv1.weight" in line


class Innocent:
    """A pickle that runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    for write in (torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))):
        write({"state_dict": images(), "meta": Innocent(f"touch {tmp_path / 'ran'}")}, tmp_path / "evil.pth")
        with pytest.raises(ConfigError, match="refused|can be read"):
            read_tensors(tmp_path / "evil.pth")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_files_are_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="refused|can be read"):
        read_tensors(tmp_path / name)


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_tensors(tmp_path / "none.pth")
    for content in ({}, [1], {"epoch": 3}, torch.ones(3)):
        assert "holds no weights by name" in refused(tmp_path, content)
    assert "something else among its weights: step" in refused(tmp_path, {**images(), "step": 3})


def test_what_is_saved_loads_into_the_network_beside_it_and_into_no_other(tmp_path: Path) -> None:
    it = Fact("mmaction2", "csn_r50", 267, {})
    torch.save(written_elsewhere(random_network(it), it), tmp_path / "csn.pth")
    imported = autovid.import_weights(tmp_path / "csn.pth", "csn_r50")
    beside = imported.save(tmp_path / "out" / "csn.safetensors")
    assert beside == tmp_path / "out" / "csn.yaml"
    net = autovid.build(beside)
    autovid.load_weights(net, tmp_path / "out" / "csn.safetensors")
    mine, theirs = net.state_dict(), imported.net.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm3d)} == {1e-3}
    with pytest.raises(ConfigError, match="option norm_eps=0.001; build it with that"):
        autovid.load_weights(autovid.build("csn_r50"), tmp_path / "out" / "csn.safetensors")
    with pytest.raises(ConfigError, match="is not of tsn_resnet18"):
        autovid.load_weights(autovid.build("tsn_resnet18"), tmp_path / "out" / "csn.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = autovid.build("tsn_resnet18", classes=3)
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    state["classifier.bias"] = torch.tensor([0, torch.nan, 0])
    save_file(state, tmp_path / "diverged.safetensors")
    with pytest.raises(ConfigError, match=r"diverged.safetensors: classifier.bias holds values that are not finite"):
        autovid.load_weights(net, tmp_path / "diverged.safetensors")
    theirs = images()
    theirs["fc.bias"][0] = torch.inf
    assert "classifier.bias holds values that are not finite" in refused(tmp_path, theirs)
