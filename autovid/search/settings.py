"""What a search is run with: the space's recipe or its proxy, with the user's changes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from autovid.clip import MOST
from autovid.data.transforms import jitter_range
from autovid.errors import ConfigError
from autovid.search.strategy import strategy_settings, takes
from autovid.space import SearchSpace
from autovid.space.checks import check_crop, check_frames
from autovid.space.schema import JOINT, Strict

PARSEC = {  # options that are also flags and keys of a recipe
    "samples", "beta", "likelihood", "in_range", "cost_gradient", "open_prior",
}  # fmt: skip
PAPERS = {"cost_gradient": "sampled", "open_prior": "quarter"}  # of PARSEC in the papers' recipe
OURS = {"cost_gradient": "exact", "open_prior": "evidence"}  # in the proxy's


class PartSettings(Strict, frozen=True):
    """One part: how many steps, how many of them leave alpha alone, and the learning rates.

    The joint phase behind the parts is one as well.
    """

    name: str
    steps: int
    warmup: int
    lr: float
    arch_lr: float
    rounds: int = 0  # of asking, scoring and telling after the updates, for strategies that are asked then

    @property
    def length(self) -> int:
        """Return the steps of the whole part."""
        return self.steps + self.rounds


class SearchSettings(Strict, frozen=True, omit_defaults=False):
    """Everything that decides what a search computes (and goes into config.yaml)."""

    parts: tuple[PartSettings, ...]
    frames: int
    crop: int
    stride: int
    jitter: tuple[int, int]
    batch: int
    strategy: str = "parsec"
    score: str = "supernet"  # or training, or table:NAME
    options: dict[str, Any] = msgspec.field(default_factory=dict)  # of the strategy
    score_clips: int = 256  # held-out clips that architectures are scored on after the updates, always the same
    momentum: float = 0.9
    weight_decay: float = 5e-5
    seed: int = 0
    proxy: bool = False

    @property
    def steps(self) -> int:
        """Steps of all parts together."""
        return sum(part.length for part in self.parts)

    def strategy_options(self, part: PartSettings) -> dict[str, Any]:
        """Return the strategy's settings in a part: a part may have its own learning rate."""
        own: dict[str, Any] = {"arch_lr": part.arch_lr} if takes(self.strategy, "arch_lr") else {}
        if part.name == JOINT and takes(self.strategy, "in_range"):
            own["in_range"] = True  # what no constraint allows needs no weights any more
        return {**self.options, **own}

    def locate(self, step: int) -> tuple[int, int]:
        """(number of the part, step within it) of a step of the whole search."""
        for number, part in enumerate(self.parts):
            if step < part.length:
                return number, step
            step -= part.length
        raise IndexError(step)

    def end(self, number: int) -> int:
        """The step of the whole search at which part `number` ends."""
        return sum(part.length for part in self.parts[: number + 1])


def settings_for(
    space: SearchSpace,
    *,
    proxy: bool,
    videos: int,
    constrained: bool = True,
    strategy: str = "parsec",
    score: str = "supernet",
    options: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> SearchSettings:
    """The settings of a space's recipe, or of its proxy, with the `changes` that are not None.

    `videos` is how many there are to learn the weights from: epochs count in them. `steps` and `epochs` among the
    changes replace the length of every part; `lr` and `arch_lr` every part's learning rates. `constrained`: whether
    the search has a constraint. `options` are the strategy's; those of PARSEC may also stand among the changes.
    Raises ConfigError.
    """
    assert space.recipe is not None
    assert space.proxy is not None
    steps, epochs = changes.pop("steps", None), changes.pop("epochs", None)
    lr, arch_lr = changes.pop("lr", None), changes.pop("arch_lr", None)
    given = {key: value for key, value in changes.items() if value is not None}
    own = {key: given.pop(key) for key in PARSEC & given.keys()}
    if not own.get("in_range"):
        own.pop("in_range", None)
    if own and strategy != "parsec":
        raise ConfigError(f"--{min(own).replace('_', '-')} is for the strategy parsec, not for {strategy}")
    recipe, small, reference = space.recipe, space.proxy, space.reference
    base = small if proxy else recipe
    values: dict[str, Any] = {
        "frames": small.frames if proxy else reference.frames,
        "crop": small.crop if proxy else reference.crop,
        "stride": small.stride if proxy else reference.stride,
        "batch": base.batch,
        "jitter": base.jitter,
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
    _check({"epochs": epochs or 0, "seed": 0, **values})
    values["options"] = _options(strategy, recipe.samples, {**own, **options}, constrained, proxy)
    how = strategy_settings(strategy, values["options"])
    rounds = getattr(how, "rounds", 0)
    waits = getattr(how, "open_prior", "") == "evidence"  # instead of a warm-up of a fixed length
    per_epoch = max(1, videos // values["batch"])
    parts = []
    for part in space.parts:
        rates = small.parts[part.name] if proxy else part
        length = small.parts[part.name].steps if proxy else round(part.epochs * per_epoch)
        length = steps or (round(epochs * per_epoch) if epochs else length)
        warmup = 0 if waits else round(part.warmup * length)
        parts.append(PartSettings(part.name, max(1, length), warmup, lr or rates.lr, arch_lr or rates.arch_lr))
    joint = small.joint if proxy else None
    if joint is not None:
        length = steps or (round(epochs * per_epoch) if epochs else joint.steps)
        parts.append(PartSettings(JOINT, max(1, length), 0, lr or joint.lr, arch_lr or joint.arch_lr, rounds))
    elif rounds:
        parts.append(PartSettings(JOINT, 0, 0, 0.0, 0.0, rounds))
    settings = SearchSettings(parts=tuple(parts), proxy=proxy, strategy=strategy, score=score, **values)
    return msgspec.convert(msgspec.to_builtins(settings), SearchSettings)


def _options(strategy: str, samples: int, options: dict[str, Any], constrained: bool, proxy: bool) -> dict[str, Any]:
    """Return a strategy's settings: all of PARSEC's, by the space and its recipe; of others those that were given."""
    if strategy != "parsec":
        return options
    k = options.get("samples", samples)
    most = samples if k == "auto" else k
    options = {"samples": samples, "most_samples": most, "beta": "auto", **(OURS if proxy else PAPERS), **options}
    if options.get("in_range") and not constrained:
        raise ConfigError("--in-range (in_range) draws from a range: give one with --flops MIN:MAX (or another cost's)")
    return options


def _check(values: dict[str, Any]) -> None:
    """Raises ConfigError for what no machine holds, and for what would have no effect."""
    for name, most in MOST.items():
        if values[name] > most:
            raise ConfigError(f"{name} {values[name]:g}: at most {most}")
    if values["seed"] < 0:
        raise ConfigError(f"seed {values['seed']}: 0 or more")
