"""The recipe by which one network is trained from scratch, as flags can change it.

"Searching for Two-Stream Models in Multivariate Space for Video Recognition", Gong et al., 2021, arXiv:2108.12957,
section 3.2 and Table 3.
The paper's: SGD with learning rate 0.4 at 256 clips a step, half-period cosine after a linear warm-up of 34 of 300
epochs (256 for Auto-TSNet-L), dropout 0.5 before the classifier (a line of the architecture itself), He initialisation
(the layers do it), scale jitter and crops by Table 3, AutoAugment on every frame.
Ours, where it is silent: momentum 0.9 and weight decay 5e-5 (those of its search), no weight decay on batch norm
(X3D's), the learning rate in proportion to the batch, the cosine from the end of the warm-up to zero.
Ours too: that hand-designed networks are trained by the same recipe; their papers each have one of their own. But one
with a sampler (S2DNet) has in every recipe its authors' clip and rate of the sampler, and for SGD the paper's rate,
0.001 at 64 clips: the sampler diverges without the clip, and at 0.4 with it.

The recipes by name, `PRESETS`: what each sets; all else is `Recipe`'s default or follows from these values.

full      the paper's (`autovid.train.recipe`)
proxy     ours: 30 epochs of clips of 32 pixels, without AutoAugment because it is so short
small     ours, from scratch on 10 to 200 clips a class: AutoAugment, AdamW, labels are smoothed, the weights are
          averaged, and the epochs are many because each is short
finetune  ours, from weights: at first the classifier alone learns, which would else spoil features that it cannot read
          yet (Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", 2022,
          arXiv 2202.10054); then the body does as well, at a tenth of the rate
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, get_args

import msgspec

from autovid.clip import MOST, Clip
from autovid.data.auto_augment import Augment
from autovid.data.transforms import Crops, jitter_range
from autovid.data.views import views_of
from autovid.errors import ConfigError
from autovid.models import Model, NetworkSpec, build_network
from autovid.space import SearchSpace
from autovid.space.checks import check_crop, check_frames

RecipeName = Literal["full", "proxy", "small", "finetune"]
Optimizer = Literal["sgd", "adamw"]

WARMUP = 34 / 300  # of the epochs
LR = 0.4 / 256  # of SGD, for each clip of a step
BODY = 0.1  # of the network's own rate, for what is fine-tuned
FROZEN = 1 / 6  # of the epochs of fine-tuning the body rests
SAMPLER_LR = 0.001 / 64  # the same where a network has a sampler,
SAMPLER_RATE, SAMPLER_NORM = 0.1, 20.0  # whose own rate is this multiple; the gradient is clipped at this norm
ADAMW_DECAY = 0.05
ADAMW_LR = 1e-3  # whatever the batch; the usual one of small networks
ADAMW_LR_OF_SPACES = 6e-3  # from scratch, of the narrow networks of a space; a ResNet-18 learns nothing with it


class Multiples(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Learning rates of kinds of weights, as multiples of the recipe's. `biases` are those outside norms and sampler.

    `context` and `sampler` are S2DNet's: the layer that makes the context m, and f_theta, which says where to look.
    """

    biases: float = 1.0
    classifier: float = 1.0  # where the synopsis has one of its own, that as well
    context: float = 1.0
    sampler: float = 1.0


