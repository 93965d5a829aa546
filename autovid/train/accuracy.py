"""Top-1 and top-5 of a network on videos, or mAP where they have several classes; validation of a training as it runs.

Averaged are the probabilities of the views of a video: softmax, or sigmoid where a video may have several classes.
Validation says what val came to, which was best, and whether it is worth to go on. It changes nothing in the training:
the network is in evaluation mode meanwhile, no random number is drawn, and the statistics of norms stay as they are.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autovid import distributed
from autovid.clip import Clip
from autovid.data import ClipLoader, FaultLog, FrameCache, Video, VideoSet
from autovid.data.loader import multi_hot
from autovid.data.shards import Root
from autovid.data.views import views_of
from autovid.errors import DivergedError
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.run import Progress
from autovid.train.recipe import Recipe

PIXELS_AT_ONCE = 2**23  # in a batch of clips: bounds the memory
SMALLEST = 1e-300  # probability that counts in the loss, whose logarithm is finite
NAMES = {"top1": "top-1", "top5": "top-5", "map": "mAP", "hit1": "hit@1", "class_mean": "mean of classes"}  # of figures


class Accuracy(NamedTuple):
    """An accuracy in percent of `videos` videos; top-5 is None where five guesses cover every class.

    Confusions (C, C), int64: how many videos of each class (row) were predicted as which (column). The loss is the mean
    of -log of the probability of a video's class.

    Where videos have several classes, top-1 says for how many the likeliest class is one of theirs (hit@1), the loss is
    binary cross-entropy, there are no confusions, and `mean_ap` is the mean average precision in percent, of the
    classes that have a video: those of `ap` (C,), which is nan for the others.
    """

    top1: float
    top5: float | None
    videos: int
    confusion_CC: Tensor
    loss: float
    mean_ap: float | None = None
    ap_C: Tensor | None = None

    @property
    def score(self) -> float:
        """The figure that networks are compared by."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @property
    def figures(self) -> dict[str, float]:
        """The accuracies in percent by name; first the one that networks are compared by."""
        if self.mean_ap is not None:
            return {"map": self.mean_ap, "hit1": self.top1}
        return {"top1": self.top1} | ({} if self.top5 is None else {"top5": self.top5})

    def ap_of_classes(self) -> list[float | None]:
        """Return the average precision of each class in percent, None for one without a video."""
        values = [] if self.ap_C is None else self.ap_C.tolist()
        return [None if math.isnan(value) else value for value in values]

    def of_classes(self) -> list[float | None]:
        """Return top-1 of each class in percent, None for one without a video."""
        counts = self.confusion_CC.sum(1).tolist()
        hits = self.confusion_CC.diagonal().tolist()
        return [100 * hit / count if count else None for hit, count in zip(hits, counts)]

    def class_mean(self) -> float:
        """Return the mean of the top-1 of the classes that have a video, in percent."""
        values = [value for value in self.of_classes() if value is not None]
        return sum(values) / len(values) if values else 0.0


