"""Synthetic videos of a hand that circles, swipes or waves: a small set of unequal classes, as a newcomer's own.

A hand is drawn over a smooth ground that drifts slowly. The gesture lies in the hand's path alone. Place, size, tilt,
side, speed, direction, colours and noise are drawn alike for all gestures, and what leaves the picture comes in again
on the other side. So the hand is everywhere equally often, and a single frame says nothing about the gesture.

`gestures-small` has 9, 40 and 300 videos of its classes. `gestures-new` has 20 others of each, and `long.mp4`, in which
gestures follow each other. Both are folders with a sub-folder a class; no index is written. The files are H.264 in MP4,
read by the same decoder as anybody's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.data.encoding import can_write, write_video
from autovid.data.synthetic import smooth_texture
from autovid.data.workers import WorkerPool
from autovid.errors import DataError
from autovid.fileio import explained

GESTURES = ("circle", "swipe", "wave")
LONG = "long.mp4"


class GestureRecipe(msgspec.Struct, frozen=True):
    """Everything the pixels depend on; `version` changes with the drawing code.

    `videos` are those of each gesture. Lengths are parts of a picture of `side` pixels, speeds such parts a frame.
    `long` are the gestures of the long video, each of `long_frames` frames.
    """

    videos: tuple[int, int, int]
    long: tuple[str, ...] = ()
    long_frames: int = 125
    frames: int = 50
    side: int = 64
    size: tuple[float, float] = (0.23, 0.28)
    reach: tuple[float, float] = (0.15, 0.22)
    speed: tuple[float, float] = (0.04, 0.06)
    noise: float = 0.01
    seed: int = 0
    version: int = 1


RECIPES = {
    "gestures-small": GestureRecipe((9, 40, 300)),
    "gestures-new": GestureRecipe((20, 20, 20), long=("wave", "circle", "swipe", "wave"), seed=1),
}


def write_gestures(folder: Path, recipe: GestureRecipe, workers: int = 0) -> list[str]:
    """Write all videos of a recipe in `workers` processes (0: in this one), and return their paths in the folder.

    Raises DataError where PyAV lacks H.264, RunError where the folder cannot be written.
    """
    if not can_write():
        raise DataError("this PyAV cannot write H.264 (no libx264): install its wheel with 'pip install av'")
    paths = gesture_paths(recipe)
    with explained(f"cannot write into {folder}"):
        for name in GESTURES:
            (folder / name).mkdir(parents=True, exist_ok=True)
    pool = WorkerPool(_GestureWriter(folder, recipe).write, workers)
    for _ in pool.run(iter(paths)):
        pass
    pool.close()
    return paths


def gesture_paths(recipe: GestureRecipe) -> list[str]:
    """Return the paths of the videos of a recipe: CLASS/NUMBER.mp4, and at last the long one if there is one."""
    paths = [f"{name}/{i:03d}.mp4" for name, count in zip(GESTURES, recipe.videos) for i in range(count)]
    return paths + [LONG] * bool(recipe.long)


class _GestureWriter(msgspec.Struct, frozen=True):
    """Work for processes: one video is drawn and written."""

    folder: Path
    recipe: GestureRecipe

    def write(self, path: str) -> bool:
        with explained(f"cannot write {self.folder / path}"):
            write_video(self.folder / path, draw_gesture(path, self.recipe), quality=23, gop=25)
        return True


def draw_gesture(path: str, recipe: GestureRecipe) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of the video CLASS/NUMBER.mp4, or of the long one, uint8 RGB (side, side, 3)."""
    if path == LONG:
        return draw(recipe.long, recipe.long_frames, recipe, np.random.default_rng((recipe.seed, len(GESTURES))))
    name, number = path.removesuffix(".mp4").split("/")
    rng = np.random.default_rng((recipe.seed, GESTURES.index(name), int(number)))
    return draw([name], recipe.frames, recipe, rng)


def draw(
    gestures: Sequence[str], frames: int, recipe: GestureRecipe, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Draw gestures of `frames` frames each, one after the other, by the same hand over the same ground."""
    side = recipe.side
    dark_light = rng.permutation([0.2, 0.7])
    ground = 255 * (dark_light[0] + 0.08 * smooth_texture(side, rng))
    skin = 255 * dark_light[1] * rng.uniform(0.8, 1.2, 3)
    hand = np.fft.fft2(_hand(side, rng.uniform(*recipe.size), rng.uniform(-0.4, 0.4), bool(rng.integers(2))))
    place, drift = rng.uniform(0, side, 2), rng.uniform(-0.1, 0.1, 2)
    steps = side * np.concatenate([_steps(name, frames, recipe, rng) for name in gestures])
    for t, moved in enumerate(np.cumsum(steps, axis=0) - steps[0]):  # the first frame shows no step
        cover = _shifted(hand, place + moved)[..., None]
        behind = np.roll(ground, np.round(drift * t).astype(int), axis=(0, 1))
        noise = 255 * recipe.noise * rng.standard_normal((side, side, 1))
        yield np.clip(behind + cover * (skin - behind) + noise, 0, 255).astype(np.uint8)


def _steps(gesture: str, frames: int, recipe: GestureRecipe, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the way from each frame to the next, (frames, 2): right and down, in parts of the picture."""
    reach, speed, phase = rng.uniform(*recipe.reach), rng.uniform(*recipe.speed), rng.uniform(0, 2 * np.pi)
    tilt, turn = rng.uniform(-0.2, 0.2), rng.choice([-1, 1])
    travelled = speed * np.arange(frames + 1)
    if gesture == "circle":
        angle = phase + turn * travelled / reach
        path = reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:  # along a line that is nearly level: to and fro, or on and on
        along = reach * np.sin(phase + np.pi / 2 * travelled / reach) if gesture == "wave" else turn * travelled
        path = along[:, None] * np.array([np.cos(tilt), np.sin(tilt)])
    steps: NDArray[np.float64] = np.diff(path, axis=0)
    return steps


def _hand(side: int, size: float, tilt: float, left: bool) -> NDArray[np.float64]:
    """Return the part of each pixel that a hand covers which is centred in the corner, (side, side)."""
    pixels = ((np.arange(side) / side + 0.5) % 1 - 0.5) / size
    x, y = np.meshgrid(-pixels if left else pixels, pixels)
    x, y = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    outside = np.hypot(x, y - 0.35) - 0.48  # the palm
    fingers = [((0.32 * n, 0.1), (0.42 * n, -0.95 + 0.14 * abs(n))) for n in (-1, -1 / 3, 1 / 3, 1)]
    for (x0, y0), (x1, y1) in [*fingers, ((0.2, 0.45), (0.85, 0.0))]:
        part = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
        outside = np.minimum(outside, np.hypot(x - x0 - part * (x1 - x0), y - y0 - part * (y1 - y0)) - 0.13)
    cover: NDArray[np.float64] = np.clip(0.5 - outside * size * side, 0, 1)
    return cover


def _shifted(transformed: NDArray[np.complex128], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move a periodic picture, given by its Fourier transform, right and down by any fraction of pixels."""
    x, y = (np.exp(-2j * np.pi * np.fft.fftfreq(len(transformed)) * pixels) for pixels in by)
    moved: NDArray[np.float64] = np.clip(np.fft.ifft2(transformed * y[:, None] * x).real, 0, 1)
    return moved
