"""The candidates of a front: a few architectures in each slice of a range of cost, judged by the supernet; the best.

The range of the first constraint is cut into equal slices. The candidates of a slice are the search's own choice, if it
lies there, the strategy's best ones, and others that the search has judged at its end. All are judged on the same
held-out clips, each with norms of its own statistics, and the smallest loss in a slice wins. With several constraints
those win, of all slices, that nothing dominates: no other candidate is nowhere worse, in loss and in every cost, and
better somewhere. Where the supernet cannot judge, the search's own score takes the place of the loss.

Shapes: K architectures, D decisions, N clips.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from autovid.costs import Cost, Macs
from autovid.data import Batch, VideoSet
from autovid.data.frame_cache import choose_cache
from autovid.errors import CostRangeError
from autovid.kernels import machine
from autovid.kernels.compute import Compute
from autovid.run import Progress
from autovid.search import Constraint, Searched, derive
from autovid.search.choice import Judge, clip_weights, gathered_labels, noting
from autovid.search.constraints import PartConstraint, final_constraints, whole_constraints
from autovid.search.problem import Choices, distinct, inside_all, whole_problem
from autovid.search.strategy import Strategy, make_strategy
from autovid.search.supernet import Supernet
from autovid.solver import UNLIMITED, CostRange
from autovid.space import Architecture, SearchSpace
from autovid.train.inherited import SupernetWeights

CANDIDATES = 8  # of a slice, at most
CLIPS = 256  # held-out ones that they are judged on, at most
LIKELIHOOD, PROBABILITY = "log_likelihood", "log_probability"  # what a search says of an architecture


@dataclass(frozen=True)
class FrontEntry:
    """A candidate of a slice: its costs in atoms, and how good it is taken to be.

    `slice` has the constraints of its slice. `score` is the search's own: a log-probability under the prior, or a
    log-likelihood; None where it has not been scored. `loss` is the supernet's on held-out clips, in nats. `supernet`
    and `alone` are top-1 on val, centre view, in percent: with the supernet's weights, and trained.
    """

    arch: Architecture
    costs: dict[Cost, int]
    slice: tuple[Constraint, ...]
    score: float | None
    loss: float | None = None
    supernet: float | None = None
    alone: float | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """Place in an order, the best first: of what has a loss, then of what has a score, then of what has neither."""
        if self.loss is not None:
            return 0, self.loss
        return (2, 0.0) if self.score is None else (1, -self.score)


@dataclass
class Front:
    """The candidates of all slices, and the entries taken of them by rising first cost; how, or why not."""

    candidates: list[FrontEntry]
    costs: list[Cost]
    measure: str  # LIKELIHOOD or PROBABILITY
    own: str  # hash of the search's own choice
    entries: list[FrontEntry] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)  # slices that hold nothing
    not_dominated: int = 0  # candidates, where there are several costs
    left_out: int = 0  # candidates, there, that are not judged
    not_scored: str = ""  # why the supernet did not judge some of them, or all
    clips: int = 0  # held-out ones
    chance_loss: float = 0.0  # of the best constant answer on these, in nats
    videos: int = 0  # of val
    calibration: int = 0  # training clips
    chance: float = 0.0  # top-1 of the best constant answer, in percent
    trained: str = ""  # the length of the trainings, where there were any

    @property
    def accuracy(self) -> bool:
        """True if the supernet has scored one at least."""
        return any(entry.supernet is not None for entry in self.entries)

    @property
    def judged(self) -> int:
        """The number of candidates that the supernet has judged."""
        return sum(entry.loss is not None for entry in self.candidates)

    def standard_error(self, top1: float) -> float:
        """Return the standard error of an accuracy in percent over the videos of val."""
        return math.sqrt(max(top1 * (100 - top1), 0.0) / max(self.videos, 1))

    @property
    def names(self) -> list[str]:
        """Names of the files of the entries."""
        width = max(2, len(str(len(self.entries))))
        return [f"{number:0{width}}.yaml" for number in range(1, len(self.entries) + 1)]


def find_candidates(searched: Searched, n: int, constraints: Sequence[Constraint] | None = None) -> Front:
    """Return the candidates of each of `n` slices; `constraints` take the place of the search's own.

    Raises CostRangeError where all slices are empty.
    """
    space = searched.space
    first, *others = (searched.constraints if constraints is None else constraints) or (Constraint(Macs()),)
    costs = [constraint.cost for constraint in (first, *others)]
    tables = [cost.table(space) for cost in costs]
    own, strategy = derive(searched), _strategy(searched)
    front = Front([], costs, PROBABILITY if searched.learned else LIKELIHOOD, own.hash)
    known, refusal = _known(searched, own), CostRangeError("no slice holds an architecture")
    for ends in slices(first, space, n):
        of_slice = (within(first, ends, space), *others)
        limits = (final_constraints if constraints is None else whole_constraints)(of_slice, space)
        try:
            drawn = strategy.candidates(CANDIDATES, limits, np.random.default_rng(searched.settings.seed))
        except CostRangeError as error:
            drawn, refusal = np.zeros((0, len(space.sizes)), np.int64), error
        rows = _candidates(known, drawn, limits)
        if not len(rows):
            front.empty.append(first.say(ends))
            continue
        of_costs = zip(*(table.total(rows).tolist() for table in tables))
        for row, of_cost, score in zip(rows, of_costs, _scores(searched, rows)):
            front.candidates.append(FrontEntry(space.architecture(row), dict(zip(costs, of_cost)), of_slice, score))
    if not front.candidates:
        raise refusal
    return front


def slices(constraint: Constraint, space: SearchSpace, n: int) -> list[CostRange]:
    """Cut the range of the finished network, as far as the space reaches, into `n` equal slices without overlap."""
    table = constraint.cost.table(space)
    low, high = constraint.final(space) or CostRange(0, UNLIMITED)
    low, high = max(low, table.smallest()[0]), min(high, table.largest()[0])
    if low > high:
        span = constraint.say(CostRange(table.smallest()[0], table.largest()[0]))
        raise CostRangeError(f"no architecture costs {', '.join(constraint.spoken())}; the space has {span}")
    edges = [low + (high + 1 - low) * i // n for i in range(n + 1)]
    return [CostRange(a, b - 1) for a, b in pairwise(edges) if a < b]


def within(constraint: Constraint, ends: CostRange, space: SearchSpace) -> Constraint:
    """Return the constraint with another range of the finished network."""
    last = space.parts[-1].name
    own = constraint.own - {last}
    return Constraint(constraint.cost, ends, {name: constraint.parts[name] for name in own}, own)


def _known(searched: Searched, own: Architecture) -> Choices:
    """Return the search's own choice, and what it has judged beside it at its end."""
    judged = (*searched.choice.next_best, *searched.choice.random) if searched.choice else ()
    return np.concatenate([searched.space.index([own]), searched.rows(judged)])


