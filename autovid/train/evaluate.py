"""Top-1 and top-5 of a network on videos, each seen in one view or several (autovid.data.views).

Three crops are cut at the larger size of "Searching for Two-Stream Models in Multivariate Space for Video Recognition",
Gong et al., 2021, arXiv:2108.12957, Table 3. The softmax probabilities of a video's views are
averaged.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from autovid import distributed
from autovid.clip import Clip
from autovid.costs import convention
from autovid.costs.count import count
from autovid.data import ClipLoader, FaultLog, FrameCache, Video, VideoSet
from autovid.data.lists import csv_text
from autovid.data.views import views_name, views_of
from autovid.errors import ConfigError, DataError, DivergedError
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.run import Progress, write_atomic
from autovid.space.schema import Reference
from autovid.train.inherited import check_classes
from autovid.train.recipe import view_crop
from autovid.train.trained import Trained

PIXELS_AT_ONCE = 2**23  # in a batch of clips: bounds the memory
SPLITS = ("val", "train")


class Accuracy(NamedTuple):
    """An accuracy in percent of `videos` videos; top-5 is None where five guesses cover every class.

    Confusions (C, C), int64: how many videos of each class (row) were predicted as which (column).
    """

    top1: float
    top5: float | None
    videos: int
    confusion_CC: Tensor

    def of_classes(self) -> list[float | None]:
        """Return top-1 of each class in percent, None for one without a video."""
        counts = self.confusion_CC.sum(1).tolist()
        hits = self.confusion_CC.diagonal().tolist()
        return [100 * hit / count if count else None for hit, count in zip(hits, counts)]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy of a trained network on a data set, and its cost. Accuracies in percent, GFLOPs = 1e9 MACs."""

    architecture: str  # its hash
    step: int  # of the checkpoint
    steps: int  # of the whole training
    data: str
    fingerprint: str
    split: str
    videos: int
    decoded: int
    views: str
    views_per_video: int
    frames: int
    stride: int
    crop: int
    top1: float
    top5: float | None
    params: int
    macs_per_view: int
    gflops_per_view: float
    gflops_per_video: float
    convention: str
    top1_of_classes: dict[str, float | None] = {}  # None where no video of a class was decoded
    recalibrated: int = 0  # training clips of a supernet's norms; 0: the weights are those of a training

    def to_json(self) -> str:
        """Encode for machines."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"


class ViewAverage:
    """An average of the softmax probabilities of all views of a video, in float64, in any order of arrival.

    Shapes: B views in a batch, N videos, C classes.
    """

    def __init__(self, videos: int, classes: int) -> None:
        self._sums_NC = torch.zeros(videos, classes, dtype=torch.float64)
        self._views_N = torch.zeros(videos, dtype=torch.int64)

    def add(self, logits_BC: Tensor, video_B: Tensor) -> None:
        """Add the logits of some views of the videos numbered `video_B`."""
        self._sums_NC.index_add_(0, video_B.cpu(), logits_BC.cpu().double().softmax(1))
        self._views_N.index_add_(0, video_B.cpu(), torch.ones_like(video_B, device="cpu"))

    def share(self) -> None:
        """Add the sums of the other workers."""
        distributed.add_([self._sums_NC, self._views_N])

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Return (probabilities (n, C), numbers (n,)) of the n videos that were seen."""
        seen = self._views_N.nonzero().squeeze(1)
        return self._sums_NC[seen] / self._views_N[seen, None], seen


