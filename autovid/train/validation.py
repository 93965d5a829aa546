"""Validation of a training while it runs: its results, the best of them, and whether it is worth to go on.

It changes nothing in the training: the network is in evaluation mode meanwhile, no random number is drawn, and the
statistics of norms stay as they are.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from autovid import distributed
from autovid.clip import Clip
from autovid.data import FaultLog, FrameCache, VideoSet
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.run import Progress
from autovid.train.accuracy import Accuracy, Meter
from autovid.train.recipe import Recipe

NAMES = {"top1": "top-1", "top5": "top-5", "map": "mAP", "hit1": "hit@1"}  # of figures


class Best(NamedTuple):
    """The best validation of a training so far, after `step` steps: by top-1 (mAP), percent, of equals by the loss."""

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
        if self.best is None or (result.score, -result.loss) > (self.best.score, -self.best.loss):
            self.best, self._since = Best(done, result.score, result.loss), 0
        else:
            self._since += 1
        best = f"best {self.best.score:.2f} %, after epoch {self._epoch(self.best.step)}"
        measured = result.figures
        name = NAMES[next(iter(measured))]
        self._text = f"val {name} {result.score:.0f} %" + (f" (best {self.best.score:.0f} %)" if self._since else "")
        figures = [f"{NAMES[key]} {value:.2f} %" for key, value in measured.items()]
        self._notices.append(
            f"epoch {self._epoch(done)} of {self.recipe.epochs:g}: val {', '.join(figures)}, loss {result.loss:.4g} "
            f"({best if self._since else 'the best so far'})"
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
