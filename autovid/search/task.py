"""The search as a task for the loop: parts one after the other; in each the supernet learns and the strategy decides.

One step is one update of the weights on architectures that the strategy draws, and, for a strategy that is asked
between the updates, one round: it asks, the evaluator scores, it is told. Behind the parts a joint phase may open all
decisions again (ours), so that the weights see architectures that differ in any of them; strategies that are asked
after the updates are asked at its end. Where architectures are scored without a supernet there are rounds alone.

Workers (autovid.distributed) do every step together; the first one's strategy is copied to the others.

Ours, where the paper is silent: the schedule of the learning rate (`SearchSettings.lr_at`). Shapes: K architectures, D
decisions.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autovid import distributed
from autovid.costs import Cost, Macs
from autovid.errors import CostRangeError
from autovid.run import Task, TaskState, step_generator
from autovid.search.constraints import Constraint, final_constraints, likeliest, probability_inside
from autovid.search.feasibility import Feasibility, decided
from autovid.search.monitor import Monitor
from autovid.search.objective import opening_of
from autovid.search.problem import Choices, Problem, part_problem, whole_problem
from autovid.search.settings import SearchSettings
from autovid.search.strategy import Evaluator, Strategy, make_strategy
from autovid.search.supernet import Supernet
from autovid.solver import CostTable
from autovid.space import Architecture, SearchSpace
from autovid.space.schema import JOINT, Value

RECORDS = 100  # of every candidate's probability, a part
AHEAD = 32  # updates that architectures are drawn for at a time: in a narrow range one draw takes as long as many
DETAIL_EVERY = 10  # steps between two records of every single decision
LOG_BINS = 2048  # resolution of P(in range) in the log; reports use the finest


class SearchTask(Task):
    """Search a space: `supernet` learns if there is one, `evaluator` scores (by default the supernet).

    `facts` go into every checkpoint's state.json.
    """

    def __init__(
        self,
        space: SearchSpace,
        settings: SearchSettings,
        constraints: Sequence[Constraint] = (),
        *,
        supernet: Supernet | None = None,
        evaluator: Evaluator | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.space, self.settings, self.supernet, self.facts = space, settings, supernet, facts
        self.evaluator = evaluator or supernet
        self.feasibility = Feasibility(space, constraints)
        self.chosen: dict[str, Value] = {}
        self.moved_by_cost: dict[str, float] = {}  # by part, what of the prior's movement is due to cost
        self.learned: dict[str, np.ndarray] = {}  # log-probabilities of the decisions of parts that are done
        self.monitor = Monitor()
        self._enter(0)
        self.steps = settings.steps

    # -- parts

    def _enter(self, number: int) -> None:
        """Begin part `number`, or the joint phase."""
        self.number, settings = number, self.settings
        self.part = settings.parts[number]
        self.problem = self._problem(number)
        self.strategy: Strategy = make_strategy(settings.strategy, self.problem, settings.strategy_options(self.part))
        opening = opening_of(self.strategy)
        if opening is not None:  # evidence takes no more of the time than the prior will
            opening.interval = max(opening.interval, 2 * settings.alpha_every)
        self.tables: dict[Cost, CostTable] = {limit.cost: limit.table for limit in self.problem.constraints}
        self.tables.setdefault(Macs(), self.problem.space.cost_table())
        self._ahead = np.zeros((0, len(self.problem.space.sizes)), np.int64)  # drawn for updates to come
        self._figures: dict[str, float] | None = None  # of the distribution, until the strategy learns again
        if self.supernet is not None and self.part.steps:
            self.supernet.begin_part(self.part.lr)

    def _problem(self, number: int) -> Problem:
        part, seed = self.settings.parts[number], self.settings.seed
        if part.name == JOINT:
            constraints = final_constraints(self.feasibility.constraints, self.space)
            return whole_problem(self.space, constraints, steps=part.steps, learned=self.learned, seed=seed)
        part_space = self.space.part_space(number, self.chosen)
        return part_problem(
            self.feasibility, number, part_space, steps=part.steps, warmup=part.warmup, learned=self.learned, seed=seed
        )

    def _leave(self) -> None:
        """Close the part: what it has chosen is fixed, what it has learned is kept.

        A part without evidence decides nothing and leaves its decisions open for the next one.
        """
        log_probs = self.strategy.distribution()
        if not self.strategy.interleaved or log_probs is None:
            return  # nothing is decided before the last round
        last = self.number + 1 == len(self.space.parts)
        if self._is_closed():
            self.chosen = {} if last else self.chosen
            return
        self.chosen = {} if last else decided(self.space, self.number, self._choose(log_probs))
        decisions = self.problem.space.decisions
        self.learned |= {decisions[d].name: log_probs[d] for d in self.problem.searched}

    def _is_closed(self) -> bool:
        """Return True while the strategy waits for evidence that its scores say something."""
        opening = opening_of(self.strategy)
        return opening is not None and not opening.is_open

    def _choose(self, log_probs: Sequence[np.ndarray]) -> Architecture:
        rng = np.random.default_rng(self.settings.seed)
        try:
            return self.problem.space.architecture(self.strategy.candidates(1, self.problem.constraints, rng)[0])
        except CostRangeError:  # derivation opens everything again if the later parts cannot make up for it
            return likeliest(self.problem.constraints, self.problem.space, log_probs)

    # -- one step

    def step(self, index: int) -> dict[str, float]:
        number, local = self.settings.locate(index)
        if number != self.number:
            self._leave()
            self._enter(number)
        metrics: dict[str, float] = {"part": float(number)}
        if self.supernet is not None:
            self.supernet.begin_step(index, self.settings.end(number))
        if local < self.part.steps:
            metrics |= self._learn(index, local)
        interval = 1 if self._is_closed() else self.settings.alpha_every  # evidence has a pace of its own
        between = self.strategy.interleaved and local % interval == 0
        if local >= self.part.steps or between:
            metrics |= self._round(index, local)
        metrics |= self._account(local)
        self.monitor.on_step_end(self, local, metrics)
        return metrics

    def _learn(self, index: int, local: int) -> dict[str, float]:
        """Do one update of the weights."""
        assert self.supernet is not None
        lr = self.settings.lr_at(self.number, local)
        choices = self._draw(index, local)
        likelihood = self.settings.options.get("likelihood", "mean")
        loss = self.supernet.learn(self.problem.space, choices, self.strategy.weighting, likelihood, lr)
        warm = float(local < self.part.warmup or self._is_closed())
        return {"loss": loss, "lr": lr, "samples": float(len(choices)), "warmup": warm}

    def _draw(self, index: int, local: int) -> Choices:
        """Return the architectures of an update; of a fixed number of them, those of the next updates are kept."""
        n = self.settings.archs_per_update
        if n is None:
            return self.strategy.draw(local, None, self._generator(index))
        if not len(self._ahead):
            updates = min(AHEAD, self.part.steps - local)
            self._ahead = self.strategy.draw(local, n * updates, self._generator(index))
        choices, self._ahead = self._ahead[:n], self._ahead[n:]
        return choices

    def _round(self, index: int, local: int) -> dict[str, float]:
        """Let the strategy ask, the evaluator score, and the strategy learn from it."""
        assert self.evaluator is not None
        choices = self.strategy.ask(local, self._generator(index))
        if not len(choices):
            return {}
        clips = None if self.strategy.interleaved else self.settings.score_clips
        scores = self.evaluator.score(self.problem.space, choices, "held-out", clips)
        metrics = self.strategy.tell(choices, scores)
        self._figures = None
        if (fraction := getattr(self.strategy, "moved_by_cost", None)) is not None:
            self.moved_by_cost[self.part.name] = fraction
        if distributed.size() > 1:  # other processors may round otherwise
            self.strategy.load(distributed.broadcast_from_rank0(self.strategy.state))
        return {"held_out_loss": float(-np.mean(scores.log_likelihood_K)), **metrics}

    def _generator(self, index: int) -> np.random.Generator:
        generator = step_generator(self.settings.seed, "architectures", index)
        return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))

    def _account(self, local: int) -> dict[str, float]:
        """Return figures of the distribution, where the strategy learns one."""
        log_probs = self.strategy.distribution()
        if log_probs is None:
            return {}
        if self._figures is None:
            self._figures = self._summary(log_probs)
        metrics = dict(self._figures)
        if local % DETAIL_EVERY == 0 or local == self.part.steps - 1:
            metrics |= self._decisions(log_probs)
        return metrics

    def _summary(self, log_probs: Sequence[np.ndarray]) -> dict[str, float]:
        """Return entropy, costs and P(in range) of a distribution."""
        probabilities = [np.exp(logp) for logp in log_probs]
        metrics = {"entropy": self.entropy(log_probs)}
        top = np.array([[int(np.argmax(logp)) for logp in log_probs]])
        for cost, table in self.tables.items():
            metrics[f"expected_{cost.metric}"] = table.expected(probabilities) / cost.quantity.atoms
            metrics[f"top_{cost.metric}"] = int(table.total(top)[0]) / cost.quantity.atoms
        if self.problem.constraints:
            metrics["p_in_range"] = probability_inside(self.problem.constraints, log_probs, LOG_BINS)
        return metrics

    def entropy(self, log_probs: Sequence[np.ndarray]) -> float:
        """Return the entropy of what is searched, in nats."""
        return sum(float(-(np.exp(log_probs[d]) * log_probs[d]).sum()) for d in self.problem.searched)

    def _decisions(self, log_probs: Sequence[np.ndarray]) -> dict[str, float]:
        """Return of each searched decision its entropy, its most probable candidate (from 0), and its probability."""
        metrics = {}
        for d in self.problem.searched:
            name, logp = self.problem.space.decisions[d].name, log_probs[d]
            metrics[f"entropy/{name}"] = float(-(np.exp(logp) * logp).sum())
            metrics[f"top/{name}"] = float(np.argmax(logp))
            metrics[f"top_probability/{name}"] = float(np.exp(logp.max()))
        return metrics

    # -- what the loop asks for

    def distribution(self) -> dict[str, np.ndarray]:
        """Return the log-probabilities of every decision that was learned, by name."""
        return {**self.learned, **self._learning()}

    def _learning(self) -> dict[str, np.ndarray]:
        """Return the log-probabilities of the decisions that are searched now, by name."""
        log_probs, decisions = self.strategy.distribution(), self.problem.space.decisions
        return {} if log_probs is None else {decisions[d].name: log_probs[d] for d in self.problem.searched}

    def state(self) -> TaskState:
        supernet, settings = self.supernet, self.settings
        return TaskState(
            model=dict(supernet.net.state_dict()) if supernet else {},
            optim={
                settings.optimizer: supernet.optimizer.state_dict() if supernet else {},
                "strategy": self.strategy.state(),
                "ahead": torch.from_numpy(self._ahead.copy()),
            },
            search={name: torch.from_numpy(logp.copy()) for name, logp in self.distribution().items()},
            info={
                **self.facts,
                "part": self.number,
                "chosen": self.chosen,
                "moved_by_cost": dict(self.moved_by_cost),
                "learned": sorted(self.learned),
                "monitor": self.monitor.state(),
                "compute": supernet.compute.record() if supernet else {},
                "chance": list(supernet.chance) if supernet else [],
            },
        )

    def load(self, state: TaskState) -> None:
        self.chosen = dict(state.info["chosen"])
        self.moved_by_cost = dict(state.info["moved_by_cost"])
        self.learned = {name: state.search[name].numpy() for name in state.info["learned"]}
        if self.supernet is not None:
            self.supernet.compute.restore(state.info["compute"])
        self._enter(state.info["part"])
        if self.supernet is not None:
            self.supernet.net.load_state_dict(state.model)
            self.supernet.optimizer.load_state_dict(state.optim[self.settings.optimizer])
        self.strategy.load(state.optim["strategy"])
        self._ahead = state.optim["ahead"].numpy()
        self.monitor.restore(state.info["monitor"])

    def milestone(self, done: int) -> bool:
        return any(done == self.settings.end(number) for number in range(len(self.settings.parts)))

    def status(self) -> str:
        return self.monitor.status(self)

    def notices(self) -> list[str]:
        return self.monitor.take_notices()

    def probabilities(self, index: int) -> dict[str, list[float]]:
        """Return the probabilities of each searched decision: some hundred times a part, and at its end."""
        number, local = self.settings.locate(index)
        steps = self.settings.parts[number].steps
        log_probs = self.strategy.distribution()
        if log_probs is None or (local % max(1, steps // RECORDS) and local != steps - 1):
            return {}
        names = self.problem.space.decisions
        return {names[d].name: np.exp(log_probs[d]).round(5).tolist() for d in self.problem.searched}

    def histograms(self) -> dict[str, Tensor]:
        return {f"log_probability/{name}": torch.from_numpy(logp) for name, logp in self._learning().items()}

    def images(self) -> dict[str, np.ndarray]:
        from autovid.search.monitor import probability_image

        log_probs = self.strategy.distribution()
        return {} if log_probs is None else {"probabilities": probability_image(self.problem, log_probs)}
