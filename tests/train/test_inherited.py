"""The supernet's weights of a search: evaluated, exported, predicted with, and trained on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import autovid
from autovid.cli import main
from autovid.data import open_videos
from autovid.data.synthetic import CLASSES
from autovid.kernels.compute import Compute
from autovid.models import build, inherit
from autovid.models.builder import HEAD, inherit_weights
from autovid.report.page import page
from autovid.report.runs import read_run
from autovid.run import RunDirectory
from autovid.space import load_architecture, load_space
from autovid.train import find_model, open_trained
from autovid.train.inherited import calibrate, open_supernet_weights
from autovid.train.trained import find_weights

SHORT = ["--steps", "1", "--batch", "4", "--crop", "16", "--samples", "2", "--decoders", "0", "--precision", "fp32"]
TRAINING = ["--epochs", "0.3", "--batch", "8", "--frames", "8", "--crop", "24", "--stride", "1", "--recipe", "proxy"]
TRAINING += ["--device", "cpu", "--precision", "fp32", "--decoders", "0"]
NOTE = "weights: the supernet's, recalibrated on 64 training clips; train it for more"


@pytest.fixture(scope="module")
def videos(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that a test can take away."""
    return Path(shutil.copytree(tiny_videos, tmp_path_factory.mktemp("inherited") / "videos"))


@pytest.fixture(scope="module")
def searched(videos: Path) -> Path:
    out = videos.parent / "run"
    assert main(["search", "--space", "tiny", "--data", str(videos), "-o", str(out), *SHORT]) == 0
    return out


@pytest.mark.slow
def test_a_search_says_what_it_has_learned_from(searched: Path, videos: Path) -> None:
    weights = open_supernet_weights(searched)
    assert weights.source == str(videos)
    assert weights.classes == CLASSES


@pytest.mark.slow
def test_an_evaluation_has_the_supernets_weights_recalibrated(
    searched: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(searched), "--json", "--decoders", "0"]) == 0
    out, err = capsys.readouterr()
    assert NOTE in err.splitlines()
    evaluation = json.loads(out)
    assert (evaluation["recalibrated"], evaluation["crop"], evaluation["decoded"]) == (64, 16, 12)
    assert "the supernet&#39;s weights" in page([read_run(searched)])
    trained, weights = open_trained(searched), open_supernet_weights(searched)
    net = build(load_architecture(searched / "architecture.yaml"), 12)
    inherit(net, weights.net)
    copied = {name: value.clone() for name, value in net.state_dict().items()}
    assert calibrate(net, weights.searched.settings, open_videos(videos), Compute("cpu", "fp32")) == 64
    for name, value in trained.net.state_dict().items():
        assert torch.equal(value, net.state_dict()[name])  # the same kernels on the same clips
        assert ("running" in name) != torch.equal(value, copied[name])
    assert autovid.evaluate(autovid.api.SearchRun(searched)).top1 == evaluation["top1"]