class Freeze(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Layers whose weights and statistics stay as they are for the first `epochs`.

    A layer is the name of a module or a weight, or a pattern with `*`, as `autovid describe` and error messages have
    them; `body` is everything but the classifier.
    """

    layers: tuple[str, ...] = ()
    epochs: float = 0.0


class Distillation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Learning from a teacher: the softmax's temperature, and the weight of the teacher in the loss."""

    temperature: float = 2.0
    weight: float = 0.5


PRESETS: dict[str, dict[str, Any]] = {
    "full": {"epochs": 300, "batch": 256, "augment": "auto"},
    "proxy": {"epochs": 30, "batch": 8, "frames": 16, "crop": 32, "stride": 2, "augment": "none"},
    "small": {
        "epochs": 100,
        "batch": 16,
        "augment": "auto",
        "label_smoothing": 0.1,
        "ema": 0.99,
        "optimizer": "adamw",
    },
    "finetune": {
        "epochs": 30,
        "batch": 16,
        "label_smoothing": 0.1,
        "ema": 0.99,
        "lr_multiples": Multiples(classifier=1 / BODY),
    },
}


def complete(name: RecipeName, values: dict[str, Any], lr: float = LR, adamw_lr: float = ADAMW_LR) -> None:
    """Fill in what follows from other values: learning rate from batch and optimizer, warm-up from epochs.

    `lr` is the rate of SGD for each clip of a step, `adamw_lr` that of AdamW from scratch.
    """
    if values.get("optimizer") == "adamw":
        values.setdefault("lr", ADAMW_LR if name == "finetune" else adamw_lr)
        values.setdefault("weight_decay", ADAMW_DECAY)
    if name == "finetune":
        values.setdefault("lr", BODY * lr * values["batch"])
        values.setdefault("freeze", Freeze(("body",), values["epochs"] * FROZEN))
    values.setdefault("lr", lr * values["batch"])
    values.setdefault("warmup", values["epochs"] * WARMUP)


MOST_VALIDATIONS = 20  # of a training that does not say how often

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Schedule = Literal["cosine", "cosine_by_epoch", "multi_step"]
Sampling = Literal["dense", "uniform"]


class RecipeError(ConfigError):
    """A value that a recipe cannot have; `key` is its name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key.replace('_', ' ')} {message}")
        self.key = key


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides a training, except the architecture and the videos."""

    epochs: float
    batch: int
    lr: float
    warmup: float  # epochs
    frames: int
    stride: int
    crop: int
    jitter: tuple[int, int]  # of the short side, in pixels
    augment: Augment = "none"  # the default is that of runs which do not record it
    momentum: float = 0.9
    weight_decay: float = 5e-5
    seed: int = 0
    precision: Precision = "auto"
    sampling: Sampling | None = None  # None: the network's own
    crops: Crops = "jitter"  # how training clips are cut
    area: tuple[float, float] = (0.08, 1.0)  # of the picture, for crops: area
    schedule: Schedule = "cosine"  # after the warm-up
    milestones: tuple[float, ...] = ()  # epochs after which a multi_step schedule multiplies by `factor`
    factor: float = 0.1
    warmup_start: float | None = None  # share of lr at which the warm-up begins; None: that of its first step
    warmup_steps: int = 0  # length of the warm-up where it is not given in epochs
    restarts: tuple[float, ...] = ()  # epochs after which warm-up and cosine begin anew
    nesterov: bool = False
    lr_multiples: Multiples = Multiples()
    norm_decay: bool = False  # weight decay of the affine parameters of norms
    bias_decay: bool = True  # and of the biases of other layers
    accumulate: int = 1  # parts that a batch goes through the network in, one after the other
    max_norm: float | None = None  # of the gradient, which is scaled down where it is larger
    label_smoothing: float = 0.0
    ema: float | None = None  # decay of a running average of the weights, which is evaluated in their place; less early
    sync_norm: bool = False  # statistics of batch norm over the clips of all workers, not over those of each
    precise_norm: int = 0  # batches over which they are taken anew after the last step
    color_jitter: float = 0.0  # share by which brightness, contrast and saturation change at most
    lighting: float = 0.0  # how strong PCA lighting is, in deviations of ImageNet's colours
    validate_every: float | None = None  # epochs; 0: never; None: at most MOST_VALIDATIONS, one an epoch where few
    optimizer: Optimizer = "sgd"  # of AdamW momentum is beta 1, and weight_decay is decoupled from the gradient
    mixup: float = 0.0  # alpha of the Beta distribution of how much of a clip stays; 0: none
    cutmix: float = 0.0  # alpha of CutMix's; where both are, each batch takes one of them by chance
    freeze: Freeze = Freeze()  # layers that rest at first
    distillation: Distillation = Distillation()  # where there is a teacher
    balance: bool = False  # every class is drawn as often as any other, however many videos it has
    patience: int = 0  # validations without a better one, after which the training ends; 0: it does not

    @property
    def length(self) -> str:
        """The length of the training, in words."""
        return f"{self.epochs:g} epoch{'s' * (self.epochs != 1)}"

    def clip(self, net_clip: Clip) -> Clip:
        """Return the clip of training: the network's normalisation, the recipe's size and sampling."""
        sampling = self.sampling or net_clip.sampling
        size = {"frames": self.frames, "stride": self.stride, "crop": self.crop}
        return msgspec.structs.replace(net_clip, sampling=sampling, **size)

    def norm_clips(self, workers: int) -> int:
        """Return how many clips a batch norm takes its statistics from, with so many workers."""
        return self.batch // self.accumulate // (1 if self.sync_norm else workers)

    def steps(self, videos: int) -> int:
        """Return the steps in which `videos` videos are seen `epochs` times, as exactly as whole batches allow."""
        return max(1, round(self.epochs * videos / self.batch))

    @property
    def validation_interval(self) -> float:
        """The epochs between two validations; 0 for none."""
        usual = math.ceil(self.epochs / MOST_VALIDATIONS)
        return usual if self.validate_every is None else self.validate_every

    def validates_after(self, done: int, steps: int) -> bool:
        """Return True if val is measured after `done` of `steps` steps: when an interval is over, and at the end."""
        if not self.validation_interval:
            return False
        per_step = self.epochs / steps / self.validation_interval
        return done == steps or int(done * per_step + 1e-9) > int((done - 1) * per_step + 1e-9)

    def warm_steps(self, steps: int) -> int:
        """Return the number of warm-up steps among `steps`."""
        return self.warmup_steps or round(steps * self.warmup / self.epochs)

    def check_length(self, steps: int) -> None:
        """Raise RecipeError for a warm-up that is longer than `steps` steps: the rate would never be reached."""
        if self.warmup_steps >= steps:
            advice = "give fewer, or 0 and the warm-up in epochs (warmup)"
            raise RecipeError("warmup_steps", f"{self.warmup_steps:,}: the whole training has {steps:,}; {advice}")

    def _cosine_by_epoch(self, step: int, steps: int) -> float:
        """Follow mmcv's hook: half a cosine over all epochs, one value an epoch; the warm-up multiplies it."""
        epoch, warm = math.floor(step * self.epochs / steps), self.warm_steps(steps)
        rate = self.lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        if step >= warm:
            return rate
        start = 1 / (warm + 1) if self.warmup_start is None else self.warmup_start
        return rate * (start + (1 - start) * step / warm)

    def lr_at(self, step: int, steps: int) -> float:
        """Return the learning rate of step `step` (from 0) of `steps`: linear warm-up, then the schedule.

        The cosine is half a period from the end of the warm-up on; milestones count from the very beginning.
        Between restarts it is as if each stretch were a training of its own.
        """
        if self.schedule == "cosine_by_epoch":
            return self._cosine_by_epoch(step, steps)
        warm = self.warm_steps(steps)
        step, steps = self._in_stretch(step, steps)
        if step < warm:
            if self.warmup_start is None:
                return self.lr * (step + 1) / (warm + 1)
            return self.lr * (self.warmup_start + (1 - self.warmup_start) * step / warm)
        if self.schedule == "multi_step":
            return self.lr * self.factor ** sum(step >= round(steps * at / self.epochs) for at in self.milestones)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))

    def _in_stretch(self, step: int, steps: int) -> tuple[int, int]:
        """Return the number of a step since the last restart, and the steps between the two restarts around it."""
        ends = [0, *(round(steps * at / self.epochs) for at in self.restarts), steps]
        first = max(end for end in ends if end <= step)
        return step - first, min(end for end in ends if end > first) - first

    def recorded(self) -> dict[str, Any]:
        """Return the entry of config.yaml: all fields; those from `sampling` on only where they are not the default."""
        fields = msgspec.structs.fields(self)
        new = [field.name for field in fields].index("sampling")
        kept = [f.name for n, f in enumerate(fields) if n < new or getattr(self, f.name) != f.default]
        return {name: msgspec.to_builtins(getattr(self, name)) for name in kept}


