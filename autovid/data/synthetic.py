"""The embedded data set: small videos of a shape that passes over a moving texture.

Twelve classes = 3 shapes x 2 directions x 2 drifts. All else is random: place, size, speed, colours, textures. The
shape shows in a single frame. Its direction (left or right, coming in again on the other side) and the drift of the
texture (rising or sinking) are in the order of the frames alone: a video played backwards swaps both, and frames in no
order fit all four motions equally well. So nothing but shape and motion together names the class, and a mirror image
changes it.

The files are H.264 in MP4, read by the same decoder as anybody's.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.data.encoding import can_write, write_video
from autovid.errors import DataError
from autovid.fileio import cache_folder

SHAPES = ("cross", "disc", "triangle")
DIRECTIONS = ("left", "right")
DRIFTS = ("rising", "sinking")
CLASSES = tuple("-".join(parts) for parts in product(SHAPES, DIRECTIONS, DRIFTS))


class SyntheticRecipe(msgspec.Struct, frozen=True):
    """Everything the pixels depend on; `version` changes with the drawing code."""

    train: int = 64
    val: int = 24
    frames: int = 64
    side: int = 72
    seed: int = 0
    version: int = 3


def synthetic_folder(cache: Path | None = None, recipe: SyntheticRecipe = SyntheticRecipe()) -> Path:  # noqa: B008 (frozen)
    """Return the folder of the embedded data set, written at the first call (10 s to a minute).

    It holds train/CLASS/*.mp4 and val/CLASS/*.mp4. `cache` defaults to `cache_folder()`. Two processes may come at
    once: both write, one wins. Raises DataError where the cache cannot be written or PyAV lacks H.264.
    """
    name = f"synthetic-{hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()[:12]}"
    folder = (cache or cache_folder()) / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            write_synthetic(scratch, recipe)
            os.chmod(scratch, 0o755)
            os.rename(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():
            raise DataError(f"cannot write the synthetic videos to {folder}: {error}; set AUTOVID_CACHE") from error
    return folder


def write_synthetic(folder: Path, recipe: SyntheticRecipe = SyntheticRecipe()) -> None:  # noqa: B008 (frozen)
    """Write all videos of a recipe. Raises DataError where PyAV lacks H.264."""
    if not can_write():
        raise DataError("this PyAV cannot write H.264 (no libx264): install its wheel with 'pip install av'")
    counts = {"train": recipe.train, "val": recipe.val}
    videos = []
    for number, (split, name) in enumerate(product(counts, CLASSES)):
        place = folder / split / name
        place.mkdir(parents=True)
        videos += [(place / f"{i:03d}.mp4", name, (recipe.seed, number, i)) for i in range(counts[split])]

    def write(path: Path, name: str, seed: tuple[int, int, int]) -> None:
        write_video(path, draw(name, recipe, np.random.default_rng(seed)), quality=26, gop=16)

    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))  # the encoder lets other threads run
    try:
        for _ in pool.map(write, *zip(*videos)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def draw(name: str, recipe: SyntheticRecipe, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of one video of class `name`, uint8 RGB (side, side, 3)."""
    shape, direction, drift = name.split("-")
    side = recipe.side
    dark_light = rng.permutation([0.2, 0.6])
    ground, skin = (255 * (level + 0.2 * smooth_texture(side, rng)) for level in dark_light)
    x, y = rng.uniform(0, side), rng.uniform(0.3, 0.7) * side
    step = rng.uniform(2.5, 4.5) * (1 if direction == "right" else -1)
    radius = rng.uniform(0.16, 0.26) * side
    flow = np.array([rng.uniform(1, 2) * (1 if drift == "sinking" else -1), rng.uniform(-0.5, 0.5)])
    tiles = np.tile(ground, (2, 2, 1))
    for t in range(recipe.frames):
        top, left = np.round(-flow * t).astype(int) % side
        behind = tiles[top : top + side, left : left + side]
        cover = _mask(shape, side, x + step * t, y, radius)[..., None]
        yield (behind + cover * (skin - behind)).astype(np.uint8)


def smooth_texture(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a smooth periodic colour texture between -1 and 1, (side, side, 3)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))[..., None] * side
    noise = np.fft.fft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) * np.exp(-((frequency / 4) ** 2))
    texture = np.fft.ifft2(noise, axes=(0, 1)).real
    scaled: NDArray[np.float32] = np.tanh(texture / texture.std()).astype(np.float32)
    return scaled


def _mask(shape: str, side: int, x: float, y: float, radius: float) -> NDArray[np.float32]:
    """Return the fraction of each pixel that the shape covers, (side, side). The image is a torus left to right."""
    pixels = np.arange(side, dtype=np.float32)
    u = ((pixels[None] - x + side / 2) % side - side / 2) / radius
    v = (pixels[:, None] - y) / radius
    if shape == "disc":
        distance = np.hypot(u, v) - 0.9
    elif shape == "cross":
        distance = np.minimum(np.maximum(abs(u) - 0.3, abs(v) - 1), np.maximum(abs(u) - 1, abs(v) - 0.3))
    else:
        distance = np.maximum(v - 0.7, abs(u) - 0.6 * (v + 1))
    cover: NDArray[np.float32] = np.clip(0.5 - distance * radius, 0, 1).astype(np.float32)
    return cover
