"""How one network is trained from scratch (seed-auto-tsnet, section 3.2 and Table 3), as flags can change it.

The paper's: SGD with learning rate 0.4 at 256 clips a step, half-period cosine after a linear warm-up of 34 of 300
epochs (256 for Auto-TSNet-L), dropout 0.5 before the classifier (a line of the architecture itself), He initialisation
(the layers do it), scale jitter and crops by Table 3, AutoAugment on every frame.
Ours, where it is silent: momentum 0.9 and weight decay 5e-5 (what its search uses), no weight decay on batch norm
(X3D's), the learning rate in proportion to the batch, the cosine from the end of the warm-up to zero.
Ours too: that hand-designed networks are trained by the same recipe; their papers each have one of their own.
Ours as well: the proxy, 30 epochs of clips of 32 pixels, without AutoAugment because it is so short.
"""

import math
from typing import Any, Literal, get_args

import msgspec

from autovid.clip import Clip
from autovid.data.auto_augment import Augment
from autovid.errors import ConfigError
from autovid.models import Model, NetworkSpec, build_network
from autovid.space import SearchSpace
from autovid.space.architecture import check_frames

WARMUP = 34 / 300  # of the epochs
PAPER: dict[str, Any] = {"epochs": 300, "batch": 256, "augment": "auto"}
LR = 0.4 / 256  # for each clip of a step
PROXY: dict[str, Any] = {"epochs": 30, "batch": 8, "frames": 16, "crop": 32, "stride": 2, "augment": "none"}
MOST = {"epochs": 100_000, "batch": 65_536, "frames": 1024, "crop": 2048, "stride": 1024}

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what training does, but the architecture and the videos."""

    epochs: float
    batch: int
    lr: float
    warmup: float  # epochs
    frames: int
    stride: int
    crop: int
    jitter: tuple[int, int]  # of the short side, in pixels
    augment: Augment = "none"  # by default what runs did that do not record it
    momentum: float = 0.9
    weight_decay: float = 5e-5
    seed: int = 0
    precision: Precision = "auto"

    def clip(self, net_clip: Clip) -> Clip:
        """What the network is shown: its own normalisation, the recipe's size."""
        return msgspec.structs.replace(net_clip, frames=self.frames, stride=self.stride, crop=self.crop)

    def steps(self, videos: int) -> int:
        """Steps in which `videos` videos are seen `epochs` times, as exactly as whole batches allow."""
        return max(1, round(self.epochs * videos / self.batch))

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`: linear warm-up, then half a period of a cosine."""
        warm = round(steps * self.warmup / self.epochs)
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def make_recipe(what: Model | SearchSpace, *, proxy: bool = False, **changes: Any) -> Recipe:
    """The paper's recipe at the reference input of `what`, or a short proxy of it (ours), with `changes`.

    A change that is None is none. What is not given follows from what is: learning rate from batch, warm-up from
    epochs, jitter from crop. What cannot take the proxy's number of frames keeps its own.
    Raises ConfigError for values that cannot be.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    reference = what.reference
    size = {"frames": reference.frames, "crop": reference.crop, "stride": reference.stride}
    values = {**size, **(PROXY if proxy else PAPER), **given}
    if proxy and "frames" not in given and not _takes(what, values["frames"], values["crop"]):
        values["frames"] = reference.frames
    values.setdefault("lr", LR * values["batch"])
    values.setdefault("warmup", values["epochs"] * WARMUP)
    values.setdefault("jitter", jitter_range(values["crop"]))
    recipe = Recipe(**values)
    check_recipe(recipe)
    _check_clip(what, recipe.frames, recipe.crop)
    return recipe


def _check_clip(what: Model | SearchSpace, frames: int, crop: int) -> None:
    """Raises ConfigError where the network cannot take such clips."""
    if isinstance(what, NetworkSpec):
        build_network(what.changed(frames=frames, crop=crop), device="meta")
    else:
        check_frames(what.network, frames)


def _takes(what: Model | SearchSpace, frames: int, crop: int) -> bool:
    try:
        _check_clip(what, frames, crop)
    except ConfigError:
        return False
    return True


def check_recipe(recipe: Recipe) -> None:
    """Raises ConfigError for values that cannot be."""
    for name, most in MOST.items():
        if not 0 < getattr(recipe, name) <= most:
            raise ConfigError(f"{name} {getattr(recipe, name)}: give more than 0 and at most {most}")
    if not 0 < recipe.lr < math.inf:
        raise ConfigError(f"lr {recipe.lr}: give a finite number above 0")
    if not 0 <= recipe.warmup < recipe.epochs:
        raise ConfigError(
            f"warmup {recipe.warmup}: give 0 or more epochs, fewer than the {recipe.epochs:g} of training"
        )
    if not recipe.crop <= recipe.jitter[0] <= recipe.jitter[1] <= MOST["crop"]:
        low, high = recipe.jitter
        raise ConfigError(f"jitter {low}:{high}: give MIN:MAX, no smaller than the crop of {recipe.crop}")
    if not 0 <= recipe.weight_decay < math.inf:
        raise ConfigError(f"weight decay {recipe.weight_decay}: give 0 or more")
    if recipe.seed < 0:
        raise ConfigError(f"seed {recipe.seed}: give 0 or more")
    if recipe.augment not in get_args(Augment):
        raise ConfigError(f"augment {recipe.augment!r}: choose one of {', '.join(get_args(Augment))}")
    if recipe.precision not in get_args(Precision):
        raise ConfigError(f"precision {recipe.precision!r}: choose one of {', '.join(get_args(Precision))}")


def jitter_range(crop: int) -> tuple[int, int]:
    """Table 3's range for a crop: 8/7 and 10/7 of it, to even numbers (160: 182 to 228)."""
    return _even(crop * 8 / 7), _even(crop * 10 / 7)


def view_crop(crop: int, views: str) -> int:
    """Table 3's evaluation crop: left, centre and right are cut at 8/7 of the training crop (160: 182)."""
    return _even(crop * 8 / 7) if views == "10-lcr" else crop


def _even(value: float) -> int:
    return 2 * round(value / 2)
