"""What a search is run with: the space's recipe or its proxy, with the user's changes."""

from typing import Any, Literal

import msgspec

from autovid.clip import MOST
from autovid.data.transforms import jitter_range
from autovid.errors import ConfigError
from autovid.search.feasibility import settle
from autovid.search.part_targets import Target
from autovid.space import SearchSpace
from autovid.space.checks import check_crop, check_frames
from autovid.space.schema import Strict


class PartSettings(Strict, frozen=True):
    """One part: how many steps, how many of them leave alpha alone, and the learning rates."""

    name: str
    steps: int
    warmup: int
    lr: float
    arch_lr: float


class SearchSettings(Strict, frozen=True, omit_defaults=False):
    """Everything that decides what a search computes (and goes into config.yaml)."""

    parts: tuple[PartSettings, ...]
    frames: int
    crop: int
    stride: int
    jitter: tuple[int, int]
    batch: int
    flops: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()  # parts whose share of the range could not be met: their ranges in `flops` are ours
    samples: int | Literal["auto"] = 13
    most_samples: int = 13  # K at full entropy, for samples: auto
    beta: float | Literal["auto"] = "auto"
    likelihood: Literal["mean", "sum"] = "mean"
    in_range: bool = False
    momentum: float = 0.9
    weight_decay: float = 5e-5
    seed: int = 0
    proxy: bool = False

    @property
    def steps(self) -> int:
        """Steps of all parts together."""
        return sum(part.steps for part in self.parts)

    def locate(self, step: int) -> tuple[int, int]:
        """(number of the part, step within it) of a step of the whole search."""
        for number, part in enumerate(self.parts):
            if step < part.steps:
                return number, step
            step -= part.steps
        raise IndexError(step)

    def settled_note(self) -> str:
        """What is to be said of the ranges that are ours; empty where none is."""
        ranges = [text for text in self.flops if text.split("=")[0] in self.settled]
        if not ranges:
            return ""
        return f"The parts cannot use their shares of this range one after the other; ours instead: {' '.join(ranges)}"

    def end(self, number: int) -> int:
        """The step of the whole search at which part `number` ends."""
        return sum(part.steps for part in self.parts[: number + 1])


def settings_for(
    space: SearchSpace, *, proxy: bool, videos: int, latency: bool = False, **changes: Any
) -> SearchSettings:
    """The settings of a space's recipe, or of its proxy, with the `changes` that are not None.

    `videos` is how many there are to learn the weights from: epochs count in them. `steps` and `epochs` among the
    changes replace the length of every part; `lr` and `arch_lr` every part's learning rates. Ranges that cannot be met
    one after the other are settled (room.py). `latency`: whether there is a range of that, too.
    Raises CostRangeError for `flops` out of reach.
    """
    assert space.recipe is not None
    assert space.proxy is not None
    steps, epochs = changes.pop("steps", None), changes.pop("epochs", None)
    lr, arch_lr = changes.pop("lr", None), changes.pop("arch_lr", None)
    given = {key: value for key, value in changes.items() if value is not None}
    recipe, small, reference = space.recipe, space.proxy, space.reference
    base = small if proxy else recipe
    values: dict[str, Any] = {
        "frames": small.frames if proxy else reference.frames,
        "crop": small.crop if proxy else reference.crop,
        "stride": small.stride if proxy else reference.stride,
        "batch": base.batch,
        "jitter": base.jitter,
        "samples": recipe.samples,
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        **given,
    }
    check_crop(values["crop"])
    if "crop" in given and "jitter" not in given:
        values["jitter"] = jitter_range(given["crop"])
    if min(values["jitter"]) < values["crop"] or values["jitter"][0] > values["jitter"][1]:
        low, high = values["jitter"]
        raise ConfigError(f"jitter {low}:{high} must rise and not be smaller than the crop, {values['crop']}")
    check_frames(space.network, values["frames"])
    _check({"epochs": epochs or 0, "flops": (), "seed": 0, "in_range": False, **values}, latency)
    values["most_samples"] = recipe.samples if values["samples"] == "auto" else values["samples"]
    per_epoch = max(1, videos // values["batch"])
    parts = []
    for part in space.parts:
        rates = small.parts[part.name] if proxy else part
        length = small.parts[part.name].steps if proxy else round(part.epochs * per_epoch)
        length = steps or (round(epochs * per_epoch) if epochs else length)
        warmup = round(part.warmup * length)
        parts.append(PartSettings(part.name, max(1, length), warmup, lr or rates.lr, arch_lr or rates.arch_lr))
    asked = Target.parse(values.get("flops", ()), space)
    target = settle(space, asked)
    if target is not asked:
        values["flops"] = tuple(target.texts())
        values["settled"] = tuple(sorted(target.own.keys() - asked.own.keys()))
    settings = SearchSettings(parts=tuple(parts), proxy=proxy, **values)
    return msgspec.convert(msgspec.to_builtins(settings), SearchSettings)


def _check(values: dict[str, Any], latency: bool) -> None:
    """Raises ConfigError for what no machine holds, and for what would have no effect."""
    for name, most in MOST.items():
        if values[name] > most:
            raise ConfigError(f"{name} {values[name]:g}: at most {most}")
    if values["seed"] < 0:
        raise ConfigError(f"seed {values['seed']}: 0 or more")
    if values["in_range"] and not (values["flops"] or latency):
        raise ConfigError("--in-range (in_range) draws from a range: give one with --flops MIN:MAX (or --latency)")
