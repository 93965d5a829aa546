"""The supernet of a search: how its shared weights learn, and how good it takes architectures to be.

It belongs to no strategy, and it holds every decision of the space until the search ends: a part of the search says
which architectures are drawn, and drops no weights. A graph of one architecture at a time is in memory, however many an
update has.

Workers (autovid.distributed) draw the same architectures, and take them side by side: they are dealt by their MACs, and
each worker computes its own on the whole batch. So no norm waits for another worker, gradients are summed once, and the
step is that of one worker. Where there are fewer architectures than workers, or the settings say so, each worker
computes all of them on its shard of the batch, with norms over all shards.

Running statistics of norms are then of the architectures that a worker took, and differ between workers; those of rank
0 are saved. Nothing that a search computes reads them: learning and scoring normalise by the batch, and the choice
takes statistics anew. They depend on rank 0's own past alone, so that a resumed search saves the same ones.

The paper prints the optimizer (SGD), rate, momentum and weight decay 5e-5; proxies may have AdamW, which is ours. Ours,
where it is silent: the decay is on all
weights of the supernet, batch norms among them (in training it is not on those, see autovid/train/recipe.py). How
weights begin: see autovid/models/builder.py. Shapes: K architectures, D decisions, B clips.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid import distributed
from autovid.clip import Clip
from autovid.data import Batch, ClipLoader, FaultLog, FrameCache, VideoSet, hold_out
from autovid.data.index import Video
from autovid.data.shards import Root
from autovid.errors import DivergedError
from autovid.kernels.compute import Compute
from autovid.layers.sync_batch import convert_sync_batch, variance_needed
from autovid.models import build_space
from autovid.search.chance import Chance
from autovid.search.problem import Choices
from autovid.search.settings import ChoiceSettings, SearchSettings
from autovid.search.strategy import Scores
from autovid.space import Architecture, SearchSpace
from autovid.space.space import MacsTable

WEIGHTS, HELD_OUT = 0, 1  # the two sets of training videos
CLASSIFIER = "sites.classifier."  # both of its layers
BETA2 = 0.95  # of AdamW: with 0.99 the squares still hold the large gradients of the first updates when 100 are done


class Deal(NamedTuple):
    """The architectures, by number, that this worker computes; `apart`: on the whole batch, without the others."""

    numbers: Sequence[int]
    apart: bool


class Supernet:
    """One network over a space: `learn` moves its weights, `score` judges architectures.

    Satisfies `autovid.search.strategy.Evaluator`. `by_file`: the parts of a file are held out together.
    """

    def __init__(
        self,
        space: SearchSpace,
        videos: VideoSet,
        settings: SearchSettings,
        compute: Compute,
        workers: int,
        faults: FaultLog | None,
        cache: FrameCache | None = None,
        by_file: bool = True,
    ) -> None:
        self.settings, self.compute, self.classes = settings, compute, len(videos.classes)
        self._clip = clip = Clip(settings.frames, settings.crop, settings.stride)
        self._workers, self._cache = workers, cache
        self.choice = settings.choice or ChoiceSettings()
        parts = hold_out(videos.train, settings.held_out_fraction, settings.seed, by_file=by_file)
        labels = [video.label for video in parts[HELD_OUT]]
        self._held_out_videos, self._root = parts[HELD_OUT], videos.root
        self.held_out = len(labels)  # clips
        self.chance = Chance.of(labels, self.classes, balanced=settings.balance)
        self._loaders = [
            ClipLoader(
                part, videos.root, clip, batch=settings.batch, train=True, seed=settings.seed + number,
                workers=workers, jitter=settings.jitter, flip=videos.flip, faults=faults,
                shard=(distributed.rank(), distributed.size()), cache=cache, balance=settings.balance,
            )
            for number, part in enumerate(parts)
        ]  # fmt: skip
        self._streams: list[tuple[int, Iterator[Batch]] | None] = [None, None]
        self._step, self._last = 0, settings.steps
        self._table: tuple[SearchSpace, MacsTable] | None = None  # of the space whose architectures were dealt last
        self._kept: list[tuple[Tensor, Tensor]] = []  # the held-out clips that are always the same
        torch.manual_seed(settings.seed)  # the weights are drawn from the global generator
        self.net = build_space(space, self.classes, norm_start=settings.norm_start).to(compute.device)
        convert_sync_batch(self.net, norms=settings.sync_norm)
        self.begin_part(settings.parts[0].lr)

    def begin_part(self, lr: float) -> None:
        """Begin a part with a new optimizer, and clips that are read ahead up to its end; the weights stay."""
        momentum, decay = self.settings.momentum, self.settings.weight_decay
        rates: dict[float, list[nn.Parameter]] = {1.0: []}
        for name, weight in self.net.named_parameters():
            rate = self.settings.classifier_rate if name.startswith(CLASSIFIER) else 1.0
            rates.setdefault(rate, []).append(weight)
        groups = [{"params": weights, "rate": rate} for rate, weights in rates.items()]
        self.optimizer: torch.optim.Optimizer
        if self.settings.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(groups, lr, (momentum, BETA2), weight_decay=decay, fused=True)
        else:  # its fused step refuses weights of which some have had no gradient yet
            self.optimizer = torch.optim.SGD(groups, lr, momentum=momentum, weight_decay=decay)
        self._streams = [None, None]

    def begin_step(self, step: int, last: int) -> None:
        """Say which step of the search is done next, and where its part ends: batches are read ahead up to there."""
        self._step, self._last = step, last

    def learn(
        self, space: SearchSpace, choices: Choices, weighting: Literal["equal", "likelihood"], scale: str, lr: float
    ) -> float:
        """Do one update of the weights on the next batch; return the mean loss of the architectures.

        `space` is the part's, which `choices` number the candidates of. `weighting` "likelihood" is PARSEC's:
        -sum_k m_k log p(y | A_k), m the softmax of the log-likelihoods, which are means over the batch, or with `scale`
        "sum" sums. Raises DivergedError before a weight moves.
        """
        x, y = self._batch(WEIGHTS)
        factor = float(len(y) * distributed.size()) if scale == "sum" else 1.0
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        weights, loss_K = StreamingSoftmax(), np.zeros(len(choices))
        seeds = torch.randint(2**62, (len(choices),)).tolist()  # an architecture's dropout is the same on any worker
        deal = self.deal(space, choices)
        with variance_needed(), torch.random.fork_rng(devices=[]), self.clips_of(deal, x, y) as (x, y):
            for k in deal.numbers:
                torch.manual_seed(seeds[k])
                loss = F.cross_entropy(self.logits(x, space.architecture(choices[k]), "train"), y)
                loss_K[k] = distributed.mean([float(loss.detach())])[0]
                weight, shrink = weights.weigh(-loss_K[k] * factor if weighting == "likelihood" else 0.0)
                self._scale_gradients(shrink)
                torch.autograd.backward(loss * weight)
        if deal.apart:
            distributed.add_([torch.from_numpy(loss_K)])
        everyone = StreamingSoftmax()
        for value in map(self._finite, loss_K.tolist()):
            everyone.weigh(-value * factor if weighting == "likelihood" else 0.0)
        self._scale_gradients(math.exp(weights.largest - everyone.largest) / everyone.total)
        share_gradients = distributed.add_gradients if deal.apart else distributed.average_gradients
        share_gradients(self.net.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("rate", 1.0)  # the groups of an older checkpoint say nothing
        self.optimizer.step()
        return float(loss_K.mean())

    def score(self, space: SearchSpace, choices: Choices, split: str = "held-out", clips: int | None = None) -> Scores:
        """Score architectures of a part's space on held-out clips, by forward passes alone.

        `clips`: on the first so many, always the same; None: on the next batch of the step.
        Norms use the statistics of each batch. Raises DivergedError for a loss that is not finite.
        """
        sums: dict[int, Tensor] = {}
        deal = self.deal(space, choices)
        with variance_needed(), torch.no_grad(), self.net.scoring():
            for batch in self._held_out(clips):
                with self.clips_of(deal, *batch) as (x, y):
                    for k in deal.numbers:
                        judged = self._judge(x, y, space.architecture(choices[k]))
                        sums[k] = sums[k] + judged if k in sums else judged
        sums_K4 = np.zeros((len(choices), 4))
        if sums:
            sums_K4[list(sums)] = torch.stack(list(sums.values())).cpu().numpy()  # waits for the device once
        distributed.add_([torch.from_numpy(sums_K4)])
        sum_K, square_K, correct_K, count_K = sums_K4.T
        loss_K, seen = np.array([self._finite(float(loss)) for loss in sum_K / count_K]), int(count_K[0])
        error_K = np.sqrt(np.maximum(0.0, square_K / count_K - loss_K**2) / max(1, seen - 1))
        return Scores(-loss_K, error_K, correct_K.astype(np.int64), seen, self.chance.loss)

    def deal(self, space: SearchSpace, choices: Choices) -> Deal:
        """Deal architectures to the workers; where each would not get one, all take all of them."""
        everyone = range(len(choices))
        if distributed.size() == 1:
            return Deal(everyone, True)
        if len(choices) < distributed.size() or self.settings.split == "batch":
            return Deal(everyone, False)
        if self._table is None or self._table[0] is not space:
            self._table = space, space.cost_table()
        return Deal(distributed.deal(self._table[1].total(choices).tolist()), True)

    @contextmanager
    def clips_of(self, deal: Deal, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the clips and labels that a deal's architectures see, of this worker's shard x, y of a batch."""
        if not deal.apart:
            yield x, y
            return
        x, y = distributed.gather_batch(x), distributed.gather_batch(y)
        with distributed.alone():
            yield x, y

    def batches(self, part: int, first: int, last: int) -> Iterator[Batch]:
        """Yield batches first .. last - 1 of the clips of a set, WEIGHTS or HELD_OUT."""
        return self._loaders[part].batches(first, last)

    def batches_of(self, part: int) -> int:
        """Return the number of batches after which all clips of a set have been seen."""
        return self._loaders[part].steps_per_epoch

    def close(self) -> None:
        """End the processes that read videos."""
        for loader in self._loaders:
            loader.close()

    def validation(self, videos: VideoSet) -> ClipLoader:
        """Open the centre views of some validation videos, as many of every class, and of each one at least."""
        some, most = videos.val, self.choice.val_clips
        if len(some) > most:
            some, _ = hold_out(some, 1 - most / len(some), self.settings.seed, by_file=False)
        return self._views(some, videos.root)

    def held_out_views(self) -> ClipLoader:
        """Open the centre views of the held-out videos, in a random order that is always the same.

        Networks are judged by these views in the end, too.
        """
        order = np.random.default_rng((*b"views", self.settings.seed)).permutation(len(self._held_out_videos))
        return self._views([self._held_out_videos[place] for place in order], self._root)

    def _views(self, videos: Sequence[Video], root: Root) -> ClipLoader:
        """Open centre views; a batch of all workers together has as many clips as that of an update."""
        return ClipLoader(
            videos, root, self._clip, batch=max(1, self.settings.batch // distributed.size()), train=False,
            workers=self._workers, shard=(distributed.rank(), distributed.size()), cache=self._cache,
        )  # fmt: skip

    def _judge(self, x: Tensor, y: Tensor, arch: Architecture) -> Tensor:
        """Return sums over the clips, float64 (4,): of losses, of their squares, of right answers, and of clips.

        They stay on the device, which goes on.
        """
        logits = self.logits(x, arch, "forward")
        losses = F.cross_entropy(logits, y, reduction="none").double()
        correct, clips = (logits.argmax(1) == y).sum(), y.new_tensor(len(y))
        loss = len(y) * F.cross_entropy(logits, y).double()
        return torch.stack([loss, (losses**2).sum(), correct.double(), clips.double()])

    def _held_out(self, clips: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        if clips is None:
            yield self._batch(HELD_OUT)
            return
        if not self._kept:  # decoded once: the same clips judge every architecture
            loader = self._loaders[HELD_OUT]
            count = min(-(-clips // self.settings.batch), loader.steps_per_epoch)
            self._kept = [(batch.x, batch.y) for batch in loader.batches(0, count)]
        for x, y in self._kept:
            yield self._on_device(x), self._on_device(y)

    def _batch(self, half: int) -> tuple[Tensor, Tensor]:
        stream = self._streams[half]
        if stream is None or stream[0] != self._step:
            stream = (self._step, self._loaders[half].batches(self._step, self._last))
        batch = next(stream[1])
        self._streams[half] = (self._step + 1, stream[1])
        return self._on_device(batch.x), self._on_device(batch.y)

    def _on_device(self, x: Tensor) -> Tensor:
        return x.to(self.compute.device, non_blocking=True)

    def logits(self, x: Tensor, arch: Architecture, kind: str) -> Tensor:
        with self.compute.autocast(kind):
            logits: Tensor = self.net(x, arch)
        return logits.float()

    def _scale_gradients(self, factor: float) -> None:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        if factor != 1.0 and gradients:
            torch._foreach_mul_(gradients, factor)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss of an architecture is {loss}; nothing was changed in this step: go on from the last "
                "checkpoint with a smaller --lr"
            )
        return loss


@dataclass
class StreamingSoftmax:
    """Weights of a softmax over values that come one by one, so that no more than one graph is ever in memory.

    For each value, `weigh` gives the factor for what is new and the factor by which the sums so far shrink; at the end
    `total` divides. The result is the softmax over all of them, up to rounding.
    """

    largest: float = -math.inf
    total: float = 0.0

    def weigh(self, value: float) -> tuple[float, float]:
        """Return (weight of this value, factor for everything before it)."""
        if value <= self.largest:
            weight, shrink = math.exp(value - self.largest), 1.0
        else:
            weight, shrink = 1.0, math.exp(self.largest - value)
            self.largest = value
        self.total = self.total * shrink + weight
        return weight, shrink