def make_recipe(what: Model | SearchSpace, *, name: RecipeName = "full", **changes: Any) -> Recipe:
    """Make the recipe `name` at the reference input of `what`, or the proxy at its own, with `changes`.

    A change that is None is ignored. Values left open follow from others: learning rate from batch, warm-up from
    epochs, jitter from crop. A network that cannot take the proxy's number of frames keeps its own.
    `lr_multiples` as a mapping are laid over those that the recipe has for the network; as `Multiples` they are all.
    Raises ConfigError for wrong values.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if odd := sorted(changes.keys() - set(Recipe.__struct_fields__)):
        raise ConfigError(f"a recipe has no {odd[0]}; it has {', '.join(Recipe.__struct_fields__)}")
    if name not in PRESETS:
        raise ConfigError(f"no recipe is called {name!r}; give {', '.join(PRESETS)}")
    reference = what.reference
    size = {"frames": reference.frames, "crop": reference.crop, "stride": reference.stride}
    sampler = _sampler_values(what, name)
    values = {**size, **PRESETS[name], **sampler}
    if isinstance(multiples := changes.get("lr_multiples"), Mapping):
        own = msgspec.structs.asdict(values.get("lr_multiples", Multiples()))
        changes["lr_multiples"] = {**own, **multiples}
    changes = _read(changes)
    values |= changes
    if name == "proxy" and "frames" not in changes and not _takes(what, values["frames"], values["crop"]):
        values["frames"] = reference.frames
    adamw_lr = ADAMW_LR if isinstance(what, NetworkSpec) else ADAMW_LR_OF_SPACES
    complete(name, values, SAMPLER_LR if sampler else LR, adamw_lr)
    values.setdefault("jitter", jitter_range(values["crop"]))
    recipe = Recipe(**values)
    check_recipe(recipe)
    check_clip(what, recipe.frames, recipe.crop)
    return recipe


def _read(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as a recipe keeps them; numbers stay as they are. Raises RecipeError for one of a wrong type."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(Recipe)}
    values: dict[str, Any] = {}
    for key, value in changes.items():
        try:
            read = value if key in CHOICES else msgspec.convert(value, kinds[key])  # check_recipe names the choices
        except msgspec.ValidationError as error:
            raise RecipeError(key, f"{value!r}: {error}") from None
        values[key] = value if isinstance(value, int | float) else read
    return values


def _sampler_values(what: Model | SearchSpace, name: RecipeName) -> dict[str, Any]:
    """Return what a recipe has for a network with a sampler, and nothing for others."""
    if not isinstance(what, NetworkSpec) or not build_network(what, device="meta").has_sampler:
        return {}
    multiples = PRESETS[name].get("lr_multiples", Multiples())
    return {"max_norm": SAMPLER_NORM, "lr_multiples": msgspec.structs.replace(multiples, sampler=SAMPLER_RATE)}


def check_clip(what: Model | SearchSpace, frames: int, crop: int) -> None:
    """Raise ConfigError where the network cannot take such clips."""
    if isinstance(what, NetworkSpec):
        build_network(what.changed(frames=frames, crop=crop), device="meta")
    else:
        check_frames(what.network, frames)
        check_crop(crop)


def _takes(what: Model | SearchSpace, frames: int, crop: int) -> bool:
    try:
        check_clip(what, frames, crop)
    except ConfigError:
        return False
    return True


def check_recipe(recipe: Recipe) -> None:
    """Raise RecipeError for wrong values."""
    for name, most in MOST.items():
        if not 0 < getattr(recipe, name) <= most:
            raise RecipeError(name, f"{getattr(recipe, name)}: give more than 0 and at most {most}")
    low, high = recipe.jitter
    if not recipe.crop <= low <= high <= MOST["crop"]:
        raise RecipeError("jitter", f"{low}:{high}: give MIN:MAX, no smaller than the crop of {recipe.crop}")
    for name, (valid, advice) in _rules(recipe).items():
        if not valid:
            raise RecipeError(name, f"{getattr(recipe, name)}: give {advice}")
    for name, kind in CHOICES.items():
        if getattr(recipe, name) not in (choices := get_args(kind)):
            raise RecipeError(name, f"{getattr(recipe, name)!r}: choose one of {', '.join(choices)}")


CHOICES = {"optimizer": Optimizer, "augment": Augment, "precision": Precision, "crops": Crops, "schedule": Schedule}


def _schedule_rules(recipe: Recipe) -> dict[str, tuple[bool, str]]:
    """Return a rule for each value of the learning rate's schedule: its validity, and the valid values in words."""
    ends = [0.0, *recipe.milestones, recipe.epochs]
    multi = recipe.schedule == "multi_step"
    return {
        "lr": (0 < recipe.lr < math.inf, "a finite number above 0"),
        "warmup": (
            0 <= recipe.warmup < recipe.epochs,
            f"0 or more epochs, fewer than the {recipe.epochs:g} of training",
        ),
        "warmup_steps": (
            recipe.warmup_steps >= 0 and not (recipe.warmup_steps and recipe.warmup),
            "0 or more, and the warm-up either in steps or in epochs",
        ),
        "warmup_start": (recipe.warmup_start is None or 0 <= recipe.warmup_start <= 1, "a share of lr, 0 to 1"),
        "milestones": (
            bool(recipe.milestones) == multi and ends == sorted(set(ends)),
            f"rising epochs inside the {recipe.epochs:g} of training for schedule: multi_step, none for cosine",
        ),
        "factor": (0 < recipe.factor <= 1, "more than 0 and at most 1"),
        "restarts": (
            all(end - begin > recipe.warmup for begin, end in pairwise([0.0, *recipe.restarts, recipe.epochs]))
            and not (recipe.restarts and (recipe.schedule != "cosine" or recipe.warmup_steps)),
            f"rising epochs inside the {recipe.epochs:g} of training, further apart than the warm-up is long, "
            "for schedule: cosine and a warm-up in epochs",
        ),
    }


