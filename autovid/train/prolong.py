"""A training that goes on: how far it is, and how it is made longer than it was planned.

From its last checkpoint on a prolonged training follows the schedule of its new length, as if that had been planned
from the start; the steps before followed the old one. So a cosine that had come down to zero rises again. config.yaml
keeps the plan that the training began with, and lists under `prolonged` what changed it, and after which step.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from autovid.errors import ConfigError, RunError
from autovid.run import RunDirectory
from autovid.run.config_file import differences, full_config
from autovid.train.recipe import Recipe, check_recipe
from autovid.train.trained import KIND, is_finished, recorded_recipe, recorded_steps


def prolong(run: RunDirectory, videos: int, epochs: float | None, say: Callable[[str], None]) -> Recipe:
    """Return the recipe of a training on so many videos, made `epochs` long and recorded so. Raises ConfigError."""
    recipe = recorded_recipe(run.config)
    if epochs is None or epochs == recipe.epochs:
        return recipe
    if epochs < recipe.epochs:
        raise ConfigError(
            f"--epochs {epochs:g}: {run.path} is a training of {recipe.length}, which can be made longer, not shorter"
        )
    longer = msgspec.structs.replace(recipe, epochs=epochs)
    check_recipe(longer)
    if run.locked:
        steps, done = longer.steps(videos), max(run.steps(), default=0)
        before = run.config.get("prolonged", [])
        run.record("prolonged", [*before, {"after": done, "epochs": epochs, "steps": steps}])
        rate = longer.lr_at(min(done, steps - 1), steps)  # an epoch of a small set may be less than a step
        say(
            f"prolonged from {recipe.length} to {epochs:g}: from step {done} on the learning rate follows the schedule "
            f"of {longer.length}, now at {rate:.3g}; until here it was that of {recipe.epochs:g}"
        )
    return longer


def refuse_other_length(out: Path, config: dict[str, Any]) -> None:
    """Raise RunError, with the command that prolongs it, where a training differs from `config` in its length alone."""
    if not (out / "config.yaml").is_file():
        return
    saved = RunDirectory.open(out).config
    keys = {line.partition(":")[0] for line in differences(saved, full_config(config, KIND))}
    theirs, yours = (one.get("recipe", {}).get("epochs", 0) for one in (saved, config))
    if "recipe.epochs" in keys and keys <= {"recipe.epochs", "recipe.warmup"} and yours > theirs:
        raise RunError(
            f"{out} was planned for {theirs:g} epochs, not {yours:g}; to prolong it: "
            f"autovid train {shlex.quote(str(out))} --resume --epochs {yours:g}"
        )


def describe_state(path: Path) -> str:
    """Say how far the training in `path` is. Raises RunError."""
    run = RunDirectory.open(path)
    last, recipe = run.latest(), recorded_recipe(run.config)
    if last is None:
        return f"{path}: a training of {recipe.length} without a checkpoint yet"
    steps = recorded_steps(run.config, last.state.info)
    if not is_finished(run.config, last):
        return f"{path}: a training of {recipe.length}, at step {last.step} of {steps}"
    early = f", ended early after step {last.step} of {steps}" if last.step < steps else ""
    more = f"autovid train {shlex.quote(str(path))} --resume --epochs {2 * recipe.epochs:g}"
    return f"{path}: a finished training of {recipe.length}{early}; to prolong it: {more}"
