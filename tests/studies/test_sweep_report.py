from pathlib import Path

from small import ARCH, recipe

from autovid.data import VideoSet, open_videos
from autovid.studies.sweep import SweepTraining
from autovid.train import Evaluation


def test_halving_is_told_each_epochs_accuracy_on_val(tiny_videos: Path, tmp_path: Path) -> None:
    videos = open_videos(tiny_videos)
    few = VideoSet("few", videos.root, videos.classes, videos.train[::6], videos.val[::3])
    told: list[tuple[int, float]] = []
    chosen = recipe(epochs=2, batch=4, validate_every=1)
    training = SweepTraining(("lr=0.05",), ARCH, chosen, few, str(videos.root), device="cpu")
    evaluation = training.run(tmp_path, lambda epoch, top1: told.append((epoch, top1)))
    assert isinstance(evaluation, Evaluation)
    assert [epoch for epoch, _ in told] == [1, 2]
    assert evaluation.top1 == max(top1 for _, top1 in told)
