"""Makes the tabular benchmark: every architecture of `search_spaces/bench.yaml`, trained alone until it has converged.

    autovid data synthetic bench -o DATA                            # 12,000 small H.264 videos, about a minute
    python bench/table.py DATA/bench.csv --shard 0/2 --minutes 5    # one piece of one of two processes

Exit code 0 says that this shard's part of the table is complete, 1 that there is more to do. A piece begins no training
that would not end in time. Each training is a function of (architecture, seed) alone, is done by one thread, and adds a
line to `bench/results/table-bench/`. What stands there is not trained again, whichever shard has written it. Seed 0 of
all architectures comes first, in a random order, then seed 1, then seed 2 of 64; so a table that is broken off is a
random sample. Frames are decoded once into DATA/bench.npz. How the recipe was found: `docs/research.md`.
"""

import argparse
import csv
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a second thread gains nothing on maps this small

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.mbconv3d import MBConv3d
from autovid.data import VideoSet, open_videos
from autovid.data.index import Video
from autovid.data.video import VideoFile
from autovid.kernels.allocator import keep_memory
from autovid.models import SearchNetwork, build
from autovid.space import Architecture, SearchSpace, load_space

RESULTS = Path(__file__).parent / "results" / "table-bench"
COLUMNS = ("index", "hash", "seed", "accuracy", "correct", "loss", "macs", "params", "seconds")
THIRD = 64  # architectures with a third seed


