"""Makes the tabular benchmark: every architecture of `search_spaces/bench.yaml`, trained alone until it has converged.

    autovid data synthetic bench -o DATA                            # 12,000 small H.264 videos, about a minute
    python bench/table.py DATA/bench.csv --shard 0/2 --minutes 5    # one piece of one of two processes
    python bench/table.py --latency                                 # of all, on a machine that does nothing else
    python bench/table.py --pack                                    # what is there, into the package

Exit code 0 says that this shard's part of the table is complete, 1 that there is more to do. A piece begins no training
that would not end in time. Each training is a function of (architecture, seed) alone, is done by one thread, and adds a
line to `bench/results/table-bench/`. What stands there is not trained again, whichever shard has written it. The
architectures within 3 % of 2.56 million MACs come first, from the middle outwards, each with both seeds, then seed 2 of
them; then seed 0 of the others, seed 1 of the others, and seed 2 of the next 12. So a table that is broken off covers a
range of costs.
Latency is measured in one run of some minutes, whose file is written at its end; the package names its machine.
Frames are decoded once into DATA/bench.npz. How the recipe was found: `docs/research.md`.
"""

import argparse
import csv
import math
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a second thread gains nothing on maps this small

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from muon import Muon
from table_latency import FILE, measure_latency, read_latency, write_latency
from torch import Tensor, nn

from autovid.blocks.mbconv3d import MBConv3d
from autovid.costs import Params
from autovid.data import VideoSet, open_videos
from autovid.data.graded import RECIPES, clip_noise
from autovid.data.index import Video
from autovid.data.video import VideoFile
from autovid.kernels.allocator import keep_memory
from autovid.models import SearchNetwork, build
from autovid.space import Architecture, SearchSpace, load_space
from autovid.studies.table_file import TableFile, TrainedArchitecture
from autovid.studies.tabular import TableEvaluator

RESULTS = Path(__file__).parent / "results" / "table-bench"
PACKED = Path(__file__).parents[1] / "autovid" / "studies" / "tables" / "bench.json"
COLUMNS = ("index", "hash", "seed", "accuracy", "correct", "loss", "macs", "params", "seconds")
SEEDS = 2
THIRD = 64  # architectures with a third seed
CENTRE, SPREAD = 2_560_000, 0.03  # MACs of the architectures that come first, and how far they lie from it
CLIPS = 2400  # of val


class TableRecipe(msgspec.Struct, frozen=True):
    """How each network is trained: by Muon, but vectors and the last layer by SGD with Nesterov's momentum.

    Both rates rise linearly and fall by a cosine; `lr` is a part of each matrix' norm. Clips with little noise come
    first: the quietest `easy` of all at the start, all of them from the part `curriculum` of the steps on.
    """

    steps: int = 600
    batch: int = 64
    lr: float = 0.05
    sgd_lr: float = 0.1
    warmup: float = 0.1
    easy: float = 0.4
    curriculum: float = 0.4
    momentum: float = 0.9
    gamma: float = 0.5  # of the last norm of each block, at the start; from 0, networks alone are a lottery

    def rate(self, step: int) -> float:
        """The rates of a step, as a part of the highest."""
        rise = self.warmup * self.steps
        return min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * max(0.0, step - rise) / (self.steps - rise))))


class Clips(NamedTuple):
    """Decoded clips, uint8 (N, T, H, W, 3), their labels (N,), and their numbers by rising noise, (N,)."""

    frames: Tensor
    labels: Tensor
    by_noise: Tensor


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


def every_architecture(space: SearchSpace) -> dict[int, Architecture]:
    """All architectures of a space, by `index`."""
    return {number: space.architecture(row) for number, row in enumerate(candidate_numbers(space))}


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
    train, val = (Clips(*(tensors[f"{split}_{key}"] for key in ("x", "y", "by_noise"))) for split in ("train", "val"))
    return train, val


def decode(videos: VideoSet, part: tuple[Video, ...]) -> dict[str, Any]:
    """Frames (N, T, H, W, 3), labels (N,) and numbers by rising noise (N,) of a split."""
    clips = []
    for video in part:
        with VideoFile(videos.root / video.path) as file:
            clips.append(np.stack(list(file.all_frames(10_000))))
    noise = [clip_noise(video.path, RECIPES["bench"]) for video in part]
    labels = np.array([video.label for video in part])
    return {"x": np.stack(clips), "y": labels, "by_noise": np.argsort(noise, kind="stable")}


def train(arch: Architecture, seed: int, number: int, train: Clips, val: Clips, recipe: TableRecipe) -> Outcome:
    """Train one network and judge it on val. `number`: of the architecture; it draws other batches than the rest."""
    start = time.process_time()
    torch.manual_seed(1000 * number + seed)
    net = build(arch, classes=arch.reference.classes)
    for module in net.modules():
        if isinstance(module, MBConv3d):
            nn.init.constant_(module.project_norm.weight, recipe.gamma)
    hidden = [p for name, p in net.named_parameters() if p.dim() > 1 and not name.endswith("output.weight")]
    inner = set(map(id, hidden))
    muon = Muon(hidden, recipe.momentum)
    others = [p for p in net.parameters() if id(p) not in inner]
    sgd = torch.optim.SGD(others, recipe.sgd_lr, momentum=recipe.momentum, nesterov=True, fused=True)
    for step, clips in enumerate(batches(train.by_noise, recipe, np.random.default_rng((number, seed)))):
        rate = recipe.rate(step)
        F.cross_entropy(net(prepared(train.frames[clips], net)), train.labels[clips]).backward()
        muon.step(recipe.lr * rate)
        sgd.param_groups[0]["lr"] = recipe.sgd_lr * rate
        sgd.step()
        sgd.zero_grad()
    correct, loss_sum = judge(net, val)
    params = sum(p.numel() for p in net.parameters())
    return Outcome(correct, len(val.labels), loss_sum / len(val.labels), params, time.process_time() - start)