def _rules(recipe: Recipe) -> dict[str, tuple[bool, str]]:
    """Return a rule for each value: its validity, and the valid values in words."""
    return {
        **_schedule_rules(recipe),
        "lr_multiples": (
            all(0 < value < math.inf for value in msgspec.structs.astuple(recipe.lr_multiples)),
            "finite numbers above 0",
        ),
        "momentum": (0 <= recipe.momentum < 1, "0 or more and less than 1"),
        "nesterov": (
            not recipe.nesterov or (recipe.momentum > 0 and recipe.optimizer == "sgd"),
            "false, or optimizer: sgd with a momentum",
        ),
        "freeze": (
            (not recipe.freeze.layers and recipe.freeze.epochs == 0)
            or (bool(recipe.freeze.layers) and 0 < recipe.freeze.epochs <= recipe.epochs),
            f"layers and more than 0 epochs, at most the {recipe.epochs:g} of training, or leave it out",
        ),
        "distillation": (
            0 < recipe.distillation.temperature <= 100 and 0 < recipe.distillation.weight <= 1,
            "a temperature above 0 and at most 100, and a weight above 0 and at most 1",
        ),
        "mixup": (0 <= recipe.mixup <= 10, "0 to 10; 0: none"),
        "cutmix": (0 <= recipe.cutmix <= 10, "0 to 10; 0: none"),
        "weight_decay": (0 <= recipe.weight_decay < math.inf, "0 or more"),
        "seed": (recipe.seed >= 0, "0 or more"),
        "area": (0 < recipe.area[0] <= recipe.area[1] <= 1, "[MIN, MAX], shares of the picture's area"),
        "accumulate": (
            recipe.accumulate >= 1 and recipe.batch % recipe.accumulate == 0,
            f"a number that divides the batch of {recipe.batch}",
        ),
        "max_norm": (recipe.max_norm is None or 0 < recipe.max_norm < math.inf, "a finite number above 0"),
        "label_smoothing": (0 <= recipe.label_smoothing < 1, "0 or more and less than 1"),
        "ema": (recipe.ema is None or 0 < recipe.ema < 1, "a decay between 0 and 1"),
        "precise_norm": (0 <= recipe.precise_norm <= 100_000, "0 to 100000 batches"),
        "color_jitter": (0 <= recipe.color_jitter <= 1, "0 to 1"),
        "lighting": (0 <= recipe.lighting <= 1, "0 to 1"),
        "validate_every": (
            recipe.validate_every is None or 0 <= recipe.validate_every < math.inf,
            "a number of epochs, 0 for never, or null",
        ),
        "patience": (
            recipe.patience >= 0 and not (recipe.patience and recipe.validate_every == 0),
            "0 or more validations, and not without any (validate_every: 0)",
        ),
    }


def view_crop(crop: int, views: str) -> int:
    """Return the crop of evaluation: left, centre and right are cut at 8/7 of the training crop (160: 182; Table 3).

    Raises ConfigError for views with a smaller short side.
    """
    _, places, side = views_of(views)
    cut = jitter_range(crop)[0] if len(places) > 1 else crop
    if side is not None and side < cut:
        raise ConfigError(
            f"views {views}: a crop of {cut} does not fit into a short side of {side}; give {cut} or more"
        )
    return cut
