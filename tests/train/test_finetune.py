"""Fine-tuning: layers that rest, another classifier, weights of networks that nest in each other.

Weights are compared to the bit where they must not have moved, or come from the same checkpoint.
"""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small import ARCH, SPACE, recipe, train
from stopping import StopAt

from autovid.cli import main
from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError
from autovid.models import build, inherit
from autovid.models.builder import HEAD, nesting
from autovid.run import Interrupted, RunDirectory
from autovid.space import load_space
from autovid.train import make_recipe
from autovid.train.finetune import clip_size, fit
from autovid.train.optimizer import FrozenLayers
from autovid.train.recipe import Freeze, Multiples
from autovid.train.trained import find_weights, recorded_recipe


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture(scope="module")
def learned(videos: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three steps."""
    out = tmp_path_factory.mktemp("learned") / "run"
    train(out, videos, recipe=recipe(epochs=1))
    return out


def state(path: Path, step: int) -> dict[str, torch.Tensor]:
    return RunDirectory.open(path).load(step).state.model


@pytest.mark.slow
def test_the_body_rests_and_then_learns_and_a_stop_changes_nothing(
    videos: VideoSet, learned: Path, tmp_path: Path
) -> None:
    """Weights, and statistics of norms, over two of three steps; the classifier learns all the time."""
    chosen = recipe(epochs=1, freeze=Freeze(("body",), 2 / 3), validate_every=0)
    options: dict[str, Any] = {"recipe": chosen, "weights": find_weights(learned)}
    train(tmp_path / "whole", videos, **options)
    with pytest.raises(Interrupted):
        train(tmp_path / "halves", videos, progress=StopAt(2), **options)
    start, rested = state(learned, 3), state(tmp_path / "halves", 2)
    moved = {name for name, value in rested.items() if not torch.equal(value, start[name])}
    assert moved
    assert all(map(HEAD.match, moved))
    train(tmp_path / "halves", videos, resume=True, **options)
    end, whole = state(tmp_path / "halves", 3), state(tmp_path / "whole", 3)
    assert all(torch.equal(value, whole[name]) for name, value in end.items())
    assert sum(not torch.equal(value, start[name]) for name, value in end.items()) > len(end) / 2


def test_layers_are_named_by_modules_weights_and_patterns() -> None:
    net = build("tsn_resnet18", 12, frames=1, crop=32)
    names = [name for name, _ in net.named_modules() if hasattr(net.get_submodule(name), "running_var")]
    first = names[0]
    frozen = FrozenLayers(net, Freeze((first, "classifier.bias")), 1)
    frozen.prepare(0)
    resting = {name for name, weight in net.named_parameters() if not weight.requires_grad}
    assert resting == {f"{first}.weight", f"{first}.bias", "classifier.bias"}
    assert [name for name in names if not net.get_submodule(name).training] == [first]
    net.train()
    frozen.prepare(1)
    assert all(weight.requires_grad for weight in net.parameters())
    for wrong, message in (("clasifier", "did you mean classifier"), ("*", "no layer is left that could learn")):
        with pytest.raises(ConfigError, match=message):
            FrozenLayers(net, Freeze((wrong,)), 1)
    with pytest.raises(ConfigError, match="freeze .*: give layers and more than 0 epochs, at most the 2 of training"):
        recipe(freeze=Freeze(("body",), 3))


def test_the_recipe_takes_a_tenth_of_the_rate_and_the_size_of_what_was_learned(learned: Path) -> None:
    tuned = make_recipe(SPACE, name="finetune", epochs=12, **clip_size(learned))
    assert (tuned.frames, tuned.crop, tuned.stride) == (8, 24, 1)
    assert (tuned.lr, tuned.lr_multiples) == (0.1 * 16 * 0.4 / 256, Multiples(classifier=10))
    assert tuned.freeze == Freeze(("body",), 2)


def test_the_command_finds_out_what_fits(
    videos: VideoSet, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three of the classes, so that the classifier is another."""
    few = tmp_path / "few"
    for name in videos.classes[:3]:
        for split in ("train", "val"):
            (few / split / name).mkdir(parents=True)
            for file in (videos.root / split / name).iterdir():
                (few / split / name / file.name).write_bytes(file.read_bytes())
    command = ["train", str(learned), "--recipe", "finetune", "--data", str(few), "--epochs", "2", "--batch", "4"]
    command += ["--device", "cpu", "--decoders", "0", "-o", str(tmp_path / "tuned")]
    assert main(command) == 2
    assert "--recipe finetune starts from weights: give --weights" in capsys.readouterr().err
    assert main([*command, "--weights", str(learned), "--set", "freeze={layers: [body], epochs: 1}"]) == 0
    assert "the classifier starts anew: the weights are for other classes (12 there, 3 here)" in capsys.readouterr().out
    config = RunDirectory.open(tmp_path / "tuned").config
    assert (config["new_head"], recorded_recipe(config).freeze, config["recipe"]["crop"]) == (
        True,
        Freeze(("body",), 1),
        24,
    )


def small_x3d(**choices: Any) -> Any:
    """An architecture of the space x3d whose every decision has its first candidate, or another."""
    space = load_space("x3d")
    values = {name: choices.get(name.rsplit(".", 1)[1], candidates[0]) for name, candidates in space.candidates.items()}
    return space.fix(values).architecture([0] * len(values)).scaled(32, 4, 1.0, 2)


def test_networks_of_one_macro_nest_in_each_other(videos: VideoSet, tmp_path: Path) -> None:
    """A larger one computes what the smaller does, until it learns.

    These are sums in another order of numbers of about 1 in float64: 1e-9 is far above their rounding, and far below
    what a random channel would add.
    """
    torch.manual_seed(0)
    small, large = (build(small_x3d(**choices), 12) for choices in ({}, {"temporal_kernel": 3, "expansion": 2.25}))
    for module in small.modules():
        if hasattr(module, "running_var"):  # not what a new norm does
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean)
    inherit(large, small)
    x = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        one, other = (net.double().eval()(x) for net in (small, large))
    assert torch.allclose(one, other, rtol=0, atol=1e-9)
    file = tmp_path / "large.safetensors"
    safetensors.torch.save_file({n: t.float().contiguous().clone() for n, t in large.state_dict().items()}, file)
    fitted = fit(small_x3d(), recipe(), file, videos, new_head=False)
    assert (fitted.new_head, fitted.sliced) == (True, True)
    assert "cut or widened" in fitted.notes[0]
    with pytest.raises(ConfigError, match="tensors of this network: it is of another kind"):
        nesting(build(ARCH, 12), file)
