"""Top-1 and top-5 of a network on videos: the softmax probabilities of a video's views are averaged."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autovid import distributed
from autovid.clip import Clip
from autovid.data import ClipLoader, FaultLog, FrameCache, Video
from autovid.data.views import views_of
from autovid.errors import DivergedError
from autovid.kernels.compute import Compute
from autovid.models import Network

PIXELS_AT_ONCE = 2**23  # in a batch of clips: bounds the memory
SMALLEST = 1e-300  # probability that counts in the loss, whose logarithm is finite


class Accuracy(NamedTuple):
    """An accuracy in percent of `videos` videos; top-5 is None where five guesses cover every class.

    Confusions (C, C), int64: how many videos of each class (row) were predicted as which (column). The loss is the mean
    of -log of the probability of a video's class.
    """

    top1: float
    top5: float | None
    videos: int
    confusion_CC: Tensor
    loss: float

    def of_classes(self) -> list[float | None]:
        """Return top-1 of each class in percent, None for one without a video."""
        counts = self.confusion_CC.sum(1).tolist()
        hits = self.confusion_CC.diagonal().tolist()
        return [100 * hit / count if count else None for hit, count in zip(hits, counts)]


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
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Accuracy:
    """Measure the accuracy over `videos`, except broken ones; `on_batch` gets the batches done, and all of them.

    Raises DivergedError for a broken network.
    """
    batch = max(1, min(64, PIXELS_AT_ONCE // (clip.frames * clip.crop**2)))
    shard = (distributed.rank(), distributed.size())
    loader = ClipLoader(
        videos, root, clip, batch=batch, train=False, workers=workers, views=views, faults=faults, shard=shard,
        cache=cache,
    )  # fmt: skip
    average = ViewAverage(len(videos), net.classes)
    total = -(-len(videos) * views_of(views).total // (batch * distributed.size()))
    net.eval()
    on_batch(0, total)
    with contextlib.closing(loader), torch.inference_mode():
        for done, (x, _, video) in enumerate(loader.views_batches(), 1):
            with compute.autocast("forward"):
                logits = net(x.to(compute.device, non_blocking=True))
            if not logits.isfinite().all():
                raise DivergedError(f"the network gives nan or inf for {videos[int(video[0])].path}; train it again")
            average.add(logits, video)
            on_batch(done, total)
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
    loss = -float(own_N1.clamp_min(SMALLEST).log().mean()) if count else 0.0
    return Accuracy(top1, top5 if classes > 5 else None, count, confusion, loss)
