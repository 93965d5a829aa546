"""Choosing on evidence: what a search ends with, and how strong the evidence for it is. Ours.

The strategy's candidates are raced on held-out clips: all of them on a few, the better half on twice as many, and so
on. The norms of each have statistics of its own, taken on clips that the weights have learned from. Then the winner and
random architectures of the same constraints, which took no part in the choice, are judged on validation clips, which
nothing was chosen by: how many of them does it beat, as the supernet sees them?

Shapes: K architectures, N clips.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autovid import distributed
from autovid.blocks.elastic import ElasticBatchNorm
from autovid.data import Batch, VideoSet
from autovid.errors import RunError
from autovid.layers.sync_batch import variance_needed
from autovid.search.problem import Choices, Problem, distinct, prefers_nothing
from autovid.search.settings import ChoiceSettings
from autovid.search.strategy import Strategy
from autovid.search.supernet import HELD_OUT, WEIGHTS, Deal, Supernet
from autovid.space import Architecture, SearchSpace

EVIDENCE = "evidence.json"
RESAMPLES = 1000  # of the clips
LEVEL = 0.95  # of its interval
NEXT = 15  # of those that came next in a race, which are recorded
Show = Callable[[str, int, int], None]
"""Called with a phase, what is done of it, and how much there is."""


class Judged(msgspec.Struct, frozen=True):
    """An architecture as the supernet sees it; on how many clips, the mean loss in nats and the share that is right."""

    hash: str
    choices: dict[str, Any]
    macs: int
    clips: int
    loss: float
    accuracy: float


class ChoiceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The content of RUN/evidence.json.

    Attributes:
        chosen: the winner of the race, on the held-out clips that it ended with.
        raced: how many architectures took part in the race.
        next_best: up to NEXT of those that lost it, the best first, each on the clips that it was judged on.
        without_preference: whether the strategy's distribution preferred nothing, so that random draws were raced.
        chance, chance_accuracy: loss and accuracy of the best constant answer on held-out clips.
        on_val: the chosen one on validation clips; of a balanced search, each class counts as much as any other.
        val_chance_accuracy: accuracy of the best constant answer on these; None where a run has not recorded it.
        random: random architectures of the same constraints on the same clips.
        rivals_raced: how many of these took part in the race, since the constraints hold too few others.
        percentile: how many percent of these have a larger loss; None where there are none.
        interval: of the percentile, 95 %, over clips and random architectures.
        at_chance: whether the supernet was at chance when the search ended; what it prefers is noise then.
        moved_by_cost: of each part whose prior has moved, what part of that is due to cost, not to accuracy.
    """

    chosen: Judged
    raced: int
    chance: float
    chance_accuracy: float
    next_best: tuple[Judged, ...] = ()
    without_preference: bool = False
    on_val: Judged | None = None
    val_chance_accuracy: float | None = None
    random: tuple[Judged, ...] = ()
    rivals_raced: int = 0
    percentile: float | None = None
    interval: tuple[float, float] | None = None
    at_chance: bool = False
    moved_by_cost: dict[str, float] = {}

    @property
    def beats_random_ones(self) -> bool:
        """True if the percentile's interval lies above that of a random architecture, and the supernet has learned."""
        return self.interval is not None and self.interval[0] > 50 and not self.at_chance

    def said(self) -> dict[str, str]:
        """Return the evidence in sentences, by what they are about, the comparison with chance first."""
        chosen = self.chosen
        drawn = ", drawn at random as the prior prefers none," if self.without_preference else ""
        said = {
            "chosen": f"chosen among {self.raced} candidates{drawn} on {chosen.clips:,} held-out clips: the supernet "
            f"is right on {100 * chosen.accuracy:.1f} % of them (chance {100 * self.chance_accuracy:.1f} %)"
        }
        if self.on_val is not None and self.percentile is not None and self.interval is not None:
            low, high = self.interval
            none = "; that is no evidence that it is better than a random one"
            verdict = "" if self.beats_random_ones else none
            lost = f", of which {self.rivals_raced} lost the race (the ranges hold few others)"
            raced = lost if self.rivals_raced else ""
            chance = "" if self.val_chance_accuracy is None else f" (chance {100 * self.val_chance_accuracy:.1f} %)"
            said["against_random"] = (
                f"right on {100 * self.on_val.accuracy:.1f} % of {self.on_val.clips:,} validation clips{chance}: "
                f"better than {self.percentile:.0f} % (95 % interval {low:.0f} to {high:.0f}) of {len(self.random)} "
                f"random architectures of the same ranges{raced}, as the supernet sees them there{verdict}"
            )
        if self.moved_by_cost and not self.at_chance:
            parts = ", ".join(f"{100 * fraction:.0f} % in part {name}" for name, fraction in self.moved_by_cost.items())
            said["moved_by"] = f"the prior's movement is due to cost by {parts}; the rest is due to accuracy, or noise"
        return said

    def lines(self) -> list[str]:
        """Return the sentences of `said`."""
        return list(self.said().values())


