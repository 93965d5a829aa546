"""What it saves to start a training from the supernet's weights: steps to equal accuracy.

    python bench/inherit.py [--updates 600] [--steps 300] [--seeds 2]

The task: eight directions of a moving, noisy texture, clips of 16 frames of 32x32 made in memory, new ones in every
step; chance is 12.5 %. A supernet of `tiny` learns it for `--updates` updates of one architecture of 0.0071 to 0.0079
GFLOPs each. Then one architecture that is drawn beside them is trained twice: from its own random weights, and from the
supernet's. Both see the same clips, at the same learning rate, which is constant after a short warm-up: a schedule
would hide when an accuracy is reached. Accuracy is that of 384 clips that no training has seen, with the statistics of
norms of these clips. No decoding is in the times.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from hardware import hardware
from torch import Tensor

from autovid.costs import Macs
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import SearchNetwork, build_space, inherit
from autovid.search.constraints import Constraint, final_constraints, uniform
from autovid.solver import sample_within
from autovid.space import Architecture, load_space

DIRECTIONS, FRAMES, SIDE, BATCH = 8, 16, 32, 16
RANGE = "0.0071:0.0079"
LR, WARMUP = 0.05, 20
EVERY, HELD_OUT = 10, 384
TARGETS = (50, 70, 80)  # percent


def clips(number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Make clips (B, 3, T, H, W) and labels (B,): textures on a torus, moved by phases of their Fourier series."""
    y = rng.integers(DIRECTIONS, size=number)
    angle, speed = 2 * np.pi * y / DIRECTIONS, rng.uniform(1, 2, number)
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]
    noise = np.fft.fft2(rng.standard_normal((number, 3, SIDE, SIDE)))
    texture = noise * np.exp(-((np.hypot(fy, fx) * SIDE / 5) ** 2))
    way = speed[:, None, None] * (np.cos(angle)[:, None, None] * fx + np.sin(angle)[:, None, None] * fy)
    phase = np.exp(-2j * np.pi * way[:, None, None] * np.arange(FRAMES)[:, None, None])
    x = np.fft.ifft2(texture[:, :, None] * phase).real
    x /= x.std(axis=(1, 2, 3, 4), keepdims=True)
    x += 0.5 * rng.standard_normal(x.shape)
    video = torch.from_numpy(x.astype(np.float32))
    return video.contiguous(memory_format=torch.channels_last_3d), torch.from_numpy(y)


def accuracy(net: SearchNetwork, archs: list[Architecture | None], held_out: tuple[Tensor, Tensor]) -> float:
    """Return the mean accuracy of architectures, in percent."""
    x, y = held_out
    with torch.no_grad(), net.scoring():
        hits = [
            (net(part, arch).argmax(1) == label).float().mean()
            for arch in archs
            for part, label in zip(x.split(128), y.split(128))
        ]
    return 100 * float(torch.stack(hits).mean())


def learn(net: SearchNetwork, steps: int, next_arch: Callable[[], Architecture | None], seed: int) -> Iterator[int]:
    """Train in place; give the number of steps after each."""
    compute, rng = Compute("cpu", "fp32"), np.random.default_rng((seed, 1))
    sgd = torch.optim.SGD(net.parameters(), LR, momentum=0.9, weight_decay=5e-5)
    for step in range(steps):
        x, y = clips(BATCH, rng)
        sgd.param_groups[0]["lr"] = LR * min(1.0, (step + 1) / WARMUP)
        net.train()
        with compute.autocast("train"):
            loss = F.cross_entropy(net(x, next_arch()), y)
        sgd.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        sgd.step()
        yield step + 1


def curve(net: SearchNetwork, steps: int, seed: int, held_out: tuple[Tensor, Tensor]) -> list[tuple[int, float]]:
    """Return (steps, accuracy) of a training until it has the highest of the targets."""
    points = [(0, accuracy(net, [None], held_out))]
    for done in learn(net, steps, lambda: None, seed):
        if done % EVERY == 0:
            points.append((done, accuracy(net, [None], held_out)))
            if points[-1][1] >= TARGETS[-1]:
                break
    return points


def reached(points: list[tuple[int, float]], target: float) -> str:
    return next((str(step) for step, top1 in points if top1 >= target), f"not in {points[-1][0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    keep_memory()
    space, rng = load_space("tiny"), np.random.default_rng(0)
    (inside,) = final_constraints([Constraint(Macs(), Macs.quantity.parse(RANGE))], space)
    drawn = sample_within([inside], uniform(inside.table), args.updates + args.seeds, rng, True)
    archs = iter([space.architecture(row) for row in drawn[args.seeds :]])
    held_out = clips(HELD_OUT, np.random.default_rng(99))
    torch.manual_seed(0)
    supernet = build_space(space, DIRECTIONS)
    start = time.process_time()
    for done in learn(supernet, args.updates, lambda: next(archs), seed=0):
        if done % 100 == 0:
            print(f"supernet, {done} updates, {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    seconds = time.process_time() - start
    unseen = [space.architecture(row) for row in drawn[: args.seeds]]
    print(f"# Starting from the supernet\n\n{hardware()}\n\n## `python bench/inherit.py {' '.join(sys.argv[1:])}`\n")
    print(
        f"tiny, {DIRECTIONS} directions (chance {100 / DIRECTIONS:g} %), batch {BATCH}. The supernet: {args.updates} "
        f"updates in {seconds:.0f} s of processor time. Architectures that it has not seen.\n"
    )
    print("| architecture, seed | start | at step 0 | " + " | ".join(f"steps to {t} %" for t in TARGETS) + " | s |")
    print("|---|---|---|" + "---|" * (len(TARGETS) + 1))
    for seed, arch in enumerate(unseen, 1):
        for inherited in (False, True):
            torch.manual_seed(seed)
            net = build_space(arch.as_space(), DIRECTIONS)
            if inherited:
                inherit(net, supernet)
            start = time.process_time()
            points = curve(net, args.steps, seed, held_out)
            cells = [f"{points[0][1]:.0f} %", *(reached(points, target) for target in TARGETS)]
            name = "the supernet's weights" if inherited else "random weights"
            seconds = time.process_time() - start
            print(f"| {arch.hash}, {seed} | {name} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
