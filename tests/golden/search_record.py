"""Short searches and small networks in float64, and the figures of them that `search_record.json` keeps.

    PYTHONPATH=tests python tests/golden/search_record.py    writes the record anew, after a change that should move it

Clips are drawn by NumPy instead of decoded, so that nothing depends on how a machine decodes or resizes. Everything is
computed in float64, without dropout, whose masks torch draws by other libraries on other machines: what then differs
between machines, the order of sums, stays far below what a change of code does. S2DNet samples its details in fp32.
"""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from autovid.costs.cost import Params
from autovid.data.index import Video, VideoSet
from autovid.kernels.compute import Compute
from autovid.models import NETWORKS, NetworkSpec, build_network
from autovid.run.task import seed_step
from autovid.search import parse_constraints, settings_for
from autovid.search.constraints import final_constraints
from autovid.search.problem import Choices
from autovid.search.supernet import Supernet
from autovid.search.task import SearchTask
from autovid.space import Architecture, SearchSpace, load_space
from autovid.studies.by_training import draw

FILE = Path(__file__).with_name("search_record.json")
Weighting = Literal["equal", "likelihood"]
VIDEOS, CLASSES, SEED = 24, 3, 7
SEARCHES: dict[str, tuple[str, str, dict[str, Any]]] = {  # the space, its range in GFLOPs, what differs from its proxy
    "tiny": ("tiny", "0.0075:0.008", {"steps": 5, "crop": 16, "jitter": (16, 20), "alpha_every": 1}),
    "two_stream": ("two_stream", "2.4:2.5", {"steps": 5, "crop": 32, "frames": 8, "jitter": (32, 40), "lr": 1e-5}),
}
FRAMES = {"tdn": 10, "slowfast": 16, "csn": 8, "s2dnet": 16, "auto_tsnet": 8, "resnet50_imagenet": 1}
ROWS = 5  # random architectures inside the range


@contextmanager
def in_float64() -> Iterator[None]:
    """Draw and compute in float64 what is created inside."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


class DrawnClips(Supernet):
    """A supernet in float64 whose batches are noise of NumPy, a function of the set and the step alone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.drawn: list[list[int]] = []
        without_dropout(self.net)

    def _batch(self, half: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((SEED, half, self._step))
        size, clip = self.settings.batch, self._clip
        x = rng.integers(0, 256, (size, 3, clip.frames, clip.crop, clip.crop)) / 127.5 - 1
        return torch.from_numpy(x), torch.from_numpy(rng.integers(0, CLASSES, size))

    def learn(self, space: SearchSpace, choices: Choices, weighting: Weighting, scale: str, lr: float) -> float:
        self.drawn += choices.tolist()
        return super().learn(space, choices, weighting, scale, lr)

    def logits(self, x: Tensor, arch: Architecture, kind: str) -> Tensor:
        logits: Tensor = self.net(x, arch)
        return logits


def search_record(name: str) -> dict[str, Any]:
    """Record 20 steps of a search: losses, architectures, the prior, weights, what is derived, random rows."""
    space_name, gflops, changes = SEARCHES[name]
    space = load_space(space_name)
    constraints = parse_constraints(space, {"flops": gflops})
    settings = settings_for(
        space,
        proxy=True,
        videos=VIDEOS,
        samples=2,
        open_prior="quarter",
        batch=4,
        seed=SEED,
        options={"uniform_draws": 0.0},
        **changes,
    )
    videos = VideoSet("noise", Path(), tuple("abc"), tuple(Video(str(i), i % CLASSES) for i in range(VIDEOS)), ())
    with in_float64(), closing(DrawnClips(space, videos, settings, Compute("cpu", "fp32"), 0, None)) as supernet:
        task = SearchTask(space, settings, constraints, supernet=supernet)
        steps = []
        for index in range(task.steps):
            seed_step(SEED, index)
            steps.append(task.step(index))
        weights = torch.cat(
            [value.flatten() for value in supernet.net.state_dict().values() if value.is_floating_point()]
        )
        problem, log_probs = task.problem, task.strategy.distribution() or []
        best = task.strategy.candidates(1, problem.constraints, np.random.default_rng(0))[0]
        return {
            "drawn": supernet.drawn,
            "architecture": dict(problem.space.architecture(best).choices),
            "log_probability": [sum(logp[choice] for logp, choice in zip(log_probs, best))],
            "random": random_rows(space, constraints),
            "loss": [step["loss"] for step in steps],
            "held_out_loss": [step.get("held_out_loss") for step in steps],
            "entropy": [step["entropy"] for step in steps],
            "log_probabilities": {name: logp.tolist() for name, logp in task.distribution().items()},
            "weights": projections(weights),
        }


def without_dropout(net: nn.Module) -> None:
    """Set every probability to zero."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def random_rows(space: SearchSpace, constraints: Any) -> list[list[Any]]:
    """Hash, MACs and parameters of random architectures inside the range."""
    limits = final_constraints(constraints, space)
    return [[arch.hash, arch.macs(), Params().of(arch)] for arch in draw(space, ROWS, SEED, limits)]


def projections(weights: Tensor, n: int = 4) -> list[float]:
    """Sums of the weights by random signs, which any change of a weight moves."""
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], (n, len(weights)))
    return [float(total) for total in torch.from_numpy(signs) @ weights]


def logits_record(name: str) -> list[float]:
    """Record the logits of a network of the registry at small size, its norms at the statistics of the batch."""
    frames = next((frames for family, frames in FRAMES.items() if name.startswith(family)), 4)
    with nullcontext() if in_fp32(name) else in_float64(), torch.no_grad():
        torch.manual_seed(SEED)
        spec = NetworkSpec(network=name, classes=CLASSES, frames=1 if name.endswith("_cifar") else frames, crop=32)
        net = build_network(spec)
        without_dropout(net)
        net.train(not in_fp32(name))  # few clips' statistics enlarge rounding
        shape = (4, 3, net.clip.frames, net.clip.crop, net.clip.crop)
        x = np.random.default_rng(SEED).integers(0, 256, shape) / 127.5 - 1
        logits: Tensor = net(torch.from_numpy(x).to(torch.get_default_dtype()))
    return [float(logit) for logit in logits.flatten()]


def in_fp32(name: str) -> bool:
    """Return True for a network that computes in fp32, whatever its weights are in."""
    return name.startswith("s2dnet")


def main() -> None:
    torch.set_num_threads(1)
    record = {
        "searches": {name: search_record(name) for name in SEARCHES},
        "logits": {name: logits_record(name) for name in NETWORKS},
    }
    FILE.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
