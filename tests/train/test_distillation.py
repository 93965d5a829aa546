"""A teacher: its part of the loss, what is refused, and a training that goes on with it.

Weights are compared to the bit: the same code on the same bytes.
"""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from small import recipe, train
from stopping import StopAt

from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError, DataError, RunError
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.run import Interrupted, RunDirectory
from autovid.train import resume_training
from autovid.train.recipe import Distillation
from autovid.train.task import Teacher


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture(scope="module")
def taught(videos: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of three steps, and in the folder beside it a pupil of as many."""
    out = tmp_path_factory.mktemp("taught")
    train(out / "teacher", videos, recipe=recipe(epochs=1, seed=1))
    train(out / "pupil", videos, recipe=recipe(epochs=1, mixup=0.2), teacher=out / "teacher")
    return out


class Says(Network):
    """A network that says the same of every clip."""

    def __init__(self, logits: torch.Tensor, multi_label: bool = False) -> None:
        super().__init__()
        self.logits, self.multi_label = logits, multi_label

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_the_loss_is_hintons() -> None:
    """Sums of a dozen fp32 numbers of about 1: right to 1e-6; 1e-5 is above that."""
    torch.manual_seed(0)
    said, logits = torch.randn(3, 5), torch.randn(3, 5)
    teacher, usual = Teacher(Says(said), Distillation(3.0, 0.25)), torch.tensor(2.0)
    assert torch.equal(teacher.logits(torch.zeros(3)), said)
    soft = (said / 3).softmax(1)
    entropy = -(soft * soft.log()).sum(1).mean()
    loss = teacher.loss(usual, logits, said)
    by_hand = 0.75 * usual + 0.25 * 9 * (F.cross_entropy(logits / 3, soft) - entropy)
    assert torch.allclose(loss, by_hand, rtol=0, atol=1e-5)
    for multi_label in (False, True):
        pupil = Teacher(Says(said, multi_label), Distillation(3.0, 1.0))
        assert float(pupil.loss(usual, said, said)) == pytest.approx(0, abs=1e-5)
        assert float(pupil.loss(usual, logits, said)) > 0.01


@pytest.mark.slow
def test_a_pupil_learns_other_weights_and_goes_on_bit_for_bit(videos: VideoSet, taught: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": recipe(epochs=1, mixup=0.2), "teacher": taught / "teacher"}
    with pytest.raises(Interrupted):
        train(tmp_path / "run", videos, progress=StopAt(2), **options)
    again = shutil.copytree(tmp_path / "run", tmp_path / "again")
    train(tmp_path / "run", videos, resume=True, **options)
    resume_training(again, videos, source=str(videos.root), compute=Compute("cpu", "fp32"))
    runs = (taught / "pupil", tmp_path / "run", again)
    whole, *others = (RunDirectory.open(path).load(3).state.model for path in runs)
    for other in others:
        assert all(torch.equal(value, other[name]) for name, value in whole.items())
    train(tmp_path / "alone", videos, recipe=recipe(epochs=1, mixup=0.2))
    alone = RunDirectory.open(tmp_path / "alone").load(3).state.model
    assert any(not torch.equal(value, alone[name]) for name, value in whole.items())


def test_another_teacher_is_refused_when_it_goes_on(videos: VideoSet, taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "taught")
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(
            out, videos, recipe=recipe(epochs=1), teacher=tmp_path / "taught" / "teacher", progress=StopAt(1)
        )  # fmt: skip
    with pytest.raises(RunError, match="teacher"):
        train(out, videos, recipe=recipe(epochs=1), teacher=taught / "pupil", resume=True)
    shutil.rmtree(tmp_path / "taught" / "teacher")
    with pytest.raises(RunError, match="the teacher .* is not there any more, or has other weights; put it back"):
        resume_training(out, videos, source=str(videos.root), compute=Compute("cpu", "fp32"))


def test_teachers_of_other_clips_classes_or_blends_are_refused(videos: VideoSet, taught: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"teacher": taught / "teacher"}
    with pytest.raises(ConfigError, match="clips of another size; give --frames 8 --crop 24 --stride 1"):
        train(tmp_path / "run", videos, recipe=recipe(epochs=1, crop=16), **options)
    with pytest.raises(ConfigError, match="sees its clips otherwise: their sampling is dense, and uniform here"):
        train(tmp_path / "run", videos, recipe=recipe(epochs=1, sampling="uniform"), **options)
    fewer = msgspec.structs.replace(videos, classes=("other", *videos.classes[1:]))
    with pytest.raises(DataError, match="12 classes, .* has learned 12, and they differ"):
        train(tmp_path / "run", fewer, recipe=recipe(epochs=1), **options)
    with pytest.raises(ConfigError, match="distillation .*: give a temperature above 0"):
        recipe(distillation=Distillation(0.0))
    assert not (tmp_path / "run").exists()
