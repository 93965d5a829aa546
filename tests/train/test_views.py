import json
from pathlib import Path

import pytest
import torch
from small import ARCH, train
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.data import FaultLog, VideoSet, open_videos
from autovid.errors import ConfigError, DataError, DivergedError, RunError
from autovid.kernels.compute import Compute
from autovid.run import RunDirectory
from autovid.train import evaluate, open_trained
from autovid.train.accuracy import Meter, evaluate_network

CLIP = Clip(frames=4, crop=24, stride=2)


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture(scope="module")
def run(videos: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("views") / "run"
    train(out, videos)
    return out


class Recorded(nn.Module):
    """Answers with fixed logits for the clips in their order of arrival, and remembers the clips."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.classes, self.seen = logits, logits.shape[1], 0
        self.shapes: set[tuple[int, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        start, self.seen = self.seen, self.seen + len(x)
        self.shapes.add(tuple(x.shape[1:]))
        return self.logits[start : self.seen]


@pytest.mark.parametrize(("views", "count"), [("center", 1), ("lcr", 3), ("2-lcr", 6), ("10", 10), ("10-lcr", 30)])
def test_the_views_of_each_video_are_averaged(videos: VideoSet, views: str, count: int) -> None:
    """Against the average by hand, of a network that answers at random.

    Both are in float64, so that none of the 12 videos has two classes as near as rounding; percentages of 12 are exact
    to 1e-14.
    """
    logits = 3 * torch.randn(12 * count, 12, generator=torch.Generator().manual_seed(count))
    net = Recorded(logits)
    evaluation = evaluate_network(net, CLIP, videos.val, videos.root, views, Compute("cpu", "fp32"))  # type: ignore[arg-type]
    guess = logits.double().softmax(1).view(12, count, 12).mean(1).topk(5).indices
    labels = torch.tensor([video.label for video in videos.val])[:, None]
    assert net.seen == 12 * count
    assert net.shapes == {(3, 4, 24, 24)}
    assert evaluation.top1 == pytest.approx(100 * (guess[:, :1] == labels).double().mean().item())
    assert evaluation.top5 == pytest.approx(100 * (guess == labels).double().sum(1).mean().item())


def test_a_broken_video_is_left_out_and_listed(videos: VideoSet, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = type(videos.val[0])(str(tmp_path / "broken.mp4"), 0)
    listed = (*videos.val[:2], broken, *videos.val[2:])
    net = Recorded(torch.eye(12) * 9)
    compute, faults = Compute("cpu", "fp32"), FaultLog(len(listed), tmp_path / "faults.jsonl")
    meter = Meter(CLIP, listed, videos.root, "center", compute, faults=faults)
    evaluation = meter.measure(net)  # type: ignore[arg-type]
    assert evaluation[:3] == (100.0, 100.0, 12)
    assert evaluation.confusion_CC.tolist() == torch.eye(12, dtype=torch.int64).tolist()
    assert "broken.mp4" in (tmp_path / "faults.jsonl").read_text()


def test_a_network_of_nans_gets_no_accuracy(videos: VideoSet) -> None:
    net = Recorded(torch.full((12, 12), float("nan")))
    with pytest.raises(DivergedError, match="nan"):
        evaluate_network(net, CLIP, videos.val, videos.root, "center", Compute("cpu", "fp32"))  # type: ignore[arg-type]


def test_evaluating_later_gives_what_training_gave_at_its_end(run: Path, videos: VideoSet) -> None:
    file = run / "evaluation-center.json"
    before = file.read_text()
    file.unlink()
    evaluate(open_trained(run, "cpu"), videos)
    assert file.read_text() == before  # the same code on the same bytes, which a checkpoint keeps


def test_left_centre_and_right_are_larger_and_cost_more(run: Path, videos: VideoSet) -> None:
    trained = open_trained(run, "cpu")
    center = evaluate(trained, videos)
    lcr = evaluate(trained, videos, "10-lcr")
    assert (center.crop, lcr.crop) == (24, 28)  # 8/7 of it
    assert (center.views_per_video, lcr.views_per_video) == (1, 30)
    assert lcr.gflops_per_video == pytest.approx(30 * lcr.gflops_per_view)  # of one integer
    assert lcr.macs_per_view > center.macs_per_view
    assert "28" in lcr.convention
    assert json.loads((run / "evaluation-10-lcr.json").read_text())["top1"] == lcr.top1


def test_the_cost_of_a_view_is_what_the_closed_form_says(run: Path, videos: VideoSet) -> None:
    trained = open_trained(run, "cpu")
    evaluation = evaluate(trained, videos, "10-lcr")
    table = ARCH.as_space().cost_table(crop=evaluation.crop, frames=evaluation.frames, classes=12)
    assert evaluation.macs_per_view == int(table.macs([ARCH])[0])
    assert evaluation.params == sum(p.numel() for p in trained.net.parameters())


def test_views_at_a_short_side_of_their_own_have_a_file_too(run: Path, videos: VideoSet) -> None:
    evaluation = evaluate(open_trained(run, "cpu"), videos, "1@28")
    assert (evaluation.views, evaluation.crop, evaluation.views_per_video) == ("center@28", 24, 1)
    assert json.loads((run / "evaluation-center@28.json").read_text())["views"] == "center@28"
    with pytest.raises(ConfigError, match="a crop of 24 does not fit into a short side of 20"):
        evaluate(open_trained(run, "cpu"), videos, "center@20")


def test_another_split_has_a_file_of_its_own(run: Path, videos: VideoSet) -> None:
    before = (run / "evaluation-center.json").read_text()
    assert evaluate(open_trained(run, "cpu"), videos, split="train").videos == 24
    assert (run / "evaluation-center-train.json").is_file()
    assert (run / "evaluation-center.json").read_text() == before


def test_other_classes_are_refused(run: Path, videos: VideoSet) -> None:
    other = VideoSet("other", videos.root, ("cat", *videos.classes[1:]), videos.train, videos.val)
    with pytest.raises(DataError, match=r"they differ.*cat.*--data"):
        evaluate(open_trained(run, "cpu"), other)


def test_unknown_views_and_splits_are_refused(run: Path, videos: VideoSet) -> None:
    trained = open_trained(run, "cpu")
    with pytest.raises(ConfigError, match="10-lcr"):
        evaluate(trained, videos, "20-corner")
    with pytest.raises(ConfigError, match="val, test, train"):
        evaluate(trained, videos, split="some")


def test_only_a_training_can_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        open_trained(tmp_path)
    with (
        RunDirectory.create_or_resume(tmp_path / "search", {}, kind="search"),
        pytest.raises(RunError, match="autovid search"),
    ):
        open_trained(tmp_path / "search")
    with (
        RunDirectory.create_or_resume(tmp_path / "new", {"recipe": {}}, kind="train"),
        pytest.raises(RunError, match="checkpoint"),
    ):
        open_trained(tmp_path / "new")
