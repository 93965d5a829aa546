"""The examples of code of one's own, from a search to a training and an exported folder, on small videos."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import autovid
from autovid.blocks.registry import ATTENTIONS, BLOCKS
from autovid.cli import main
from autovid.costs import Params
from autovid.export import FILES
from autovid.models import inherit
from autovid.plugins import forget_plugins, load_plugins
from autovid.search import read_constraints
from autovid.search.constraints import final_constraints
from autovid.search.problem import whole_problem
from autovid.space import load_architecture, load_space
from autovid.testing import check_block, check_operation

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ATTENTION, BLOCK, COST = (EXAMPLES / f"my_{name}.py" for name in ("attention", "conv2plus1d", "cost"))
PLUGINS = ["--plugin", str(ATTENTION), "--plugin", str(BLOCK)]
SMALL = ["--device", "cpu", "--precision", "fp32", "--decoders", "0", "--recipe", "proxy", "--batch", "4"]

pytestmark = pytest.mark.usefixtures("without_plugins")


def test_they_keep_their_side_of_the_agreement() -> None:
    load_plugins([ATTENTION, BLOCK])
    check_operation(ATTENTIONS.load("row")(), "attention")
    candidates = {"temporal_kernel": (1, 3), "spatial_kernel": (3, 5), "middle": (0.75, 1.5)}
    check_block(BLOCKS.load("conv2plus1d")(), candidates)


def test_supernet_and_frozen_network_are_equal_to_the_bit() -> None:
    space = load_space(EXAMPLES / "my_space.yaml", plugins=[ATTENTION, BLOCK])
    supernet, x = autovid.build(space), torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        for arch in space.sample(6, seed=1):
            supernet.train()(x, arch)
            net = autovid.build(arch)
            inherit(net, supernet)
            # Both call the same operations on the same layouts (tests/models/test_builder.py).
            assert torch.equal(net.eval()(x), supernet.eval()(x, arch))
            assert autovid.count(net).macs == arch.macs()


@pytest.mark.slow
def test_from_a_search_to_predictions(tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As if each command were a process of its own: without its plugins it says which it needs."""
    run, arch, trained, folder = (tmp_path / name for name in ("search", "arch.yaml", "train", "export"))
    data = ["--data", str(tiny_videos)]
    searching = ["search", "--space", str(EXAMPLES / "my_space.yaml"), *data, *SMALL, "--steps", "3", "--samples", "3"]
    training = ["train", str(arch), *data, *SMALL, "--epochs", "1", "-o", str(trained)]
    video = next(tiny_videos.glob("val/*/*.mp4"))
    commands = [
        [*searching, "-o", str(run)],
        ["derive", str(run), "-o", str(arch)],
        ["describe", str(arch)],
        ["draw", str(arch), "-o", str(tmp_path / "a.svg")],
        training,
        ["evaluate", str(trained), *data, "--device", "cpu"],
        ["export", str(trained), "-o", str(folder)],
        ["predict", str(folder), str(video), "--device", "cpu"],
    ]
    for words in commands:
        assert main(words) == 2
        assert "--plugin " in capsys.readouterr().err
        assert main([*words, *PLUGINS]) == 0, words
        shown = capsys.readouterr().out
        for line in shown.splitlines():  # what to type next
            assert "autovid train" not in line or "--plugin" in line
    assert "my_conv2plus1d.py" in (run / "config.yaml").read_text()
    assert set(load_architecture(arch).choices) == set(load_space(EXAMPLES / "my_space.yaml").candidates)
    assert (folder / FILES["safetensors"]).is_file()


def test_a_training_does_not_go_on_with_another_content(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copy(BLOCK, tmp_path))
    space = load_space(EXAMPLES / "my_space.yaml", plugins=[ATTENTION, copy])
    space.sample(1)[0].save(tmp_path / "a.yaml")
    words = ["train", str(tmp_path / "a.yaml"), "--data", str(tiny_videos), *SMALL, "--epochs", "1"]
    words += ["-o", str(tmp_path / "run"), "--plugin", str(ATTENTION), "--plugin", str(copy)]
    assert main(words) == 0
    copy.write_text(copy.read_text() + "\n")
    assert main([*words, "--resume"]) == 2
    assert "was made with another my_conv2plus1d.py" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cost_constrains_a_search_and_what_is_derived_from_it(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, arch, own = str(tmp_path / "run"), tmp_path / "arch.yaml", ["--plugin", str(COST)]
    assert main(["list", "costs", *own]) == 0
    assert "weights  size of the weights in half precision" in capsys.readouterr().out
    searching = ["search", "--space", "tiny", "--weights", "0.15:0.2", "--data", str(tiny_videos), *SMALL]
    searching += ["--steps", "2", "--samples", "2", "--crop", "16", "--jitter", "16:20", "-o", run]
    assert main([*searching, "--dry-run", *own]) == 0
    assert "0.15:0.2 MB" in capsys.readouterr().out
    assert main([*searching, *own]) == 0
    assert 150_000 <= 2 * Params().of(load_architecture(Path(run) / "architecture.yaml")) <= 200_000
    assert main(["derive", run, "--weights", "0.1:0.12", "-o", str(arch), *own]) == 0
    assert "inside the range asked for, 0.1–0.12 MB" in capsys.readouterr().out
    forget_plugins()  # the network itself needs no plugin
    assert 100_000 <= 2 * Params().of(load_architecture(arch)) <= 120_000


def test_a_cost_has_an_option_of_its_own_only_with_its_plugin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["search", "--help", "--plugin", str(COST)])
    assert stop.value.code == 0
    assert "--weights MIN:MAX" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["search", "--weights", "0.1:0.2"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --weights" in capsys.readouterr().err
    taken = tmp_path / "taken.py"
    taken.write_text(COST.read_text(encoding="utf-8").replace('"weights", "weights", "w', '"weights", "budget", "w'))
    assert main(["search", "--dry-run", "--plugin", str(taken)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("autovid search: a cost's option is one that the command has already: ")


def test_architectures_are_drawn_inside_a_cost_of_ones_own() -> None:
    space = load_space("tiny", plugins=[COST])
    limits = final_constraints(read_constraints(space, {"weights": "0.1:0.11"}), space)
    rows = whole_problem(space, limits).sample(8, np.random.default_rng(0))
    assert all(100_000 <= 2 * Params().of(space.architecture(row)) <= 110_000 for row in rows)
