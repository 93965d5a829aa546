"""Graded synthetic videos, on which architectures differ: a texture drifts across a small picture.

A class is a texture (coarse, middle or fine), a direction (right, down, left or up) and a speed (slow or fast). The
texture shows in a single frame: a network that sees no motion reaches three times chance. Direction and speed are in
the order of the frames alone. Directions and speeds are drawn from ranges that meet or nearly meet, and each video has
its own noise, from almost none to as much as texture. So easy videos teach, hard ones decide, and the accuracy that a
network can reach depends on how well it measures motion. Slow motion shows over many frames, fast motion between
neighbours: a stream that sees every fourth frame finds the fast one aliased.

The recipe `planted` draws a new texture every four frames. A stream that sees every fourth frame then never sees the
same texture twice, so that motion can come from dense frames alone: the right answer is known by construction.

The files are H.264 in MP4, read by the same decoder as anybody's.
"""

from itertools import product
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.data.encoding import can_write, write_video
from autovid.data.index import Video, VideoSet, write_index
from autovid.data.workers import WorkerPool
from autovid.errors import DataError
from autovid.fileio import explained

TEXTURES = ("coarse", "middle", "fine")
DIRECTIONS = ("right", "down", "left", "up")
SPEEDS = ("slow", "fast")
CLASSES = tuple("-".join(parts) for parts in product(TEXTURES, DIRECTIONS, SPEEDS))
Range = tuple[float, float]


class GradedRecipe(msgspec.Struct, frozen=True):
    """Everything the pixels depend on; `version` changes with the drawing code.

    `train` and `val` are videos of each class. A video is a window of `side` pixels on a periodic texture of `world`
    pixels, which has about `waves` waves across it. `spread` is the part of the quarter circle between two directions
    that a class fills. `speeds` are pixels a frame, log-uniform. `noise` is the deviation of the noise in deviations of
    the texture, log-uniform. `renew`: a new texture every so many frames; 0 for never.
    """

    train: int = 400
    val: int = 100
    frames: int = 16
    side: int = 16
    world: int = 24
    waves: tuple[float, float, float] = (2.0, 3.3, 5.2)
    spread: float = 0.8
    speeds: tuple[Range, Range] = ((0.04, 0.12), (1.5, 3.0))
    noise: Range = (0.05, 1.0)
    contrast: Range = (0.6, 1.0)
    renew: int = 0
    quality: int = 18
    seed: int = 0
    version: int = 1


RECIPES = {"bench": GradedRecipe(), "planted": GradedRecipe(speeds=((0.3, 0.8), (1.5, 3.0)), renew=4)}


def write_graded(folder: Path, recipe: GradedRecipe, name: str = "bench", workers: int = 0) -> VideoSet:
    """Write all videos of a recipe and their index, `folder`/`name`.csv, in `workers` processes (0: in this one).

    Raises DataError where PyAV lacks H.264, RunError where the folder cannot be written.
    """
    if not can_write():
        raise DataError("this PyAV cannot write H.264 (no libx264): install its wheel with 'pip install av'")
    graded = graded_videos(folder, recipe, name)
    with explained(f"cannot write into {folder}"):
        for split, label in product(("train", "val"), CLASSES):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
    pool = WorkerPool(_Writer(folder, recipe).write, workers)
    for _ in pool.run(video.path for video in (*graded.train, *graded.val)):
        pass
    pool.close()
    write_index(folder / f"{name}.csv", graded, {"by": "autovid data synthetic", "recipe": msgspec.to_builtins(recipe)})
    return graded


def graded_videos(folder: Path, recipe: GradedRecipe, name: str = "bench") -> VideoSet:
    """Return the set that a recipe writes into a folder."""
    train, val = (
        tuple(Video(f"{split}/{CLASSES[y]}/{i:04d}.mp4", y) for y in range(len(CLASSES)) for i in range(count))
        for split, count in (("train", recipe.train), ("val", recipe.val))
    )
    return VideoSet(name, folder, CLASSES, train, val, flip=False)


class _Writer(msgspec.Struct, frozen=True):
    """Work for processes: one video is drawn and written."""

    folder: Path
    recipe: GradedRecipe

    def write(self, path: str) -> bool:
        frames = draw_clip(path, self.recipe)
        with explained(f"cannot write {self.folder / path}"):
            write_video(self.folder / path, frames, quality=self.recipe.quality, gop=self.recipe.frames)
        return True


def draw_clip(path: str, recipe: GradedRecipe) -> NDArray[np.uint8]:
    """Draw the frames of the video SPLIT/CLASS/NUMBER.mp4, uint8 RGB (frames, side, side, 3)."""
    pixels, noise, rng = _scene(path, recipe)
    pixels = (pixels + noise * rng.standard_normal(pixels.shape)) / np.hypot(1, noise)
    colour = rng.uniform(*recipe.contrast) * rng.uniform(0.6, 1.2, 3)
    painted = 127 + 60 * (rng.uniform(-0.3, 0.3) + pixels[..., None] * colour)
    frames: NDArray[np.uint8] = np.clip(painted, 0, 255).astype(np.uint8)
    return frames


def clip_noise(path: str, recipe: GradedRecipe) -> float:
    """Return the noise of the video SPLIT/CLASS/NUMBER.mp4, in deviations of its texture: how hard it is."""
    return _scene(path, recipe)[1]


def _scene(path: str, recipe: GradedRecipe) -> tuple[NDArray[np.float64], float, np.random.Generator]:
    """Draw a moving texture (frames, side, side), how much noise is added, and what draws the rest."""
    split, name, number = path.removesuffix(".mp4").split("/")
    rng = np.random.default_rng((recipe.seed, ("train", "val").index(split), CLASSES.index(name), int(number)))
    texture, direction, speed = name.split("-")
    pixels = _drift(TEXTURES.index(texture), _velocity(direction, speed, recipe, rng), recipe, rng)
    return pixels, float(np.exp(rng.uniform(*np.log(recipe.noise)))), rng


def _velocity(direction: str, speed: str, recipe: GradedRecipe, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a velocity of a class: (x, y), in pixels a frame, y downwards."""
    angle = (DIRECTIONS.index(direction) + recipe.spread * rng.uniform(-0.5, 0.5)) * np.pi / 2
    pace = np.exp(rng.uniform(*np.log(recipe.speeds[SPEEDS.index(speed)])))
    return float(pace * np.cos(angle)), float(pace * np.sin(angle))


def _drift(
    texture: int, velocity: tuple[float, float], recipe: GradedRecipe, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a texture that moves, (frames, side, side), between -1 and 1."""
    side, world = recipe.side, recipe.world
    frequency = np.fft.fftfreq(world)
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    waves = np.hypot(x, y) * world
    band = np.exp(-4 * np.log(np.maximum(waves, 1e-6) / recipe.waves[texture]) ** 2)
    times = np.arange(recipe.frames)
    interval = recipe.renew or recipe.frames
    drawn = np.stack([np.fft.fft2(rng.standard_normal((world, world))) * band for _ in times[::interval]])
    drawn /= np.fft.ifft2(drawn).real.std((1, 2), keepdims=True)
    travelled = (x * velocity[0] + y * velocity[1]) * times[:, None, None]  # the Fourier shift: any fraction of a pixel
    moved = np.fft.ifft2(drawn[times // interval] * np.exp(-2j * np.pi * travelled)).real
    pixels: NDArray[np.float64] = np.tanh(moved[:, :side, :side])
    return pixels
