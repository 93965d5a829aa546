"""The recipes by name: what each sets; all else is `Recipe`'s default or follows from these values.

full      the paper's (`autovid.train.recipe`)
proxy     ours: 30 epochs of clips of 32 pixels, without AutoAugment because it is so short
small     ours, from scratch on 10 to 200 clips a class: no clip comes twice alike (AutoAugment, mixup or CutMix),
          labels are smoothed, the weights are averaged, and the epochs are many because each is short
"""

from typing import Any, Literal

RecipeName = Literal["full", "proxy", "small"]
Optimizer = Literal["sgd", "adamw"]

WARMUP = 34 / 300  # of the epochs
LR = 0.4 / 256  # of SGD, for each clip of a step
ADAMW: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.05}  # whatever the batch; the usual ones of small networks

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
}


def complete(values: dict[str, Any]) -> None:
    """Fill in what follows from other values: learning rate from batch and optimizer, warm-up from epochs."""
    if values.get("optimizer") == "adamw":
        for name, value in ADAMW.items():
            values.setdefault(name, value)
    values.setdefault("lr", LR * values["batch"])
    values.setdefault("warmup", values["epochs"] * WARMUP)
