"""How should a supernet learn? Recipes compared at about equal time, by how they rank what was trained alone.

Command: python experiments/supernet_recipes.py DATA/bench.csv -o runs/recipes --second RATIO --divided RATIO
After: autovid data synthetic bench -o DATA
Hardware: one core of an AMD EPYC (AVX-512), beside other programs
Time: 1.5 to 3 minutes a row and a seed
Result: of ten rows, with seed 0, one architecture an update ranks best (tau 0.73), and a batch that two cores divide is
next (0.71); two and four have 0.51 and 0.52, sandwiches 0.05 and -0.26, last norms from 0 0.41, batches of 64 and 16
0.40 and 0.44, scores after 4 and 24 updates 0.65 and 0.55. Two and four architectures had 20 to 36 % fewer updates than
this script gives them now; the other rows were not run. docs/research.md has the table.

Each recipe searches the band of the benchmark's space (3 % around 2.56 million MACs) with the space's proxy, but for
what its row changes. Updates are as many as two cores do in the time in which one core does the proxy's 1,200 of one
architecture. An update of two architectures side by side takes `--second` times as long, and one whose batch the cores
divide `--divided` times. `bench/side_by_side.py --space bench -k 1 2` measures both: its times on two processes,
divided by that of one architecture on one thread. The scores that the prior learns from, 13 forward passes, are
counted as if it were open from the start: while it is closed there are fewer. An update of 64 clips is counted as two
of 32, one of 16 as one. The seconds of each search are printed, on one core. Then:

- tau: Kendall's, of the supernet's losses on clips of val and the mean losses alone, over all architectures of the band
- right: the share of these clips that the supernet knows, the mean over the band
- percentile: of what the search chose, by the trainings alone

A sandwich learns from the largest and the smallest architecture of the part's space in each update, beside drawn ones
(Yu and Huang, 2019, arXiv:1903.05134). With distillation all but the largest learn its answers in place of the labels.
"""

import argparse
import dataclasses
import json
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from proof import BAND, Trained, every_architecture, flops, supernet_scores

import autovid
from autovid.data import open_videos
from autovid.layers.sync_batch import variance_needed
from autovid.search.problem import Choices
from autovid.search.settings import settings_for
from autovid.search.supernet import WEIGHTS, Supernet
from autovid.space import SearchSpace, load_space
from autovid.studies.correlation import interval, kendall

Learn = Callable[[Supernet, SearchSpace, Choices, Literal["equal", "likelihood"], str, float], float]


USUAL = 8  # updates between two scores, in the proxy
SCORE = 13 / 3  # time of a score, 13 forward passes, in updates of one architecture


class Recipe(NamedTuple):
    """A row: how many architectures an update has, what two cores share of it, and what else differs."""

    archs: int = 1
    rounds: int = 1  # architectures that one core takes one after the other in an update
    divided: bool = False  # the batch, half of it for each core
    alpha_every: int = USUAL  # updates between two scores of 13 draws of the prior, forward passes alone
    changes: Mapping[str, Any] = {}
    proxy: Mapping[str, Any] = {}  # what differs in the space's proxy
    learn: Learn | None = None


class Longer(NamedTuple):
    """Time of an update on two cores, as a multiple of that of one architecture on one core."""

    second: float  # of two architectures side by side
    divided: float  # of one, whose batch both divide


def sandwich(distilled: bool) -> Learn:
    """Return an update of the weights from the largest, the smallest and what else was drawn."""
    known: dict[str, Any] = {}

    def learn(self: Supernet, space: SearchSpace, choices: Choices, weighting: str, scale: str, lr: float) -> float:
        x, y = self._batch(WEIGHTS)
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        if space is not known.get("space"):  # once a part
            every, macs = every_architecture(space)
            known.update(space=space, ends=[every[macs.argmax()], every[macs.argmin()]])
        rows = [*known["ends"], *choices[2:]]
        losses, answers = [], None
        with variance_needed():
            for row in rows:
                logits = self.logits(x, space.architecture(row), "train")
                loss = F.cross_entropy(logits, y if answers is None else answers)
                if distilled and answers is None:
                    answers = logits.detach().softmax(1)
                torch.autograd.backward(loss / len(rows))
                losses.append(float(loss.detach()))
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["rate"]
        self.optimizer.step()
        return float(np.mean(losses))

    return learn


def divided(self: Supernet, space: SearchSpace, choices: Choices, weighting: str, scale: str, lr: float) -> float:
    """Update the weights as two workers do that divide a batch, each with norms of its own half."""
    x, y = self._batch(WEIGHTS)
    self.net.train()
    self.optimizer.zero_grad(set_to_none=True)
    losses = []
    with variance_needed():
        for clips, labels in zip(x.chunk(2), y.chunk(2)):
            loss = F.cross_entropy(self.logits(clips, space.architecture(choices[0]), "train"), labels)
            torch.autograd.backward(loss / 2)
            losses.append(float(loss.detach()))
    for group in self.optimizer.param_groups:
        group["lr"] = lr * group["rate"]
    self.optimizer.step()
    return float(np.mean(losses))


