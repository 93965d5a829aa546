"""Hand-designed networks by name, trained and evaluated as architectures are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small import train
from stopping import StopAt
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.costs.count import count
from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError, RunError
from autovid.models import NETWORKS, Network, NetworkSpec, load_model
from autovid.registry import Registered
from autovid.run import Interrupted
from autovid.train import Recipe, evaluate, find_architecture, find_model, make_recipe, open_trained

SPEC = NetworkSpec(network="tsn_resnet18", options={"temporal_pooling": True})


def recipe(spec: NetworkSpec = SPEC, **changes: Any) -> Recipe:
    """Two steps of twelve small clips."""
    small = {"epochs": 1, "batch": 12, "frames": 4, "crop": 32, "lr": 0.01, "precision": "fp32"}
    return make_recipe(spec, name="proxy", **{**small, **changes})


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture(scope="module")
def whole(videos: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training of two steps."""
    out = tmp_path_factory.mktemp("network") / "run"
    train(out, videos, SPEC, recipe=recipe())
    return out


@pytest.mark.slow
def test_the_run_directory_holds_the_network_that_was_trained(whole: Path, videos: VideoSet) -> None:
    assert load_model(whole / "architecture.yaml") == SPEC.changed(classes=12, frames=4, crop=32)
    assert find_model(whole) == load_model(whole / "architecture.yaml")
    trained = open_trained(whole, "cpu")
    assert (trained.model.hash, trained.net.classes, trained.step) == (SPEC.hash, 12, 2)
    assert trained.net.eval()(torch.randn(1, 3, 4, 32, 32)).shape == (1, 12)


def test_evaluating_later_gives_what_training_gave_at_its_end(whole: Path, videos: VideoSet) -> None:
    file = whole / "evaluation-center.json"
    before = file.read_text()
    file.unlink()
    evaluate(open_trained(whole, "cpu"), videos)
    assert file.read_text() == before  # the same code on the same bytes, which a checkpoint keeps


def test_larger_views_cost_what_the_counter_counts_there(whole: Path, videos: VideoSet) -> None:
    trained = open_trained(whole, "cpu")
    evaluation = evaluate(trained, videos, "10-lcr")
    assert evaluation.crop == 36
    assert evaluation.macs_per_view == count(trained.net, Clip(4, 36)).macs > count(trained.net, Clip(4, 32)).macs


def test_stopped_and_resumed_it_is_the_same_bit_for_bit(whole: Path, videos: VideoSet, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path / "run", videos, SPEC, recipe=recipe(), progress=StopAt(1))
    train(tmp_path / "run", videos, SPEC, recipe=recipe(), resume=True)
    mine, theirs = (open_trained(path, "cpu").net.state_dict() for path in (tmp_path / "run", whole))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)  # the same code on the same bytes


def test_another_network_or_option_or_size_is_refused(whole: Path, videos: VideoSet) -> None:
    with pytest.raises(RunError, match="architecture"):
        train(whole, videos, NetworkSpec(network="tsn_resnet18"), recipe=recipe(), resume=True)
    with pytest.raises(RunError, match=r"recipe\.frames: 4 there, 8 now"):
        train(whole, videos, SPEC, recipe=recipe(frames=8), resume=True)


def test_frames_are_sampled_as_the_network_wants(
    videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autovid.data import clips

    seen: set[Clip] = set()

    def spied(indices: Any) -> Any:
        return lambda n, clip, *more: (seen.add(clip), indices(n, clip, *more))[1]

    monkeypatch.setattr(clips, "train_indices", spied(clips.train_indices))
    monkeypatch.setattr(clips, "test_indices", spied(clips.test_indices))
    train(tmp_path / "run", videos, SPEC, recipe=recipe(epochs=0.5))
    assert {(clip.sampling, clip.frames, clip.crop) for clip in seen} == {("uniform", 4, 32)}


def test_the_proxy_keeps_the_frames_of_a_network_that_takes_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*, classes: int = 5, frames: int = 40, crop: int = 224) -> Network:
        if frames % 5:
            raise ConfigError(f"{frames} frames: give a multiple of 5")
        return _Plain(classes, Clip(frames, crop, stride=3))

    monkeypatch.setitem(NETWORKS._registered, "fives", Registered("five frames each", make, ""))
    spec = NetworkSpec(network="fives")
    full, proxy = make_recipe(spec), make_recipe(spec, name="proxy")
    assert (full.frames, full.crop, full.stride) == (40, 224, 3)
    assert (proxy.frames, proxy.crop) == (40, 32)
    assert make_recipe(SPEC, name="proxy").frames == 16
    with pytest.raises(ConfigError, match="16 frames: give a multiple of 5"):
        make_recipe(spec, name="proxy", frames=16)


class _Plain(Network):
    def __init__(self, classes: int, clip: Clip) -> None:
        super().__init__()
        self.clip, self.classes, self.linear = clip, classes, nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.mean((2, 3, 4)))
        return logits


def test_a_random_baseline_needs_an_architecture(whole: Path) -> None:
    with pytest.raises(ConfigError, match="tsn_resnet18; give an architecture"):
        find_architecture(whole)