@pytest.mark.slow
def test_an_export_and_a_prediction_say_where_the_weights_are_from(
    searched: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, clip = tmp_path / "out", next((videos / "val" / CLASSES[0]).iterdir())
    assert main(["export", str(searched), "-o", str(out)]) == 0
    assert f"autovid export: {searched}: {NOTE}" in capsys.readouterr().err
    manifest = json.loads((out / "model.json").read_text())
    assert manifest["trained"]["recalibrated"] == 64
    assert manifest["classes"] == list(CLASSES)
    assert NOTE in (out / "README.md").read_text()
    guesses = []
    for model in (out, searched):
        assert main(["predict", str(model), str(clip), "--json", "--device", "cpu"]) == 0
        shown = capsys.readouterr()
        assert NOTE in shown.err
        guesses.append([guess["probability"] for guess in json.loads(shown.out)["top"]])
    assert guesses[0] == pytest.approx(guesses[1], abs=1e-4)  # what every export is held to


def test_without_its_videos_a_line_says_so(
    searched: Path, videos: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(videos, tmp_path / "away")
    try:
        capsys.readouterr()
        for command in (["evaluate", str(searched)], ["export", str(searched), "-o", str(tmp_path / "out")]):
            assert main(command) == 4
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert f"the videos of this search are not at {videos} any more" in line
        assert main(["evaluate", str(searched), "--data", str(tiny_videos), "--decoders", "0"]) == 0
    finally:
        shutil.move(tmp_path / "away", videos)


def test_a_training_starts_from_the_supernet(
    searched: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a learning rate that moves nothing; a resumed one has to be the same."""
    words = ["train", str(searched), "--inherit", "--data", str(videos), *TRAINING, "-o", str(tmp_path / "run")]
    assert main([*words, "--dry-run"]) == 0
    assert "start    the supernet's weights, of each layer its part" in capsys.readouterr().out
    still = ["--lr", "1e-12", "--weight-decay", "0"]
    assert main([*words, *still]) == 0
    assert "starts anew" not in capsys.readouterr().out
    assert RunDirectory.open(tmp_path / "run").config["inherit"] is True
    net = build(find_model(searched), 12)
    inherit_weights(net, find_weights(searched))
    theirs = open_trained(tmp_path / "run").net.state_dict()
    for name, value in net.named_parameters():
        # A rate of 1e-12 with momentum moves by 1e-11 of a gradient, which 1e-9 allows to be 100; copies are exact.
        assert torch.allclose(theirs[name], value, rtol=0, atol=1e-9), name
    words.remove("--inherit")
    assert main([*words, *still, "--resume"]) == 5
    assert "inherit: True there" in capsys.readouterr().err


def test_other_classes_have_a_new_classifier(
    searched: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "fewer"
    for split in ("train", "val"):
        for name in CLASSES[:5]:
            shutil.copytree(videos / split / name, fewer / split / name)
    words = ["train", str(searched), "--inherit", "--data", str(fewer), *TRAINING, "-o", str(tmp_path / "run")]
    assert main(words) == 0
    line = "the classifier starts anew: the search has learned other classes (12 there, 5 here)"
    assert line in capsys.readouterr().out.splitlines()
    config = RunDirectory.open(tmp_path / "run").config
    assert (config["new_head"], config["inherit"]) == (True, True)
    torch.manual_seed(0)
    net = build(find_model(searched), 12)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inherit_weights(net, find_weights(searched), new_head=True)
    for name, value in net.state_dict().items():
        if HEAD.match(name):
            assert torch.equal(value, before[name])  # as it was


def test_what_has_no_supernet_is_refused_in_one_line(
    searched: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch = searched / "architecture.yaml"
    scaled = Path(shutil.copytree(searched, tmp_path / "scaled"))
    load_architecture(arch).scaled(depth_factor=2.0).save(scaled / "architecture.yaml")
    load_space("tiny").sample(1, seed=0)[0].save(tmp_path / "a.yaml")
    mistakes = [
        ([str(tmp_path / "a.yaml")], "is not the run of a search with a supernet"),
        (["tsn_resnet18"], "is not the run of a search with a supernet"),
        ([str(searched), "--weights", "x.safetensors"], "leave one of them out"),
        ([str(scaled)], "is not an architecture of the space that was searched"),
        (["rms_mini_kinetics"], "--inherit is for the run of a search"),
    ]
    capsys.readouterr()
    for words, message in mistakes:
        data = [] if words == ["rms_mini_kinetics"] else TRAINING
        assert main(["train", *words, "--inherit", "--data", str(videos), *data, "-o", str(tmp_path / "r")]) == 2, words
        (line,) = [line for line in capsys.readouterr().err.strip().splitlines() if line]
        assert message in line
    assert not (tmp_path / "r").exists()
    assert main(["evaluate", str(scaled), "--decoders", "0"]) == 2
    assert "autovid derive" in capsys.readouterr().err
