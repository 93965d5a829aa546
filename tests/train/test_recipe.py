import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from autovid.cli import sweep, training
from autovid.data.transforms import jitter_range
from autovid.errors import ConfigError
from autovid.space import load_space
from autovid.train import Recipe, find_model, make_recipe
from autovid.train.recipe import PRESETS, RecipeName, view_crop

SPACE = load_space("two_stream")


@pytest.mark.parametrize(
    ("crop", "jitter", "lcr"), [(160, (182, 228), 182), (224, (256, 320), 256), (312, (356, 446), 356)]
)
def test_sizes_are_those_of_table_3(crop: int, jitter: tuple[int, int], lcr: int) -> None:
    assert jitter_range(crop) == jitter
    assert (view_crop(crop, "center"), view_crop(crop, "10-center"), view_crop(crop, "10-lcr")) == (crop, crop, lcr)


def test_a_short_side_below_the_crop_is_refused() -> None:
    assert view_crop(224, "center@256") == view_crop(224, "center@224") == 224
    assert view_crop(224, "10-lcr@256") == 256
    for views in ("center@223", "lcr@255"):
        with pytest.raises(ConfigError, match="does not fit into a short side of"):
            view_crop(224, views)


def test_the_paper_recipe_is_that_of_section_3_2() -> None:
    recipe = make_recipe(SPACE)
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.warmup) == (300, 256, 0.4, 34)
    assert (recipe.frames, recipe.crop, recipe.jitter) == (32, 160, (182, 228))
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-5)
    assert recipe.augment == "auto"


def test_what_is_not_given_follows_from_what_is() -> None:
    recipe = make_recipe(SPACE, epochs=150, batch=64, crop=224)
    assert (recipe.lr, recipe.warmup, recipe.jitter) == (0.1, 17, (256, 320))


def test_the_proxy_is_small_and_can_be_changed() -> None:
    recipe = make_recipe(SPACE, name="proxy", batch=16)
    assert (recipe.crop, recipe.augment) == (32, "none")
    assert make_recipe(SPACE, name="proxy", augment="auto").augment == "auto"
    assert recipe.lr == 2 * make_recipe(SPACE, name="proxy").lr


@pytest.mark.parametrize("names", [("proxy", "full", "small"), ("proxy", "full", "small", "finetune")])
def test_the_help_has_the_defaults_of_every_recipe(names: tuple[RecipeName, ...]) -> None:
    parser = argparse.ArgumentParser()
    training.arguments(parser, recipes=names)
    text = {action.dest: str(action.help) for action in parser._actions}
    for name in names:
        of = "default" if name == "full" else name
        for key in ("epochs", "batch"):
            assert f"{of} {PRESETS[name][key]}" in text[key]
        augment = make_recipe(SPACE, name=name).augment
        assert f"{of} {augment}" in text["augment"] or augment == "auto"
    assert ("finetune" in text["lr"]) == ("finetune" in names)
    network = find_model("tsn_resnet18")
    for what, rate in ((SPACE, "small 6e-3"), (network, "but 1e-3 for hand-designed")):
        assert rate in text["lr"]
        assert make_recipe(what, name="small").lr == float(rate.split()[1])
    assert make_recipe(SPACE).lr == 0.4
    assert make_recipe(SPACE, name="finetune", batch=256).lr == pytest.approx(0.04)


def test_the_help_of_a_sweep_has_its_own_default_of_decoders() -> None:
    parser = argparse.ArgumentParser()
    sweep.arguments(parser)
    assert "videos (default: 0, each trial decodes its own)" in " ".join(parser.format_help().split())


def test_the_learning_rate_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    recipe = make_recipe(SPACE)
    rates = [recipe.lr_at(step, 3000) for step in range(3000)]
    assert max(rates) == rates[340] == 0.4
    assert rates[170] == pytest.approx(0.4 * 171 / 341)  # half way, of rates that are not summed
    assert all(b > a for a, b in pairwise(rates[:341]))
    assert all(b < a for a, b in pairwise(rates[340:]))
    assert rates[1670] == pytest.approx(0.2)  # the middle between 340 and 3000; a cosine near 0 is 1e-16 off
    assert 0 < rates[-1] < 1e-6


def test_without_warmup_it_starts_at_its_highest() -> None:
    assert make_recipe(SPACE, warmup=0).lr_at(0, 10) == 0.4


def test_one_step_learns() -> None:
    assert make_recipe(SPACE, epochs=1e-6).lr_at(0, 1) > 0


def test_steps_see_every_video_epochs_times() -> None:
    recipe = make_recipe(SPACE, epochs=3, batch=8)
    assert [recipe.steps(videos) for videos in (1, 8, 100)] == [1, 3, 38]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"epochs": float("nan")}, "epochs nan"),
        ({"batch": -1}, "batch -1"),
        ({"lr": 0.0}, "lr 0.0"),
        ({"lr": float("inf")}, "lr inf"),
        ({"warmup": 300}, "warmup 300"),
        ({"warmup": -1}, "warmup -1"),
        ({"jitter": (100, 228)}, "jitter 100:228.*crop of 160"),
        ({"jitter": (228, 182)}, "jitter 228:182"),
        ({"crop": 100_000}, "crop 100000"),
        ({"crop": 15}, "crop 15: at least 16"),
        ({"frames": 30}, "30 frames.*sparse"),
        ({"weight_decay": -1.0}, "weight decay -1.0"),
        ({"precision": "int8"}, "precision 'int8'"),
        ({"augment": "rand"}, "augment 'rand'"),
        ({"seed": -1}, "seed -1"),
        ({"batch": "x"}, "batch 'x': Expected `int`, got `str`"),
        ({"epochs": "3"}, "epochs '3': Expected `float`, got `str`"),
        ({"name": "weird"}, "no recipe is called 'weird'; give full, proxy, small, finetune"),
        ({"lr_multiples": {"clasifier": 2}}, "lr multiples .*clasifier"),
        ({"lr_multiples": {"classifier": "2"}}, "lr multiples .*Expected `float`"),
        ({"lr_multiples": 2}, "lr multiples 2: Expected"),
    ],
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(SPACE, **wrong)


def test_a_recipe_is_the_same_after_a_file(tmp_path: Path) -> None:
    import msgspec

    recipe = make_recipe(SPACE, name="proxy")
    assert msgspec.convert(msgspec.to_builtins(recipe), Recipe) == recipe


def test_a_file_from_before_augment_was_a_choice_says_none() -> None:
    import msgspec

    written = msgspec.to_builtins(make_recipe(SPACE))
    del written["augment"]
    assert msgspec.convert(written, Recipe).augment == "none"
