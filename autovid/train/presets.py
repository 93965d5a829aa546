"""The recipes by name: what each sets; all else is `Recipe`'s default or follows from these values.

full      the paper's (`autovid.train.recipe`)
proxy     ours: 30 epochs of clips of 32 pixels, without AutoAugment because it is so short
small     ours, from scratch on 10 to 200 clips a class: no clip comes twice alike (AutoAugment, mixup or CutMix),
          labels are smoothed, the weights are averaged, and the epochs are many because each is short
finetune  ours, from weights: at first the classifier alone learns, which would else spoil features that it cannot read
          yet (Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", 2022,
          arXiv 2202.10054); then the body does as well, at a tenth of the rate
"""

from typing import Any, Literal

import msgspec

RecipeName = Literal["full", "proxy", "small", "finetune"]
Optimizer = Literal["sgd", "adamw"]

WARMUP = 34 / 300  # of the epochs
LR = 0.4 / 256  # of SGD, for each clip of a step
BODY = 0.1  # of it, for what is fine-tuned
FROZEN = 1 / 6  # of the epochs of fine-tuning the body rests
ADAMW: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.05}  # whatever the batch; the usual ones of small networks


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
    """How a network learns from a teacher: the softmax's temperature, and the share of the teacher in the loss."""

    temperature: float = 2.0
    weight: float = 0.5


PRESETS: dict[str, dict[str, Any]] = {
    "full": {"epochs": 300, "batch": 256, "augment": "auto"},
    "proxy": {"epochs": 30, "batch": 8, "frames": 16, "crop": 32, "stride": 2, "augment": "none"},
    "small": {
        "epochs": 100,
        "batch": 16,
        "augment": "auto",
        "mixup": 0.2,
        "cutmix": 1.0,
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


def complete(name: RecipeName, values: dict[str, Any]) -> None:
    """Fill in what follows from other values: learning rate from batch and optimizer, warm-up from epochs."""
    if values.get("optimizer") == "adamw":
        for key, value in ADAMW.items():
            values.setdefault(key, value)
    if name == "finetune":
        values.setdefault("lr", BODY * LR * values["batch"])
        values.setdefault("freeze", Freeze(("body",), values["epochs"] * FROZEN))
    values.setdefault("lr", LR * values["batch"])
    values.setdefault("warmup", values["epochs"] * WARMUP)
