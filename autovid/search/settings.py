"""The settings of a search: the space's recipe or its proxy, with the user's changes."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from autovid.clip import MOST
from autovid.data.transforms import jitter_range
from autovid.errors import ConfigError
from autovid.search.strategies import STRATEGIES
from autovid.search.strategy import strategy_settings, takes
from autovid.space import SearchSpace
from autovid.space.checks import check_crop, check_frames
from autovid.space.schema import JOINT, Part, PartProxy, Positive, Proxy, Strict, WeightOptimizer

RISE = 0.1  # of all updates, in which the learning rate of one cycle rises
OPTIONS = {  # of strategies, that are also flags and keys of a recipe
    "samples", "beta", "likelihood", "in_range", "cost_gradient", "open_prior",
}  # fmt: skip


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


Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class ChoiceSettings(Strict, frozen=True):
    """Settings of the choice at the end of a search, and of its comparison (`autovid.search.choice`).

    `candidates` are raced, at first on `clips` held-out clips; `random` architectures are judged beside the chosen one
    on up to `val_clips` validation clips; statistics of norms are taken on up to `calibration` clips.
    """

    candidates: Count = 64
    clips: Positive = 128
    random: Count = 64
    val_clips: Positive = 512
    calibration: Positive = 128

    @classmethod
    def after(cls, updates: int, changes: Mapping[str, Any]) -> "ChoiceSettings | None":
        """Return the choice that so many updates are worth: an architecture for each 16, from 4 to 64 (ours).

        None where the `changes` ask for no candidates. Raises ConfigError for a change that cannot be.
        """
        worth = min(64, max(4, updates // 16))
        try:
            choice = msgspec.convert({"candidates": worth, "random": worth, **changes}, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"choice: {error}") from None
        return choice if choice.candidates else None


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
    optimizer: WeightOptimizer = "sgd"  # of the weights
    momentum: float = 0.9  # of AdamW: beta 1
    weight_decay: float = 5e-5
    archs_per_update: int | None = None  # None: as many as the strategy wants
    split: Literal["architectures", "batch"] = "architectures"  # what workers divide among them
    sync_norm: bool = False  # where a batch is divided: statistics of norms over all of it, not over each worker's part
    balance: bool = False  # every class is drawn as often as any other, to learn from and to judge by
    alpha_every: int = 1  # updates of the weights for each time that a strategy is asked between them
    schedule: Literal["cosine", "one_cycle"] = "cosine"  # of the learning rate, in each part; or over all of them
    classifier_rate: float = 1.0  # the classifier's learning rate, times that of the other weights
    norm_start: float = 0.0  # scale of norms that end a block
    held_out_fraction: float = 0.5  # of the training videos
    choice: ChoiceSettings | None = None  # None: what the strategy takes for the best is taken
    seed: int = 0
    proxy: bool = False
    budget: float | None = None  # seconds that the steps were planned for, once
    processes: int | None = None  # of one machine, which were measured as the fastest then
    threads: int | None = None  # of one process on a CPU: given, or measured as the fastest; None: all

    @property
    def steps(self) -> int:
        """Steps of all parts together."""
        return sum(part.length for part in self.parts)

    def norm_clips(self, workers: int) -> int:
        """Return how many clips a batch norm takes its statistics from, with so many workers."""
        return self.batch // (workers if self.divides_batch(workers) and not self.sync_norm else 1)

    def divides_batch(self, workers: int) -> bool:
        """Tell whether so many workers divide each batch: as asked, or for want of architectures for all of them."""
        drawn = self.archs_per_update or self.options.get("samples", workers)
        return workers > 1 and (self.split == "batch" or (isinstance(drawn, int) and drawn < workers))

    def strategy_options(self, part: PartSettings) -> dict[str, Any]:
        """Return the strategy's settings in a part: a part may have its own learning rate."""
        own: dict[str, Any] = {"arch_lr": part.arch_lr} if takes(self.strategy, "arch_lr") else {}
        if part.name == JOINT and takes(self.strategy, "in_range"):
            own["in_range"] = True  # what no constraint allows needs no weights any more
        return {**self.options, **own}

    def lr_at(self, number: int, step: int) -> float:
        """Return the learning rate of the weights at an update of part `number`.

        "cosine": half a period in every part. "one_cycle": a rise over a tenth of all updates of the search, then half
        a cosine down to zero; the part's rate is the height.
        """
        part = self.parts[number]
        if self.schedule == "cosine":
            return part.lr * 0.5 * (1 + math.cos(math.pi * step / part.steps))
        updates = sum(one.steps for one in self.parts)
        done = sum(one.steps for one in self.parts[:number]) + step
        rising = max(1, round(RISE * updates))
        if done < rising:
            return part.lr * (done + 1) / rising
        return part.lr * 0.5 * (1 + math.cos(math.pi * (done - rising) / max(1, updates - rising)))

    def locate(self, step: int) -> tuple[int, int]:
        """Return the number of the part, and the step within it, of a step of the whole search."""
        for number, part in enumerate(self.parts):
            if step < part.length:
                return number, step
            step -= part.length
        raise IndexError(step)

    def end(self, number: int) -> int:
        """Return the step of the whole search at which part `number` ends."""
        return sum(part.length for part in self.parts[: number + 1])