RECIPES = {
    "one architecture an update": Recipe(),
    "one, the batch divided": Recipe(divided=True, learn=divided),
    "two": Recipe(2),
    "four": Recipe(4, 2),
    "sandwich of four": Recipe(4, 2, learn=sandwich(False)),
    "sandwich of four, distilled": Recipe(4, 2, learn=sandwich(True)),
    "last norms from 0": Recipe(proxy={"norm_start": 0.0}),
    "batches of 64": Recipe(rounds=2, changes={"batch": 64}),
    "batches of 16": Recipe(changes={"batch": 16}),
    "scores after 4 updates": Recipe(alpha_every=4),
    "scores after 24 updates": Recipe(alpha_every=24),
    "gradient in-range": Recipe(changes={"cost_gradient": "in-range"}),
    "gradient sampled": Recipe(changes={"cost_gradient": "sampled"}),
    "the prior opens after a quarter of a part, in the joint phase at once": Recipe(changes={"open_prior": "quarter"}),
    "AdamW 0.003": Recipe(changes={"lr": 0.003}, proxy={"optimizer": "adamw"}),
    "AdamW 0.01": Recipe(changes={"lr": 0.01}, proxy={"optimizer": "adamw"}),
}


def run(
    name: str, recipe: Recipe, index: Path, out: Path, trained: Trained, seed: int, longer: Longer
) -> dict[str, Any]:
    """Search by a recipe, and compare its supernet and its choice with the trainings alone."""
    space, videos = load_space("bench"), len(open_videos(index).train)
    space = dataclasses.replace(space, proxy=msgspec.structs.replace(space.proxy, **recipe.proxy))
    parts = settings_for(space, proxy=True, videos=videos).parts
    each = longer.second if recipe.archs > 1 else longer.divided if recipe.divided else 1.0
    scored = each / 2 if recipe.archs > 1 else each  # side by side, two cores share the 13 of a score
    times = (1 + SCORE / USUAL) / (recipe.rounds * each + scored * SCORE / recipe.alpha_every)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    usual = Supernet.learn
    Supernet.learn = recipe.learn or usual  # type: ignore[assignment, method-assign]
    try:
        done = autovid.search(
            space, flops(BAND), data=index, out=out, recipe="proxy", seed=seed, device="cpu", precision="fp32",
            resume=out.is_dir(), steps={part.name: max(1, round(times * part.steps)) for part in parts},
            **{"archs_per_update": recipe.archs, "alpha_every": recipe.alpha_every, **recipe.changes},
        )  # fmt: skip
    finally:
        Supernet.learn = usual  # type: ignore[method-assign]
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    loss, right = supernet_scores(done.path, trained.rows)
    found = trained.number(done.derive())
    low, high = interval(kendall, loss, trained.mean_loss)
    return {
        "recipe": name, "seed": seed, "updates": done.searched.settings.steps, "seconds": round(seconds),
        "tau": round(kendall(loss, trained.mean_loss), 3), "low": round(low, 3), "high": round(high, 3),
        "right": round(100 * float(right.mean()), 1), "percentile": round(trained.percentile(found, trained.seeds), 1),
    }  # fmt: skip


def main() -> None:
    """Run what is left, and print a table of what is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="the index that `autovid data synthetic bench` has written")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the searches (default: 3)")
    parser.add_argument(
        "--second", type=float, required=True, help="time of two architectures on two cores (1: of one)"
    )
    parser.add_argument("--divided", type=float, required=True, help="time of one whose batch two cores divide")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    longer = Longer(args.second, args.divided)
    trained = Trained(autovid.load_benchmark("bench"), *BAND)
    for seed in range(args.seeds):
        for name, recipe in RECIPES.items():
            file = args.out / f"{name}-{seed}.json"
            if not file.exists():
                result = run(name, recipe, args.index, args.out / f"{name}-{seed}", trained, seed, longer)
                file.write_text(json.dumps(result) + "\n")
            print(file.read_text(), end="", flush=True)
    print("\n| Recipe | Updates | tau | Right | Percentile |\n|---|---:|---|---|---|")
    for name in RECIPES:
        done = [json.loads((args.out / f"{name}-{seed}.json").read_text()) for seed in range(args.seeds)]
        columns = (", ".join(str(one[key]) for one in done) for key in ("tau", "right", "percentile"))
        print(f"| {name} | {done[0]['updates']} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