class TableRecipe(msgspec.Struct, frozen=True):
    """How each network is trained: SGD with Nesterov's momentum, a rate that rises linearly and falls by a cosine."""

    steps: int = 1000
    batch: int = 32
    lr: float = 0.1
    warmup: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-5
    gamma: float = 0.5  # of the last norm of each block, at the start; from 0, networks alone are a lottery

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a part of `lr`."""
        rise = self.warmup * self.steps
        return min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * max(0.0, step - rise) / (self.steps - rise))))


class Clips(NamedTuple):
    """Decoded clips, uint8 (N, 3, T, H, W), and their labels (N,)."""

    frames: Tensor
    labels: Tensor


class Outcome(NamedTuple):
    """What a training came to, on val."""

    correct: int
    clips: int
    loss: float
    params: int
    seconds: float


def candidate_numbers(space: SearchSpace) -> np.ndarray:
    """All architectures of a space as candidate numbers (N, D), in the order of counting; a row is an `index`."""
    return np.stack(np.unravel_index(np.arange(space.size), space.sizes), axis=1)


def load_clips(index: Path) -> tuple[Clips, Clips]:
    """Train and val, decoded; from `index`.npz where that has been written."""
    kept = index.with_suffix(".npz")
    if not kept.exists():
        videos = open_videos(index)
        parts = {split: decode(videos, getattr(videos, split)) for split in ("train", "val")}
        half = kept.with_name(f".{os.getpid()}-{kept.name}")
        np.savez(half, **{f"{split}_{key}": value for split, part in parts.items() for key, value in part.items()})
        half.rename(kept)
    with np.load(kept) as arrays:
        tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    return Clips(tensors["train_x"], tensors["train_y"]), Clips(tensors["val_x"], tensors["val_y"])


def decode(videos: VideoSet, part: tuple[Video, ...]) -> dict[str, Any]:
    """Frames (N, 3, T, H, W) and labels (N,) of a split."""
    clips = []
    for video in part:
        with VideoFile(videos.root / video.path) as file:
            clips.append(np.stack(list(file.every(10_000))))
    return {"x": np.stack(clips).transpose(0, 4, 1, 2, 3), "y": np.array([video.label for video in part])}


def train(arch: Architecture, seed: int, number: int, train: Clips, val: Clips, recipe: TableRecipe) -> Outcome:
    """Train one network and judge it on val. `number`: of the architecture; it draws other batches than the rest."""
    start = time.process_time()
    torch.manual_seed(1000 * number + seed)
    net = build(arch, classes=arch.reference.classes)
    for module in net.modules():
        if isinstance(module, MBConv3d):
            nn.init.constant_(module.project_norm.weight, recipe.gamma)
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, recipe.lr, momentum=recipe.momentum, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, recipe.rate)
    for clips in batches(len(train.labels), recipe, np.random.default_rng((number, seed))):
        loss = F.cross_entropy(net(prepared(train.frames[clips], net)), train.labels[clips])
        loss.backward()
        sgd.step()
        schedule.step()
        sgd.zero_grad(set_to_none=True)
    correct, loss_sum = judge(net, val)
    params = sum(p.numel() for p in net.parameters())
    return Outcome(correct, len(val.labels), loss_sum / len(val.labels), params, time.process_time() - start)


def batches(clips: int, recipe: TableRecipe, rng: np.random.Generator) -> list[Tensor]:
    """The clips of every step: permutations, one after the other."""
    rounds = math.ceil(recipe.steps * recipe.batch / clips)
    order = np.concatenate([rng.permutation(clips) for _ in range(rounds)])
    return list(torch.from_numpy(order[: recipe.steps * recipe.batch]).split(recipe.batch))


def judge(net: SearchNetwork, val: Clips) -> tuple[int, float]:
    """Correct clips and the sum of their losses in nats."""
    net.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for x, y in zip(val.frames.split(120), val.labels.split(120)):
            logits = net(prepared(x, net))
            correct += int((logits.argmax(1) == y).sum())
            loss += float(F.cross_entropy(logits, y, reduction="sum"))
    return correct, loss


def prepared(frames: Tensor, net: SearchNetwork) -> Tensor:
    """Frames normalised as the network wants them."""
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (net.clip.mean, net.clip.std))
    return ((frames.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last_3d)


def jobs(size: int, seeds: int) -> list[tuple[int, int]]:
    """(architecture, seed) in the order of work."""
    order = np.random.default_rng(12).permutation(size).tolist()
    return [(i, seed) for seed in range(seeds) for i in order] + [(i, seeds) for i in order[:THIRD]]


def done() -> set[tuple[int, int]]:
    """What has been trained, by whichever shard."""
    found = set()
    for path in RESULTS.glob("*.csv"):
        with path.open() as lines:
            found |= {(int(row["index"]), int(row["seed"])) for row in csv.DictReader(lines)}
    return found


def add(path: Path, row: dict[str, Any]) -> None:
    """Append a line to a shard's file, with a header where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main() -> int:
    """One piece of the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the index that `autovid data synthetic bench` has written")
    parser.add_argument("--shard", default="0/1", metavar="K/N", help="every N-th training from the K-th on")
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no training that would end later")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    start = time.monotonic()
    shard, shards = (int(part) for part in args.shard.split("/"))
    torch.set_num_threads(1)
    keep_memory()
    space, recipe = load_space("bench"), TableRecipe()
    rows = candidate_numbers(space)
    macs = space.cost_table().macs(rows)
    trained = done()
    open_jobs = [job for job in jobs(space.size, args.seeds)[shard::shards] if job not in trained]
    if not open_jobs:
        return 0
    clips, val = load_clips(args.data)
    longest = 0.0
    for number, seed in open_jobs:
        before = time.monotonic()
        if before - start + longest > 60 * args.minutes:
            return 1
        arch = space.architecture(rows[number])
        outcome = train(arch, seed, number, clips, val, recipe)
        accuracy = round(outcome.correct / outcome.clips, 5)
        row = (number, arch.hash, seed, accuracy, outcome.correct, round(outcome.loss, 5), int(macs[number]))
        row += (outcome.params, round(outcome.seconds, 2))
        add(RESULTS / f"shard-{shard}of{shards}.csv", dict(zip(COLUMNS, row)))
        longest = max(longest, time.monotonic() - before)
        print(f"{number:4d} seed {seed}: {accuracy:.1%}, loss {outcome.loss:.3f}, {outcome.seconds:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