def settings_for(
    space: SearchSpace,
    *,
    proxy: bool,
    videos: int,
    constrained: bool = True,
    strategy: str = "parsec",
    options: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> SearchSettings:
    """Return the settings of a space's recipe, or of its proxy, with the `changes` that are not None.

    `videos` is how many there are for training; epochs count in those of them that the weights learn from. `steps` and
    `epochs` among the changes replace the length of every part (`steps` may have a number for each); `lr` and `arch_lr`
    every part's learning rates; `choice` values of `ChoiceSettings`. `constrained`: whether the search has a
    constraint. `options` are the strategy's; those that are flags may also stand among the changes.
    Raises ConfigError.
    """
    assert space.recipe is not None
    assert space.proxy is not None
    steps, epochs = changes.pop("steps", None), changes.pop("epochs", None)
    lr, arch_lr = changes.pop("lr", None), changes.pop("arch_lr", None)
    choice = changes.pop("choice", None) or {}
    overrides = {key: value for key, value in changes.items() if value is not None}
    own = {key: overrides.pop(key) for key in OPTIONS & overrides.keys()}
    if not own.get("in_range"):
        own.pop("in_range", None)
    used = own if arch_lr is None else {*own, "arch_lr"}
    if odd := sorted(key for key in used if not takes(strategy, key)):
        raise ConfigError(f"--{odd[0].replace('_', '-')}: the strategy {strategy} has no such setting (parsec has it)")
    recipe, small, reference = space.recipe, space.proxy, space.reference
    base, clip = (small, small) if proxy else (recipe, reference)
    values: dict[str, Any] = {
        **{key: getattr(clip, key) for key in ("frames", "crop", "stride")},
        **{key: getattr(base, key) for key in ("batch", "jitter")},
        **{key: getattr(recipe, key) for key in ("momentum", "weight_decay")},
        **(_learning(small) if proxy else {}),
        **overrides,
    }
    check_crop(values["crop"])
    if "crop" in overrides and "jitter" not in overrides:
        values["jitter"] = jitter_range(overrides["crop"])
    if min(values["jitter"]) < values["crop"] or values["jitter"][0] > values["jitter"][1]:
        low, high = values["jitter"]
        raise ConfigError(f"jitter {low}:{high} must rise and not be smaller than the crop, {values['crop']}")
    check_frames(space.network, values["frames"])
    _check({"epochs": epochs or 0, "seed": 0, **values})
    values["options"] = _options(strategy, recipe.samples, {**own, **options}, constrained, proxy)
    how = strategy_settings(strategy, values["options"])
    rounds = getattr(how, "rounds", 0)
    seen = videos - int(videos * values.get("held_out_fraction", 0.5) + 0.5)  # as `hold_out` counts
    per_epoch = max(1, seen // values["batch"])
    rates = {"lr": lr, "arch_lr": arch_lr}
    parts = _parts(space, proxy, steps, round(epochs * per_epoch) if epochs else None, per_epoch, rates, rounds)
    if getattr(how, "open_prior", "") == "evidence":  # instead of a warm-up of a fixed length
        parts = [msgspec.structs.replace(part, warmup=0) for part in parts]
    if proxy or choice:
        values["choice"] = ChoiceSettings.after(sum(part.steps for part in parts), choice)
    settings = SearchSettings(parts=tuple(parts), proxy=proxy, strategy=strategy, **values)
    return msgspec.convert(msgspec.to_builtins(settings), SearchSettings)


def _parts(
    space: SearchSpace,
    proxy: bool,
    steps: int | Mapping[str, int] | None,
    length: int | None,
    per_epoch: int,
    rates: Mapping[str, float | None],
    rounds: int,
) -> list[PartSettings]:
    """Return the parts, and the joint phase where there is one; `steps`, else `length`, is that of every part."""
    assert space.proxy is not None
    joint = space.proxy.joint if proxy else None
    plans: dict[str, Part | PartProxy] = {part.name: part for part in space.parts}
    plans = {**space.proxy.parts} if proxy else plans
    plans |= {JOINT: joint} if joint is not None else {}
    if isinstance(steps, Mapping):
        if steps.keys() != plans.keys():
            raise ConfigError(f"steps of {', '.join(steps)}: give those of {', '.join(plans)}, or one number for all")
        lengths = dict(steps)
    else:
        lengths = {
            name: steps or length or (one.steps if isinstance(one, PartProxy) else round(one.epochs * per_epoch))
            for name, one in plans.items()
        }
    warmups = {part.name: part.warmup for part in space.parts}
    parts = []
    for name in [*(part.name for part in space.parts), *([JOINT] if JOINT in plans else [])]:
        lr, arch_lr = (rates[key] or getattr(plans[name], key) for key in ("lr", "arch_lr"))
        count = max(1, lengths[name])
        parts.append(PartSettings(name, count, round(warmups.get(name, 0.0) * lengths[name]), lr, arch_lr))
    if rounds and JOINT in plans:
        parts[-1] = msgspec.structs.replace(parts[-1], rounds=rounds)
    elif rounds:
        parts.append(PartSettings(JOINT, 0, 0, 0.0, 0.0, rounds))
    return parts


def _learning(proxy: Proxy) -> dict[str, Any]:
    """Return how a supernet learns with a proxy."""
    return {
        "optimizer": proxy.optimizer,
        "archs_per_update": proxy.archs_per_update,
        "alpha_every": proxy.alpha_every,
        "schedule": "one_cycle",
        "classifier_rate": proxy.classifier_rate,
        "norm_start": proxy.norm_start,
        "held_out_fraction": proxy.held_out_fraction,
    }


def _options(strategy: str, samples: int, options: dict[str, Any], constrained: bool, proxy: bool) -> dict[str, Any]:
    """Return a strategy's settings: those that were given, on top of its own by the space's recipe, if it has any."""
    of_recipe = getattr(STRATEGIES.load(strategy).Settings, "of_recipe", None)
    if of_recipe is not None:
        options = of_recipe(options, samples, constrained, proxy)
    if options.get("in_range") and not constrained:
        raise ConfigError("--in-range (in_range) draws from a range: give one with --flops MIN:MAX (or another cost's)")
    return options


def _check(values: dict[str, Any]) -> None:
    """Raise ConfigError for what no machine holds, and for what would have no effect."""
    for name, most in MOST.items():
        if values[name] > most:
            raise ConfigError(f"{name} {values[name]:g}: at most {most}")
    if values["seed"] < 0:
        raise ConfigError(f"seed {values['seed']}: 0 or more")