def _strategy(searched: Searched) -> Strategy:
    """Return the strategy with all that it has learned, over the whole space."""
    if not searched.learned:
        return searched.strategy()
    problem = whole_problem(searched.space, learned=searched.learned, seed=searched.settings.seed)
    return make_strategy(searched.settings.strategy, problem, searched.settings.options)


def _candidates(known: Choices, drawn: Choices, limits: Sequence[PartConstraint]) -> Choices:
    """Return up to CANDIDATES distinct ones inside `limits`: the first known one, then the strategy's and known ones.

    `drawn` are the strategy's, the best first. Half of the places are for these, if it has so many.
    """
    inside = inside_all(limits, known)
    own, half = known[:1][inside[:1]], CANDIDATES // 2
    return distinct(np.concatenate([own, drawn[:half], known[inside], drawn[half:]]), CANDIDATES)


def _scores(searched: Searched, rows: Choices) -> list[float | None]:
    """Return the search's own scores: log-probabilities, or log-likelihoods of what has been scored."""
    if searched.learned:
        log_probs = searched.log_probs(searched.space)
        return [round(float(sum(logp[i] for logp, i in zip(log_probs, row))), 6) for row in rows]
    scored = searched.state.get("scored")
    known = dict(zip(map(tuple, scored["rows"].tolist()), scored["scores"].tolist())) if scored else {}
    return [known.get(tuple(row)) for row in rows.tolist()]