class ViewAverage:
    """An average of the probabilities of all views of a video, in float64, in any order of arrival.

    They are sigmoids where a video may have several classes (`multi_label`), else a softmax.

    Shapes: B views in a batch, N videos, C classes.
    """

    def __init__(self, videos: int, classes: int, multi_label: bool = False) -> None:
        self._multi_label = multi_label
        self._sums_NC = torch.zeros(videos, classes, dtype=torch.float64)
        self._views_N = torch.zeros(videos, dtype=torch.int64)

    def add(self, logits_BC: Tensor, video_B: Tensor) -> None:
        """Add the logits of some views of the videos numbered `video_B`."""
        logits_BC = logits_BC.cpu().double()
        self._sums_NC.index_add_(0, video_B.cpu(), logits_BC.sigmoid() if self._multi_label else logits_BC.softmax(1))
        self._views_N.index_add_(0, video_B.cpu(), torch.ones_like(video_B, device="cpu"))

    def all_reduce(self) -> None:
        """Add the sums of the other workers."""
        distributed.add_([self._sums_NC, self._views_N])

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Return (probabilities (n, C), numbers (n,)) of the n videos that were seen."""
        seen = self._views_N.nonzero().squeeze(1)
        return self._sums_NC[seen] / self._views_N[seen, None], seen


class Meter:
    """Measures networks on views of the same videos; its loader's processes stay until `close`."""

    def __init__(
        self,
        clip: Clip,
        videos: Sequence[Video],
        root: Root,
        views: str,
        compute: Compute,
        *,
        workers: int = 0,
        faults: FaultLog | None = None,
        cache: FrameCache | None = None,
        multi_label: bool = False,
    ) -> None:
        self._multi_label = multi_label
        batch = max(1, min(64, PIXELS_AT_ONCE // (clip.frames * clip.crop**2)))
        self._videos, self._compute = videos, compute
        self._batches = -(-len(videos) * views_of(views).total // (batch * distributed.size()))
        shard = (distributed.rank(), distributed.size())
        self._loader = ClipLoader(
            videos, root, clip, batch=batch, train=False, workers=workers, views=views, faults=faults, shard=shard,
            cache=cache,
        )  # fmt: skip

    def measure(self, net: Network, on_batch: Callable[[int, int], None] = lambda done, total: None) -> Accuracy:
        """Measure the accuracy, leaving broken videos out; `on_batch` gets the batches done, and all of them.

        Raises DivergedError for a broken network.
        """
        average = ViewAverage(len(self._videos), net.classes, self._multi_label)
        net.eval()
        on_batch(0, self._batches)
        with torch.inference_mode():
            for done, (x, _, video) in enumerate(self._loader.views_batches(), 1):
                with self._compute.autocast("forward"):
                    logits = net(x.to(self._compute.device, non_blocking=True))
                if not logits.isfinite().all():
                    first = self._videos[int(video[0])].path
                    raise DivergedError(f"the network gives nan or inf for {first}; train it again")
                average.add(logits, video)
                on_batch(done, self._batches)
        average.all_reduce()
        probabilities, seen = average.probabilities()
        if self._multi_label:
            return multi_label_accuracy(
                probabilities, multi_hot([self._videos[i].labels for i in seen.tolist()], net.classes)
            )
        labels = [self._videos[i].label for i in seen.tolist()]
        return accuracy(probabilities, torch.tensor(labels, dtype=torch.int64))

    def close(self) -> None:
        """End the loader's processes."""
        self._loader.close()


class Best(NamedTuple):
    """The best validation of a training so far, after `step` steps: by its score, of equals by the loss.

    The score is in percent: top-1, with --balance the mean of the classes, mAP where videos may have several classes.
    """

    step: int
    score: float
    loss: float


class Validation:
    """The validations of a training in `steps` steps, each by `meter`; `count` of them are done."""

    def __init__(self, recipe: Recipe, steps: int, meter: "ValMeter") -> None:
        self.recipe, self.steps, self._meter = recipe, steps, meter
        self.close = meter.close
        self.count, self._since = 0, 0
        self.best: Best | None = None
        self._notices: list[str] = []
        self._text = ""

    def run(self, net: Network, done: int) -> dict[str, float]:
        """Validate the network after `done` steps; return what is logged."""
        result = self._meter.measure(net)
        self.count += 1
        measured = result.figures
        if self.recipe.balance and result.mean_ap is None:
            measured = {"class_mean": result.class_mean(), **measured}
        key, score = next(iter(measured.items()))
        if self.best is None or (score, -result.loss) > (self.best.score, -self.best.loss):
            self.best, self._since = Best(done, score, result.loss), 0
        else:
            self._since += 1
        best = f"best {self.best.score:.2f} %, after epoch {self._epoch(self.best.step)}"
        name = NAMES[key]
        self._text = f"val {name} {score:.0f} %" + (f" (best {self.best.score:.0f} %)" if self._since else "")
        figures = [f"{NAMES[key]} {value:.2f} %" for key, value in measured.items()]
        self._notices.append(
            f"epoch {self._epoch(done)} of {self.recipe.epochs:g}: val {', '.join(figures)}, "
            f"loss {result.loss + 0.0:.4g} ({best if self._since else 'the best so far'})"
        )
        if self.ended() and done < self.steps:
            self._notices.append(
                f"the training ends here, as {self._since} validations brought no better {name} on val ({best})"
            )
        return {**{f"val_{key}": value for key, value in measured.items()}, "val_loss": result.loss}

    def ended(self) -> bool:
        """Return True if the recipe's patience is over."""
        return 0 < self.recipe.patience <= self._since

    def text(self) -> str:
        """Write the last result for the progress display; empty before the first."""
        return self._text

    def notices(self) -> list[str]:
        """Return new lines since the last call."""
        lines, self._notices = self._notices, []
        return lines

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed training needs, as JSON has it."""
        best = None if self.best is None else list(self.best)
        return {"count": self.count, "since": self._since, "best": best, "text": self._text, "ended": self.ended()}

    def load(self, state: dict[str, Any], steps: int) -> None:
        """Restore a state of a training that was to have `steps`; one that was prolonged since has patience again."""
        self.count, self._text = state["count"], state["text"]
        self.best = None if state["best"] is None else Best(*state["best"])
        self._since = state["since"] if steps == self.steps else 0

    def _epoch(self, step: int) -> str:
        return f"{step / self.steps * self.recipe.epochs:.3g}"


class ValMeter:
    """Measures a network in the centre view of the videos of val, and shows how far it is."""

    def __init__(
        self,
        videos: VideoSet,
        clip: Clip,
        compute: Compute,
        *,
        workers: int = 0,
        cache: FrameCache | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress if distributed.is_rank0() else None
        faults = FaultLog(len(videos.videos))  # the evaluation at the end writes the list
        self._meter = Meter(
            clip,
            videos.val,
            videos.root,
            "center",
            compute,
            workers=workers,
            faults=faults,
            cache=cache,
            multi_label=videos.multi_label,
        )
        self.close = self._meter.close

    def measure(self, net: Network) -> Accuracy:
        """Measure it, the one of the first worker."""
        with _statistics_of_rank0(net):
            return self._meter.measure(net, self._show)

    def _show(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress.say(f"validating · {100 * done // total} %")


def evaluate_network(
    net: Network,
    clip: Clip,
    videos: Sequence[Video],
    root: Root,
    views: str,
    compute: Compute,
    *,
    cache: FrameCache | None = None,
) -> Accuracy:
    """Measure the accuracy of one network over `videos`. Raises DivergedError for a broken one."""
    with contextlib.closing(Meter(clip, videos, root, views, compute, cache=cache)) as meter:
        return meter.measure(net)


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


def multi_label_accuracy(probabilities_NC: Tensor, targets_NC: Tensor) -> Accuracy:
    """Measure probabilities of classes that are each a yes (1) or a no (0); nothing of a class without a yes."""
    count = len(probabilities_NC)
    ap_C = torch.stack([average_precision(*column) for column in zip(probabilities_NC.T, targets_NC.T)])
    seen = ap_C[~ap_C.isnan()]
    mean_ap = 100 * float(seen.mean()) if len(seen) else 0.0
    hits = targets_NC.gather(1, probabilities_NC.argmax(1, keepdim=True)) if count else targets_NC
    hit1 = 100 * float(hits.double().mean()) if count else 0.0
    likely = torch.where(targets_NC > 0, probabilities_NC, 1 - probabilities_NC)  # what is true of each class
    loss = -float(likely.clamp_min(SMALLEST).log().mean()) if count else 0.0
    none = torch.zeros(0, 0, dtype=torch.int64)
    return Accuracy(hit1, None, count, none, loss, mean_ap, 100 * ap_C)


def average_precision(scores_N: Tensor, targets_N: Tensor) -> Tensor:
    """Return the mean, over the videos of a class, of the precision among all that score at least as high; else nan.

    Scores that are equal count as one step, so that no order of the videos matters; it is scikit-learn's
    `average_precision_score`.
    """
    scores_N, order_N = scores_N.sort(descending=True)
    hits_N = targets_N[order_N].double().cumsum(0)
    last_N = torch.ones(len(scores_N), dtype=torch.bool)
    last_N[:-1] = scores_N[1:] != scores_N[:-1]  # of those that score alike
    places, hits = last_N.nonzero().squeeze(1), hits_N[last_N]
    gained = hits.diff(prepend=hits.new_zeros(1))
    return (hits / (places + 1) * gained).sum() / gained.sum()


@contextlib.contextmanager
def _statistics_of_rank0(net: Network) -> Iterator[None]:
    """Let all workers measure the same network, the one that is saved, where they do not share statistics."""
    if distributed.size() == 1:
        yield
        return
    buffers = list(net.buffers())
    own = [buffer.clone() for buffer in buffers]
    distributed.broadcast_(buffers)
    yield
    with torch.no_grad():
        for buffer, mine in zip(buffers, own):
            buffer.copy_(mine)


def held_out_note(videos: VideoSet) -> str:
    """Say which videos are val where the data set has none."""
    total = len(videos.train) + len(videos.val)
    return (
        f"{videos.name} has no val: {len(videos.val)} of its {total} videos to train on, a share of each class, are "
        "held out for validation"
    )
