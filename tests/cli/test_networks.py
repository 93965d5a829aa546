"""Hand-designed networks on the command line: list, describe, train, evaluate."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import autovid
from autovid.cli import main
from autovid.models import MODULES, NETWORKS, Network
from autovid.models.network import DoesNotFit
from autovid.registry import Registered

TINY = ["--epochs", "1", "--batch", "12", "--frames", "4", "--crop", "32", "--lr", "0.01"]
TINY += ["--device", "cpu", "--precision", "fp32", "--decoders", "0", "--recipe", "proxy"]
NAME = "tsn_resnet18"


def described(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["describe", *words, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "Traceback" not in error
    return error


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A module called `scale` that fits everything but with factor 0, and what it was last given."""
    options: dict[str, Any] = {}

    def attach(net: Network, *, factor: float = 1.0, stages: Sequence[int] = ()) -> None:
        if factor == 0:
            raise DoesNotFit("it has no zero")
        options.update(factor=factor, stages=[*stages])

    monkeypatch.setitem(MODULES._registered, "scale", Registered("does nothing, by a factor", attach, ""))
    return options


@pytest.mark.parametrize("words", [["list"], ["--help"]])
def test_what_can_be_chosen_is_shown_without_torch(words: list[str]) -> None:
    """In a process of its own, since this one has torch; importing it takes seconds."""
    code = (
        "import contextlib, sys; from autovid.cli import main\n"
        f"with contextlib.suppress(SystemExit): main({words!r})\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout


def test_list_shows_every_network_and_module_with_a_line(
    scale: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "models"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown and about in shown for name, about in NETWORKS.about().items())
    assert main(["list", "models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": NETWORKS.about()}
    assert main(["list", "modules", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modules"]["scale"] == "does nothing, by a factor"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["describe", "--help"], ["list", "--help"]])
def test_help_imports_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom autovid.cli import main\n"
        f"try: main({words})\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_describe_counts_as_count_does(capsys: pytest.CaptureFixture[str]) -> None:
    with torch.device("meta"):
        net = autovid.build(NAME, classes=174, frames=4, crop=112, temporal_pooling=True)
    counted = autovid.count(net)
    words = [NAME, "--classes", "174", "--frames", "4", "--crop", "112", "--temporal-pooling"]
    description = described(words, capsys)
    assert (description["params"], description["macs"], description["macs_by_kind"]) == (
        counted.params,
        counted.macs,
        counted.macs_by_kind,
    )
    assert description["input"] == {"frames": 4, "crop": 112, "classes": 174}
    assert (description["options"], description["clip"]["sampling"]) == ({"temporal_pooling": True}, "uniform")


def test_the_stages_add_up_to_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    description = described(["tsn_resnet50"], capsys)
    stages = {stage["name"]: stage for stage in description["stages"]}
    assert list(stages) == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "classifier"]
    assert sum(stage["macs"] for stage in stages.values()) == description["macs"]
    assert sum(stage["params"] for stage in stages.values()) == description["params"]
    assert stages["stem"] == {"name": "stem", "macs": 8 * 112**2 * 64 * 3 * 7**2, "params": 64 * 3 * 7**2 + 2 * 64}
    assert main(["describe", "tsn_resnet50"]) == 0
    shown = capsys.readouterr().out
    assert f"{stages['stages.3']['params']:,}" in shown
    for words in ("24.33 M parameters", "1 GFLOPs = 1e9 MACs", "8 frames of 224x224, one of each equal part"):
        assert words in shown


def test_options_are_yaml_scalars_and_lists_and_the_shorthand_is_one(
    scale: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    long = described([NAME, "--option", "temporal_pooling=true", "--option", "dropout=1e-1"], capsys)
    short = described([NAME, "--temporal-pooling", "--option", "dropout=0.1"], capsys)
    assert long == short
    description = described([NAME, "--with", "scale:stages=[4,5],factor=2.5"], capsys)
    assert description["with"] == {"scale": {"stages": [4, 5], "factor": 2.5}}
    assert scale == {"stages": [4, 5], "factor": 2.5}
    described([NAME, "--with", "scale"], capsys)
    assert scale == {"stages": [], "factor": 1.0}


def test_a_yaml_file_of_a_network_is_what_it_says(
    scale: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"network: {NAME}\nclasses: 10\ncrop: 64\noptions: {{dropout: 0.2}}\nwith:\n  scale: {{factor: 3}}\n"
    )
    description = described([str(file), "--frames", "4"], capsys)
    sizes = ["--classes", "10", "--crop", "64", "--frames", "4"]
    assert description == described([NAME, *sizes, "--option", "dropout=0.2", "--with", "scale:factor=3"], capsys)
    assert description["hash"] == autovid.load_model(file).hash


def test_a_clip_of_which_nothing_is_left_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "tsm_resnet50", "--option", "non_local=true", "--crop", "16"]) == 2
    assert "crop 16: nothing is left of a clip so small" in one_line(capsys)


def test_mistakes_are_one_line_each_with_exit_code_2(
    scale: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("classes: 10\nnetwork: tsn_resnet8\n")
    mistakes = [
        (["tsn_resnet51"], "did you mean tsn_resnet50"),
        ([str(wrong)], "wrong.yaml:2: network: there is no network 'tsn_resnet8'; did you mean tsn_resnet18"),
        ([NAME, "--option", "deepness=3"], "no option 'deepness'; it has classes, frames, crop"),
        ([NAME, "--option", "dropout=much"], "option dropout"),
        ([NAME, "--option", "dropout"], "'dropout' is not KEY=VALUE"),
        ([NAME, "--option", "classes=3"], "classes is given beside the options"),
        ([NAME, "--with", "nothing"], "no module 'nothing'"),
        ([NAME, "--with", "scale:size=3"], "module scale has no option 'size'; it has factor, stages"),
        ([NAME, "--with", "scale:factor=0"], f"scale does not fit {NAME}: it has no zero"),
        ([NAME, "--with", "scale", "--with", "scale:factor=2"], "--with scale is given twice"),
        (["csn_r50", "--option", "interaction=full"], "interaction: one of reduced, preserved, but it is 'full'"),
        (["tiny", "--temporal-pooling"], "are for hand-designed networks"),
    ]
    for words, text in mistakes:
        for command in ("describe", "train"):
            if (command, words[0]) == ("train", "tiny"):
                continue
            assert main([command, *words]) == 2, words
            assert text in one_line(capsys), words


def test_train_evaluate_describe_and_go_on(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", NAME, "--temporal-pooling", "--data", str(tiny_videos), *TINY]
    assert main(words) == 0
    shown = capsys.readouterr().out
    out = next((tmp_path / "runs").iterdir()).relative_to(tmp_path)
    assert out.name.startswith(f"train-{NAME}-")
    assert "on 12 of 12 videos, centre view" in shown
    assert main(["evaluate", str(out), "--device", "cpu", "--decoders", "0", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    told = described([str(out)], capsys)
    assert told["input"] == {"frames": 4, "crop": 32, "classes": 12}
    assert (content["macs_per_view"], content["params"]) == (told["macs"], told["params"])
    assert out.name == f"train-{NAME}-{told['hash']}"
    assert main([*words, "--resume", "-o", str(out)]) == 0
    capsys.readouterr()
    plain = [word for word in words if word != "--temporal-pooling"]
    assert main([*plain, "--resume", "-o", str(out)]) == 5
    assert "architecture" in one_line(capsys)
    assert main(["random-baseline", "--searched", str(out), "--data", str(tiny_videos), *TINY]) == 2
    assert "give an architecture of a search space" in one_line(capsys)
