"""When a prior may begin to learn: once the scores of the supernet say something about architectures. Ours.

PARSEC's prior opens after a quarter of a part, whatever the supernet has learned by then; Adam makes full steps of the
noise that it may still be. Here the prior opens when both hold:

1. The supernet has learned: its held-out loss, the mean over the last LOSSES rounds of scoring, lies clearly
   (CLEARLY standard errors over these rounds) below chance.
2. Architectures differ by more than the noise: the same ones are scored on two batches of other clips, one step apart.
   What lasts from the one to the other is theirs, what does not is noise. The correlation of their losses, over the
   pairs of rounds since the supernet was last at chance, has a mean of zero where they are alike. It must lie CLEARLY
   standard errors above it. The standard error is that of the pairs, but at least that of shuffled architectures: the
   correlation of n shuffled ones has a variance of 1 / (n - 1), whatever the noise. (The pairs' own is larger where one
   thing moves the losses of a whole batch, such as how sure of itself an architecture is; FEWEST pairs, so that these
   do not agree by chance alone.)

A pair costs forward passes of two steps in every `every`: about CHECKS pairs a part, at most a pair in EVERY steps.
"""

import math
import statistics
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from autovid.search.chance import CLEARLY
from autovid.search.problem import Choices
from autovid.search.strategy import Scores, State

EVERY, CHECKS = 4, 16
FEWEST = 6  # pairs, before which nothing opens
LOSSES = 16  # rounds whose loss is compared with chance


class Opening:
    """Collects evidence round by round; once open, it stays so. `steps`: of the part."""

    def __init__(self, steps: int) -> None:
        self.every = max(EVERY, steps // CHECKS)
        self.is_open = False
        self.losses: list[float] = []  # of the last rounds, the mean over their architectures
        self.agreements: list[tuple[float, int]] = []  # of each pair: the correlation, of how many architectures
        self.chance = math.inf
        self.first: tuple[Choices, NDArray[np.float64]] | None = None  # scored once, to be scored again

    def turn(self, step: int) -> Literal["first", "again", ""]:
        """Say what is to be scored at a step of the part: new architectures, those of the step before, or nothing."""
        at = step % self.every
        return "first" if at == 0 else "again" if at == 1 and self.first is not None else ""

    def add(self, choices: Choices, scores: Scores) -> None:
        """Take note of scores, and open where the evidence is enough."""
        self.chance = scores.chance
        self.losses = [*self.losses, float(-scores.log_likelihood_K.mean())][-LOSSES:]
        at_chance = len(self.losses) >= 2 * FEWEST and not self._below_chance()
        if at_chance:
            self.agreements = []
        if self.first is None or not np.array_equal(self.first[0], choices):
            self.first = choices.copy(), scores.log_likelihood_K.copy()
            return
        correlation, n = agreement(choices, self.first[1], scores.log_likelihood_K)
        if n > 1 and not at_chance:
            self.agreements.append((correlation, n))
        self.first = None
        self.is_open = self.is_open or (self._below_chance() and self._differ())

    def _loss(self) -> tuple[float, float]:
        """Return the held-out loss and its standard error."""
        if len(self.losses) < 2:
            return (self.losses or [math.nan])[0], math.inf
        return statistics.fmean(self.losses), statistics.stdev(self.losses) / math.sqrt(len(self.losses))

    def _below_chance(self) -> bool:
        loss, error = self._loss()
        return len(self.losses) >= 2 * FEWEST and loss + CLEARLY * error < self.chance

    def _agreement(self) -> tuple[float, float]:
        """Return the mean correlation of the pairs and its standard error."""
        values, pairs = [value for value, _ in self.agreements], len(self.agreements)
        if pairs < 2:
            return (values or [0.0])[0], math.inf
        shuffled = math.sqrt(sum(1 / (n - 1) for _, n in self.agreements)) / pairs
        return statistics.fmean(values), max(shuffled, statistics.stdev(values) / math.sqrt(pairs))

    def _differ(self) -> bool:
        value, error = self._agreement()
        return len(self.agreements) >= FEWEST and value > CLEARLY * error

    def __str__(self) -> str:
        """Say how the evidence stands, in a line."""
        loss, error = self._loss()
        if not self._below_chance():
            if len(self.losses) < 2 * FEWEST:
                return f"architectures were scored {len(self.losses)} times, and {2 * FEWEST} are needed"
            return f"held-out loss {loss:.3f} ± {error:.3f} is not clearly below chance {self.chance:.3f}"
        text = f"held-out loss {loss:.3f} ± {error:.3f} is below chance {self.chance:.3f}"
        if len(self.agreements) < FEWEST:
            return f"{text}, but was so for {len(self.agreements)} pairs of rounds alone, and {FEWEST} are needed"
        value, error = self._agreement()
        seen = f"losses on one batch and another correlate by {value:.2f} ± {error:.2f}"
        if self.is_open:
            return f"{text}, and architectures differ by more than the noise ({seen})"
        return f"{text}, but architectures do not clearly differ by more than the noise ({seen})"

    def state(self) -> State:
        """Everything that is needed to go on."""
        first = [] if self.first is None else [torch.from_numpy(part.copy()) for part in self.first]
        pairs = [list(pair) for pair in self.agreements]
        return {
            "open": self.is_open, "losses": list(self.losses), "agreements": pairs, "chance": self.chance,
            "first": first,
        }  # fmt: skip

    def load(self, state: State) -> None:
        """Take up a saved state."""
        self.is_open, self.chance, self.losses = state["open"], state["chance"], list(state["losses"])
        self.agreements = [(value, n) for value, n in state["agreements"]]
        self.first = (state["first"][0].numpy(), state["first"][1].numpy()) if state["first"] else None


def agreement(choices: Choices, first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, int]:
    """Return the correlation of architectures' scores in two rounds, and of how many it is: each counts once."""
    at = np.unique(choices, axis=0, return_index=True)[1]
    a, b = first[at] - first[at].mean(), second[at] - second[at].mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return (float(a @ b) / size if size > 0 else 0.0), len(at)


def opening_of(strategy: Any) -> Opening | None:
    """Return the rule for when a strategy's prior begins to learn; None where it does not wait for evidence."""
    opening: Opening | None = getattr(strategy, "opening", None)
    return opening
