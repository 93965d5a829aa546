"""Top-1 and top-5 of videos seen in several views."""

from typing import NamedTuple

import torch
from torch import Tensor

from autovid import distributed


class Accuracy(NamedTuple):
    """In percent of the `videos` that were seen; top-5 is None where five guesses cover every class."""

    top1: float
    top5: float | None
    videos: int


class Scores(NamedTuple):
    """An accuracy, and how many videos of each class (row) were taken for which (column): int64 (C, C)."""

    top1: float
    top5: float | None
    videos: int
    confusion_CC: Tensor

    def of_classes(self) -> list[float | None]:
        """Top-1 of each class in percent, None for one without a video."""
        counts = self.confusion_CC.sum(1).tolist()
        hits = self.confusion_CC.diagonal().tolist()
        return [100 * hit / count if count else None for hit, count in zip(hits, counts)]


class ViewAverage:
    """Averages the softmax probabilities of all views of a video, in float64, in any order of arrival.

    Shapes: B views in a batch, N videos, C classes.
    """

    def __init__(self, videos: int, classes: int) -> None:
        self._sums_NC = torch.zeros(videos, classes, dtype=torch.float64)
        self._views_N = torch.zeros(videos, dtype=torch.int64)

    def add(self, logits_BC: Tensor, video_B: Tensor) -> None:
        """Takes the logits of some views of the videos numbered `video_B`."""
        self._sums_NC.index_add_(0, video_B.cpu(), logits_BC.cpu().double().softmax(1))
        self._views_N.index_add_(0, video_B.cpu(), torch.ones_like(video_B, device="cpu"))

    def share(self) -> None:
        """Adds what the other workers have seen."""
        distributed.add_([self._sums_NC, self._views_N])

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """(probabilities (n, C), numbers (n,)) of the n videos that were seen."""
        seen = self._views_N.nonzero().squeeze(1)
        return self._sums_NC[seen] / self._views_N[seen, None], seen


def accuracy(probabilities_NC: Tensor, labels_N: Tensor) -> Accuracy:
    """How often the label is the first guess, or among the first five; what is as probable counts as guessed before."""
    own_N1 = probabilities_NC.gather(1, labels_N[:, None])
    rank_N = (probabilities_NC >= own_N1).sum(1)
    count, classes = probabilities_NC.shape
    return Accuracy(_percent(rank_N <= 1), _percent(rank_N <= 5) if classes > 5 else None, count)


def scores(probabilities_NC: Tensor, labels_N: Tensor) -> Scores:
    """The accuracy, and the confusion of first guesses (of equally probable ones the first class)."""
    classes = probabilities_NC.shape[1]
    pairs_N = labels_N * classes + probabilities_NC.argmax(1) if len(labels_N) else labels_N
    confusion = torch.bincount(pairs_N, minlength=classes**2).view(classes, classes)
    return Scores(*accuracy(probabilities_NC, labels_N), confusion)


def _percent(hits_N: Tensor) -> float:
    return 100 * float(hits_N.double().mean()) if len(hits_N) else 0.0