def read_choice(run: Path) -> ChoiceEvidence | None:
    """Read the evidence of a run; None where nothing was chosen. Raises RunError."""
    file = run / EVIDENCE
    if not file.is_file():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=ChoiceEvidence)
    except (OSError, msgspec.MsgspecError) as error:
        raise RunError(f"{file} cannot be read ({error}); delete it, and go on with the search") from None


class Judge:
    """Judges fixed architectures with the weights of a supernet, each with norms of its own statistics."""

    def __init__(self, supernet: Supernet, space: SearchSpace, choices: Choices, clips: int) -> None:
        self.supernet = supernet
        self.archs = [space.architecture(row) for row in choices]
        self._norms = [module for module in supernet.net.modules() if isinstance(module, ElasticBatchNorm)]
        self._own = [[buffer.clone() for buffer in self._buffers()] for _ in self.archs]
        with self._statistics_kept():
            last = min(supernet.batches_of(WEIGHTS), -(-clips // supernet.settings.batch))
            self._calibrate(supernet.batches(WEIGHTS, 0, last), supernet.deal(space, choices))

    def judge(self, batches: Iterable[Batch], numbers: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return losses in nats and whether answers are right, both (K, N), of the architectures with these numbers."""
        losses: list[list[Tensor]] = [[] for _ in numbers]
        right: list[list[Tensor]] = [[] for _ in numbers]
        with self._statistics_kept(), torch.no_grad():
            for x, y in self._on_device(batches):
                for at, number in enumerate(numbers):
                    self._take(self._own[number])
                    logits = self.supernet.logits(x, self.archs[number], "forward")
                    losses[at].append(F.cross_entropy(logits, y, reduction="none").double().cpu())
                    right[at].append((logits.argmax(1) == y).double().cpu())
        return _gathered(losses), _gathered(right) > 0.5

    def _calibrate(self, batches: Iterable[Batch], deal: Deal) -> None:
        """Average the statistics of each architecture over the batches, as `autovid.train.task.recalibrate` does.

        Workers have architectures or clips of their own; all get all statistics, of clips their mean.
        """
        usual = [norm.momentum for norm in self._norms]
        for norm in self._norms:
            norm.train()
        with variance_needed(), torch.no_grad():
            for number, batch in enumerate(self._on_device(batches), 1):
                for norm in self._norms:
                    norm.momentum = 1 / number
                with self.supernet.clips_of(deal, *batch) as (x, _):
                    for k in deal.numbers:
                        self._take(self._own[k])
                        self.supernet.logits(x, self.archs[k], "forward")
                        for value, buffer in zip(self._own[k], self._buffers()):
                            value.copy_(buffer)
        for k, own in enumerate(self._own):
            torch._foreach_mul_(own, float(k in deal.numbers) if deal.apart else 1 / distributed.size())
        distributed.add_([value for own in self._own for value in own])
        for norm, momentum in zip(self._norms, usual):
            norm.momentum = momentum

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Leave the network as it was: inside, it evaluates, and its norms take statistics of one architecture."""
        training, shared = self.supernet.net.training, [buffer.clone() for buffer in self._buffers()]
        self.supernet.net.eval()
        try:
            yield
        finally:
            self._take(shared)
            self.supernet.net.train(training)

    def _buffers(self) -> list[Tensor]:
        return [buffer for norm in self._norms for buffer in (norm.running_mean, norm.running_var)]

    def _take(self, statistics: Sequence[Tensor]) -> None:
        for buffer, value in zip(self._buffers(), statistics):
            buffer.copy_(value)

    def _on_device(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.supernet.compute.device
        return ((batch.x.to(device, non_blocking=True), batch.y.to(device)) for batch in batches)


def _gathered(values: Sequence[Sequence[Tensor]]) -> NDArray[np.float64]:
    """Join what all workers have of each architecture: (K, N). A worker may have a clip less than another."""
    nothing = torch.zeros(0, dtype=torch.float64)  # of a worker without a clip
    own = torch.stack([torch.cat([nothing, *one]) for one in values])
    (most,) = distributed.largest([own.shape[1]])
    padded = F.pad(own, (0, most - own.shape[1]), value=float("nan"))
    joined: NDArray[np.float64] = distributed.gather(padded).permute(1, 0, 2).flatten(1).numpy()
    return joined[:, ~np.isnan(joined[0])]


def race(judge: Judge, clips: int, show: Show) -> list[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """Rank the architectures of `judge` by successive halving over centre views of held-out videos.

    All are judged on the first `clips`, the better half on twice as many, until one is left or the clips are all seen.
    Return their numbers, the best first, each with its losses and right answers on the clips that it was judged on,
    (N,), weighted as `clip_weights` says.
    """
    supernet, alive, lost = judge.supernet, list(range(len(judge.archs))), list[int]()
    losses: list[list[NDArray[np.float64]]] = [[] for _ in alive]
    right: list[list[NDArray[np.bool_]]] = [[] for _ in alive]
    label_N, available = np.zeros(0, np.int64), supernet.batches_of(HELD_OUT)
    seen, until = 0, min(available, -(-clips // supernet.settings.batch))
    rounds = max(1, math.ceil(math.log2(len(alive))))

    def joined(one: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        loss_N, right_N = np.concatenate(losses[one]), np.concatenate(right[one])
        weight_N = clip_weights(supernet, label_N[: len(loss_N)])
        return loss_N * weight_N, right_N * weight_N

    with closing(supernet.held_out_views()) as loader:
        views = loader.views_batches()
        for number in range(rounds):
            show("race", number, rounds)
            labels: list[int] = []
            loss_KN, right_KN = judge.judge(noting(islice(views, until - seen), labels), alive)
            for one, loss, answers in zip(alive, loss_KN, right_KN):
                losses[one].append(loss)
                right[one].append(answers)
            label_N = np.concatenate([label_N, gathered_labels(labels)])
            mean = {one: float(joined(one)[0].mean()) for one in alive}
            alive.sort(key=mean.__getitem__)  # equal ones stay in the strategy's order
            if until == available:
                break
            better = -(-len(alive) // 2)
            alive, lost = alive[:better], alive[better:] + lost
            seen, until = until, min(available, 2 * until)
            if len(alive) == 1:
                break
    show("race", rounds, rounds)
    return [(one, *joined(one)) for one in alive + lost]


def noting(batches: Iterable[Batch], labels: list[int]) -> Iterator[Batch]:
    """Yield batches, and add the labels of their clips to `labels`."""
    for batch in batches:
        labels.extend(batch.y.tolist())
        yield batch


def gathered_labels(labels: Sequence[int]) -> NDArray[np.int64]:
    """Return the labels of all workers' clips, (N,), in the order of `Judge.judge`."""
    return np.asarray(_gathered([[torch.tensor(labels, dtype=torch.float64)]])[0], np.int64)


def clip_weights(supernet: Supernet, label_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of clips (N,): alike, or of a balanced search such that each class counts as any other."""
    return class_weights(label_N) if supernet.settings.balance else np.ones(len(label_N))


def passed_clips(settings: ChoiceSettings, held_out: float = math.inf, val: float = math.inf) -> int:
    """Return how many clips pass the network in a choice, where there are so many held-out and validation clips."""
    total, field, seen, until = 0, settings.candidates, 0.0, min(held_out, float(settings.clips))
    for _ in range(max(1, math.ceil(math.log2(max(1, field))))):
        total += field * int(until - seen)
        field = -(-field // 2)
        seen, until = until, min(held_out, 2 * until)
    rivals = 1 + settings.random if val else 0
    return total + (settings.candidates + rivals) * settings.calibration + rivals * int(min(val, settings.val_clips))


def choose(
    supernet: Supernet,
    strategy: Strategy,
    problem: Problem,
    videos: VideoSet,
    show: Show = lambda phase, done, total: None,
    known: Choices | None = None,
) -> ChoiceEvidence:
    """Choose among the strategy's candidates, and compare the choice with random architectures.

    `problem` is that of `strategy`, behind the last part. `known`: architectures that take part in any case, (K, D),
    fewer than the candidates that the settings have.
    Raises CostRangeError where nothing lies inside its constraints.
    """
    settings, seed, constraints = supernet.choice, supernet.settings.seed, problem.constraints
    rng = np.random.default_rng((*b"choice", seed))
    places = settings.candidates - (0 if known is None else len(known))
    candidates = strategy.candidates(places, constraints, rng)
    if known is not None:
        candidates = distinct(np.concatenate([known, candidates]), settings.candidates)
    show("calibration", 0, 1)
    judge = Judge(supernet, problem.space, candidates, settings.calibration)
    ranked = race(judge, settings.clips, show)
    chosen, *others = (_judged(judge.archs[at], loss, right) for at, loss, right in ranked[: 1 + NEXT])
    log_probs = strategy.distribution()
    evidence = ChoiceEvidence(
        chosen=chosen,
        raced=len(candidates),
        next_best=tuple(others),
        without_preference=log_probs is not None and prefers_nothing([*log_probs, *problem.learned.values()]),
        chance=supernet.chance.loss,
        chance_accuracy=supernet.chance.accuracy,
    )
    number = ranked[0][0]
    rivals = problem.sample_others(settings.random, rng, candidates, constraints)
    missing = settings.random - len(rivals)
    raced = rng.permutation(np.delete(candidates, number, axis=0))[: max(0, missing)]
    rivals = np.concatenate([rivals, raced])
    if not len(rivals) or not videos.val:
        return evidence
    evidence = msgspec.structs.replace(evidence, rivals_raced=len(raced))
    return _against_random(evidence, supernet, problem.space, candidates[number], rivals, videos, show)


def _against_random(
    evidence: ChoiceEvidence,
    supernet: Supernet,
    space: SearchSpace,
    chosen: NDArray[np.int64],
    rivals: Choices,
    videos: VideoSet,
    show: Show,
) -> ChoiceEvidence:
    """Judge the chosen architecture and random ones on the same validation clips."""
    judge = Judge(supernet, space, np.concatenate([chosen[None], rivals]), supernet.choice.calibration)
    total = -(-min(len(videos.val), supernet.choice.val_clips) // supernet.settings.batch)

    labels: list[int] = []

    def counted() -> Iterator[Batch]:
        with closing(supernet.validation(videos)) as loader:
            for done, batch in enumerate(loader.views_batches()):
                show("against random ones", done, total)
                yield batch

    loss_KN, right_KN = judge.judge(noting(counted(), labels), range(len(judge.archs)))
    show("against random ones", total, total)
    label_N = gathered_labels(labels)
    weight_N = clip_weights(supernet, label_N)
    loss_KN = loss_KN * weight_N
    judged = [_judged(*one) for one in zip(judge.archs, loss_KN, right_KN * weight_N)]
    low, high = interval_of_percentile(loss_KN, np.random.default_rng((*b"interval", supernet.settings.seed)))
    return msgspec.structs.replace(
        evidence,
        on_val=judged[0],
        val_chance_accuracy=float(np.bincount(label_N, weight_N).max() / len(label_N)),
        random=tuple(judged[1:]),
        percentile=percentile(loss_KN.mean(1)),
        interval=(low, high),
    )


def class_weights(label_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights of clips (N,), with a mean of 1, by which each class counts as much as any other."""
    count_C = np.bincount(label_N)
    return np.asarray(len(label_N) / (np.count_nonzero(count_C) * count_C[label_N]))


def _judged(
    arch: Architecture, loss_N: NDArray[np.float64], right_N: NDArray[np.float64] | NDArray[np.bool_]
) -> Judged:
    return Judged(
        arch.hash, dict(arch.choices), arch.macs(), len(loss_N), round(float(loss_N.mean()), 6), float(right_N.mean())
    )


def percentile(loss_K: NDArray[np.float64]) -> float:
    """Return how many percent of the others have a larger loss than the first; equal ones count half."""
    first, others = loss_K[0], loss_K[1:]
    return float(100 * ((others > first) + 0.5 * (others == first)).mean())


def interval_of_percentile(loss_KN: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Return a 95 % interval of the percentile, over clips and random architectures.

    Clips are drawn again, with replacement; the share of all random architectures that would be beaten then has a Beta
    distribution (Jeffreys' prior), which is not of width 0 where all of a few are beaten.
    """
    k, n = loss_KN.shape
    beaten = [percentile(loss_KN @ (np.bincount(rng.integers(n, size=n), minlength=n) / n)) for _ in range(RESAMPLES)]
    wins = np.array(beaten) / 100 * (k - 1)
    values = 100 * rng.beta(wins + 0.5, k - 1 - wins + 0.5)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
