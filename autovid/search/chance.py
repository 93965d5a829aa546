"""Evidence that the supernet of a search has learned: its held-out loss against chance. Ours.

Chance is the loss of the best constant answer on the videos that the prior learns on: the entropy of their labels,
ln(classes) where all classes are as frequent. The held-out loss is the mean over the last steps of a part, with its
standard error. A supernet that is not clearly below chance has learned nothing that could rank architectures: then the
prior follows the FLOPs and noise, and the scores of a strategy without a prior are noise.
"""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autovid.search.settings import SearchSettings
from autovid.search.strategy import takes
from autovid.space.schema import JOINT

LAST = 0.25  # share of a part's steps on held-out clips that are compared, ...
FEWEST, MOST = 4, 100  # ... but at least and at most so many
CLEARLY = 3.0  # standard errors below chance (ours): with 8 steps, Student's quantile of 0.99
STUDENT = {2: 31.8, 3: 6.96, 4: 4.54, 5: 3.75, 6: 3.36, 7: 3.14}  # the same quantile with fewer steps


class Chance(NamedTuple):
    """The loss of the best constant answer, in nats; `videos`: how many it was counted on, 0 where that is unknown."""

    loss: float
    classes: int
    videos: int = 0
    most: int = 0  # videos of the most frequent class
    alike: int = 0  # classes that are drawn equally often, whatever their videos; 0 where videos are

    @classmethod
    def of(cls, labels: Iterable[int], classes: int, balanced: bool = False) -> "Chance":
        """Return the chance of these videos; `balanced`: where each class that has any is drawn as often."""
        counts = Counter(labels)
        total = sum(counts.values())
        shares = [1 / len(counts) if balanced else n / total for n in counts.values()]
        loss = -sum(share * math.log(share) for share in shares)
        return cls(loss, classes, total, max(counts.values(), default=0), len(counts) if balanced else 0)

    @classmethod
    def uniform(cls, classes: int) -> "Chance":
        """Return the chance of classes whose frequencies are unknown."""
        return cls(math.log(classes), classes)

    @property
    def accuracy(self) -> float:
        """The share of right answers of the best constant answer."""
        if self.alike:
            return 1 / self.alike
        return self.most / self.videos if self.videos else 1 / self.classes

    def __str__(self) -> str:
        unequal = self.loss < math.log(self.classes) - 1e-6
        return f"chance {self.loss:.3f} for {self.classes} classes{', which are not equally frequent' * unequal}"


class PartEvidence(NamedTuple):
    """The held-out loss of the supernet at the end of a part, in nats, with its standard error, beside chance."""

    part: str
    loss: float
    error: float  # infinite where there is one step
    chance: Chance
    steps: int  # that were averaged

    @property
    def at_chance(self) -> bool:
        """True if the loss is not clearly below chance."""
        return not self.loss + STUDENT.get(self.steps, CLEARLY) * self.error < self.chance.loss

    def __str__(self) -> str:
        error = f" ± {self.error:.3f}" if math.isfinite(self.error) else ""
        return f"{self.loss:.3f}{error} ({self.part})"


class Evidence(NamedTuple):
    """The evidence of a search's supernet on accuracy, part by part; parts without a held-out loss are left out."""

    parts: tuple[PartEvidence, ...] = ()
    prior: bool = True  # the strategy learns one, whatever the evidence

    @property
    def at_chance(self) -> list[str]:
        """The parts in which it is at chance."""
        return [one.part for one in self.parts if one.at_chance]

    @property
    def better_than_chance(self) -> bool:
        """True if the supernet is better than chance, clearly and in every part."""
        return bool(self.parts) and not self.at_chance

    def sentence(self) -> str:
        """Say for a person: better than chance, or at chance and what follows."""
        if not self.parts:
            return "The supernet is not compared with chance: there is no held-out loss yet."
        bad = [one for one in self.parts if one.at_chance]
        shown = bad or self.parts
        losses = f"held-out loss {', '.join(map(str, shown))}, {shown[0].chance}."
        if not bad:
            return f"The supernet is better than chance: {losses}"
        where = which = ""
        if len(bad) < len(self.parts):
            where, which = f" in {' and '.join(self.at_chance)}", " there"
        reflects = f"What the prior prefers{which} reflects FLOPs and noise, not accuracy."
        if not self.prior:
            reflects = f"Its scores of architectures{which} reflect noise, not accuracy."
        return f"The supernet is at chance{where}: {losses} {reflects}"


def evidence_against_chance(metrics: Path, step: int, settings: SearchSettings, chance: Chance) -> Evidence:
    """Compare each part's supernet with chance, by the first `step` steps of a metrics.jsonl, which may be missing.

    Where a part without evidence leaves its decisions to the joint phase, parts at chance say nothing once that runs.
    """
    losses = _held_out_losses(metrics, step)
    parts = [
        _part(part.name, losses[number], settings.batch, chance)
        for number, part in enumerate(settings.parts)
        if number in losses
    ]
    by_evidence = settings.options.get("open_prior") == "evidence"
    if by_evidence and any(one.part == JOINT for one in parts):
        parts = [one for one in parts if one.part == JOINT or not one.at_chance]
    return Evidence(tuple(parts), takes(settings.strategy, "arch_lr") and not by_evidence)


def _part(name: str, losses: Sequence[float], batch: int, chance: Chance) -> PartEvidence:
    last = losses[-min(MOST, max(FEWEST, round(LAST * len(losses)))) :]
    if len(last) < 2:
        return PartEvidence(name, last[0], math.inf, chance, 1)
    different = len(last)  # steps on other videos: those of a second pass tell nothing new
    if chance.videos:
        different = max(1, min(different, chance.videos // batch))
    error = statistics.stdev(last) / math.sqrt(different)
    return PartEvidence(name, statistics.fmean(last), error, chance, len(last))


def _held_out_losses(metrics: Path, step: int) -> dict[int, list[float]]:
    """Return the losses by number of the part, in the order of the steps."""
    losses_by_part: dict[int, list[float]] = {}
    if not metrics.is_file():
        return losses_by_part
    with metrics.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record: Any = json.loads(line)
            except ValueError:  # the last line may just be being written
                continue
            loss = record.get("held_out_loss")
            if loss is not None and record["step"] < step:
                losses_by_part.setdefault(int(record["part"]), []).append(float(loss))
    return losses_by_part