def judge(
    front: Front, weights: SupernetWeights, videos: VideoSet, compute: Compute, progress: Progress | None = None
) -> None:
    """Judge the candidates by the supernet, all on the same held-out clips.

    Not those outside the ranges of the search: there the supernet has not been trained to the end.
    """
    space, settings = weights.searched.space, weights.searched.settings
    rows = space.index([entry.arch for entry in front.candidates])
    inside = inside_all(final_constraints(weights.searched.constraints, space), rows)
    if not inside.all():
        front.not_scored = "outside the ranges that the supernet was trained in"
    if not inside.any():
        return
    frames = choose_cache("auto", videos.train, videos.root, say=lambda _: None)
    with (
        frames or nullcontext(),
        machine.threads(settings.threads),
        closing(Supernet(space, videos, settings, compute, 0, None, frames, weights.by_file)) as supernet,
    ):
        supernet.net.load_state_dict(weights.net.state_dict())
        loss_KN = _losses(supernet, space, rows[inside], progress)
    front.clips, front.chance_loss = loss_KN.shape[1], supernet.chance.loss
    for number, loss in zip(np.flatnonzero(inside).tolist(), loss_KN.mean(1).tolist()):
        front.candidates[number] = replace(front.candidates[number], loss=loss)


def _losses(supernet: Supernet, space: SearchSpace, choices: Choices, progress: Progress | None) -> NDArray[np.float64]:
    """Return the losses in nats on held-out clips, (K, N)."""
    count, labels = -(-min(supernet.held_out, CLIPS) // supernet.settings.batch), list[int]()
    status = f"{len(choices)} candidates on held-out clips"

    def counted() -> Iterator[Batch]:
        with closing(supernet.held_out_views()) as loader:
            for done, batch in enumerate(islice(loader.views_batches(), count), 1):
                yield batch
                if progress is not None:
                    progress.update(done, status, {})

    if progress is not None:
        progress.start(count, 0, status)
    try:
        judge = Judge(supernet, space, choices, supernet.choice.calibration)
        loss_KN, _ = judge.judge(noting(counted(), labels), range(len(choices)))
    finally:
        if progress is not None:
            progress.close()
    return loss_KN * clip_weights(supernet, gathered_labels(labels))


def take_best(front: Front, n: int) -> None:
    """Take the best candidate of each slice, or of several costs up to `n` that nothing dominates.

    These are evenly spaced in their order from the best on. Where some have a loss, others do not count there.
    """
    if len(front.costs) == 1:
        of_slices = groupby(front.candidates, lambda entry: entry.slice[0].whole)
        front.entries = [min(entries, key=lambda entry: entry.rank) for _, entries in of_slices]
        return
    kind = min(entry.rank[0] for entry in front.candidates)
    known = [entry for entry in front.candidates if entry.rank[0] == kind]
    left = [one for one in known if not any(dominates(other, one) for other in known)]
    left.sort(key=lambda entry: entry.rank)
    places = np.unique(np.linspace(0, len(left) - 1, min(n, len(left))).round().astype(int))
    front.not_dominated, front.left_out = len(left), len(front.candidates) - len(known)
    front.entries = sorted((left[place] for place in places), key=lambda entry: list(entry.costs.values()))


def dominates(one: FrontEntry, other: FrontEntry) -> bool:
    """Say whether `one` is nowhere worse than `other`, and better somewhere; what has no figure dominates nothing."""
    of_one, of_other = ([*entry.costs.values(), entry.rank[1]] for entry in (one, other))
    return one.rank[0] < 2 and all(a <= b for a, b in zip(of_one, of_other)) and of_one != of_other