def evaluate(
    trained: Trained,
    videos: VideoSet,
    views: str = "center",
    split: str = "val",
    *,
    workers: int = 0,
    cache: FrameCache | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate, and write evaluation-VIEWS.json (evaluation-VIEWS-train.json for that split) into the run directory.

    Beside it stands confusion-VIEWS.csv.

    Workers (autovid.distributed) share the videos; the first one writes.
    Raises DataError if the videos have other classes than the network, or too many of them are broken.
    """
    chosen, views = split_of(videos, split), views_name(views)
    progress = progress if distributed.is_rank0() else None
    check_classes(videos, trained.classes, trained.path)
    clip = trained.recipe.clip(trained.net.clip)
    clip = msgspec.structs.replace(clip, crop=view_crop(clip.crop, views))
    faults = FaultLog(len(chosen), trained.path / "faults.jsonl" if trained.path.is_dir() else None)
    measured = evaluate_network(
        trained.net,
        clip,
        chosen,
        videos.root,
        views,
        trained.compute,
        workers=workers,
        faults=faults,
        cache=cache,
        progress=progress,
    )
    evaluation = Evaluation(
        architecture=trained.model.hash,
        step=trained.step,
        steps=trained.steps,
        data=videos.name,
        fingerprint=videos.fingerprint,
        split=split,
        videos=len(chosen),
        decoded=measured.videos,
        views=views,
        frames=clip.frames,
        stride=clip.stride,
        crop=clip.crop,
        top1=measured.top1,
        top5=measured.top5,
        top1_of_classes=dict(zip(videos.classes, measured.of_classes())),
        recalibrated=trained.recalibrated,
        **_cost(trained, clip, views),
    )
    if distributed.is_rank0():
        file = evaluation_file(trained.path, views, split)
        rows = [[name, *row] for name, row in zip(videos.classes, measured.confusion_CC.tolist())]
        write_atomic(confusion_file(file), csv_text([["class", *videos.classes], *rows]))
        write_atomic(file, evaluation.to_json())
    return evaluation


def _cost(trained: Trained, clip: Clip, views: str) -> dict[str, Any]:
    cost, number = count(trained.net, clip), views_of(views).total
    return {
        "views_per_video": number,
        "params": cost.params,
        "macs_per_view": cost.macs,
        "gflops_per_view": cost.macs / 1e9,
        "gflops_per_video": cost.macs * number / 1e9,
        "convention": convention(Reference.of(clip, trained.net.classes)),
    }


def evaluation_file(path: Path, views: str = "center", split: str = "val") -> Path:
    """Return the file of an evaluation in the run directory `path`."""
    return path / f"evaluation-{views}{'' if split == 'val' else f'-{split}'}.json"


def confusion_file(evaluation: Path) -> Path:
    """Return confusion-VIEWS.csv beside evaluation-VIEWS.json: a row a class, a column a predicted class."""
    return evaluation.with_name(evaluation.name.replace("evaluation-", "confusion-", 1)).with_suffix(".csv")


def read_evaluation(path: Path, views: str = "center") -> Evaluation | None:
    """Read an evaluation on val in a run directory; None if there is none that can be read."""
    try:
        return msgspec.json.decode(evaluation_file(path, views).read_bytes(), type=Evaluation)
    except (OSError, msgspec.MsgspecError):
        return None


def evaluate_network(
    net: Network,
    clip: Clip,
    videos: Sequence[Video],
    root: Path,
    views: str,
    compute: Compute,
    *,
    workers: int = 0,
    faults: FaultLog | None = None,
    cache: FrameCache | None = None,
    progress: Progress | None = None,
) -> Accuracy:
    """Measure the accuracy over `videos`, except broken ones. Raises DivergedError for a broken network."""
    batch = max(1, min(64, PIXELS_AT_ONCE // (clip.frames * clip.crop**2)))
    shard = (distributed.rank(), distributed.size())
    loader = ClipLoader(
        videos, root, clip, batch=batch, train=False, workers=workers, views=views, faults=faults, shard=shard,
        cache=cache,
    )  # fmt: skip
    average = ViewAverage(len(videos), net.classes)
    total = -(-len(videos) * views_of(views).total // (batch * distributed.size()))
    net.eval()
    with _shown(progress, total), contextlib.closing(loader), torch.inference_mode():
        for done, (x, _, video) in enumerate(loader.views_batches(), 1):
            with compute.autocast("forward"):
                logits = net(x.to(compute.device, non_blocking=True))
            if not logits.isfinite().all():
                raise DivergedError(f"the network gives nan or inf for {videos[int(video[0])].path}; train it again")
            average.add(logits, video)
            if progress is not None:
                progress.update(done, f"evaluating, {views} views", {})
    average.share()
    probabilities, seen = average.probabilities()
    return accuracy(probabilities, torch.tensor([videos[i].label for i in seen.tolist()], dtype=torch.int64))


def accuracy(probabilities_NC: Tensor, labels_N: Tensor) -> Accuracy:
    """Count labels among the first guess and the first five; equally probable classes count as guessed before.

    Confusions are of the first guess, of equally probable ones of the first class.
    """
    own_N1 = probabilities_NC.gather(1, labels_N[:, None])
    rank_N = (probabilities_NC >= own_N1).sum(1)
    count, classes = probabilities_NC.shape
    pairs_N = labels_N * classes + probabilities_NC.argmax(1) if count else labels_N
    confusion = torch.bincount(pairs_N, minlength=classes**2).view(classes, classes)
    top1, top5 = (100 * float((rank_N <= k).double().mean()) if count else 0.0 for k in (1, 5))
    return Accuracy(top1, top5 if classes > 5 else None, count, confusion)


def split_of(videos: VideoSet, split: str) -> tuple[Video, ...]:
    """Return the videos of a split. Raises ConfigError where there is no such split, DataError where it is empty."""
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}: choose one of {', '.join(SPLITS)}")
    chosen = videos.train if split == "train" else videos.val
    if not chosen:
        file = videos.root / f"{videos.name}.csv"
        raise DataError(
            f"{file if file.is_file() else videos.root}: no videos in its split {split}; give each class some in the "
            "column split, or, to hold out one video in five, leave that column out (two videos of a class are needed)"
        )
    return chosen


@contextlib.contextmanager
def _shown(progress: Progress | None, total: int) -> Iterator[None]:
    if progress is None:
        yield
        return
    progress.start(total, 0, "evaluating")
    try:
        yield
    finally:
        progress.close()