def batches(by_noise: Tensor, recipe: TableRecipe, rng: np.random.Generator) -> Iterator[Tensor]:
    """The clips of every step, drawn from those that it may see."""
    for step in range(recipe.steps):
        share = recipe.easy + (1 - recipe.easy) * step / (recipe.curriculum * recipe.steps)
        yield by_noise[rng.choice(round(min(1.0, share) * len(by_noise)), recipe.batch, replace=False)]


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
    """Frames (N, T, H, W, 3) as the network wants them: (N, 3, T, H, W), normalised, in channels_last_3d."""
    mean, std = (torch.tensor(values) for values in (net.clip.mean, net.clip.std))
    return torch.addcmul(-mean / std, frames.float(), 1 / (255 * std)).permute(0, 4, 1, 2, 3)


def jobs(macs: np.ndarray, seeds: int) -> list[tuple[int, int]]:
    """(architecture, seed) in the order of work; `macs` of all architectures."""
    from_centre = abs(macs - CENTRE)
    order = np.argsort(from_centre, kind="stable").tolist()
    near = int((from_centre <= SPREAD * CENTRE).sum())
    first = [(i, seed) for i in order[:near] for seed in range(seeds)] + [(i, seeds) for i in order[:near]]
    return first + [(i, seed) for seed in range(seeds) for i in order[near:]] + [(i, seeds) for i in order[near:THIRD]]


def trained() -> dict[tuple[int, int], dict[str, str]]:
    """The rows that are there, by whichever shard: by (architecture, seed)."""
    rows = {}
    for path in sorted(RESULTS.glob("shard-*.csv")):
        with path.open() as lines:
            rows |= {(int(row["index"]), int(row["seed"])): row for row in csv.DictReader(lines)}
    return rows


def pack(space: SearchSpace) -> None:
    """Write the rows that are there as a table of the package."""
    rows_of: dict[int, list[dict[str, str]]] = {}
    for (number, _), row in sorted(trained().items()):
        rows_of.setdefault(number, []).append(row)
    candidates = candidate_numbers(space)
    archs = every_architecture(space)
    macs, params = space.cost_table().macs(candidates), Params().table(space).of(candidates)
    conditions, latency = read_latency(RESULTS / FILE, archs)
    architectures = [
        TrainedArchitecture(
            dict(archs[number].choices),
            [float(row["loss"]) for row in rows],
            [int(row["correct"]) for row in rows],
            int(macs[number]),
            int(params[number]),
            latency.get(number),
        )
        for number, rows in rows_of.items()
    ]
    planned, done = SEEDS * space.size + THIRD, sum(map(len, rows_of.values()))
    table = TableFile(
        space=space.name, about="every architecture trained alone on the videos of `autovid data synthetic bench`",
        clips=CLIPS, chance=math.log(space.reference.classes), architectures=architectures, latency=conditions,
        planned=planned if done < planned else 0, covered=covered(macs, set(rows_of)),
    )  # fmt: skip
    PACKED.parent.mkdir(exist_ok=True)
    PACKED.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1))
    print(f"{PACKED.name}: {TableEvaluator(table, PACKED).coverage()}")


def covered(macs: np.ndarray, known: set[int]) -> tuple[int, int]:
    """The widest range of MACs, ends included, in which no architecture is missing."""
    missing = sorted({int(macs[i]) for i in range(len(macs)) if i not in known})
    edges = [int(macs.min()) - 1, *missing, int(macs.max()) + 1]
    low, high = max(pairwise(edges), key=lambda gap: sum(gap[0] < macs[i] < gap[1] for i in known))
    inside = [int(macs[i]) for i in known if low < macs[i] < high]
    return (min(inside), max(inside)) if inside else (0, 0)


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
    parser.add_argument("data", type=Path, nargs="?", help="the index that `autovid data synthetic bench` has written")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--pack", action="store_true", help="train nothing; write what is there into the package")
    instead.add_argument(
        "--latency", action="store_true", help="train nothing; measure all, in one run of some minutes"
    )
    parser.add_argument("--shard", default="0/1", metavar="K/N", help="every N-th training from the K-th on")
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no training that would end later")
    args = parser.parse_args()
    start = time.monotonic()
    shard, shards = (int(part) for part in args.shard.split("/"))
    torch.set_num_threads(1)
    keep_memory()
    space, recipe = load_space("bench"), TableRecipe()
    if args.pack:
        pack(space)
        return 0
    if args.latency:
        archs = every_architecture(space)
        write_latency(RESULTS / FILE, archs, *measure_latency(archs))
        return 0
    if args.data is None:
        parser.error("give the index of the videos")
    rows = candidate_numbers(space)
    macs = space.cost_table().macs(rows)
    known = trained()
    open_jobs = [job for job in jobs(macs, SEEDS)[shard::shards] if job not in known]
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
