"""Whether the supernet of a search is better than chance, from made-up logs: far below chance, at it, near it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from autovid.search import settings_for
from autovid.search.chance import Chance, Evidence, PartEvidence, evidence_against_chance
from autovid.space import load_space

LN12 = math.log(12)
SETTINGS = settings_for(load_space("tiny"), proxy=True, videos=144, steps=40)
NOISE = np.random.default_rng(0).normal(0, 0.1, 30)


def evidence(
    folder: Path, losses: dict[int, list[float]], chance: Chance | None = None, step: int = 120, end: str = ""
) -> Evidence:
    """Of a log in which part `number` has those held-out losses, after ten steps of warm-up without any."""
    lines = []
    for number, values in losses.items():
        for local, loss in enumerate([None] * 10 + values):
            record = {"step": 40 * number + local, "part": float(number), "loss": 9.0}
            lines.append(json.dumps(record | ({} if loss is None else {"held_out_loss": loss})))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + end)
    return evidence_against_chance(folder / "metrics.jsonl", step, SETTINGS, chance or Chance.uniform(12))


def noisy(mean: float) -> list[float]:
    return [float(mean + noise) for noise in NOISE]


def test_chance_is_the_entropy_of_the_labels() -> None:
    # sums of a dozen float64 terms: 1e-12 is a thousand times their rounding
    assert Chance.of(list(range(12)) * 3, 12) == (pytest.approx(LN12, abs=1e-12), 12, 36, 3, 0)
    unequal = Chance.of([0, 0, 0, 1], 4)
    assert unequal.loss == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-12)
    assert str(unequal) == "chance 0.562 for 4 classes, which are not equally frequent"


def test_far_below_chance_in_every_part_is_better_than_chance(tmp_path: Path) -> None:
    judged = evidence(tmp_path, {number: noisy(1.0) for number in range(3)})
    assert judged.better_than_chance
    assert judged.at_chance == []
    assert [one.part for one in judged.parts] == ["sparse", "dense", "attention"]
    assert judged.sentence().startswith("The supernet is better than chance: held-out loss ")
    assert judged.sentence().endswith("chance 2.485 for 12 classes.")


@pytest.mark.parametrize(
    ("strategy", "proxy", "what"),
    [
        ("evolution", True, "Its scores of architectures reflect"),
        ("random", True, "Its scores of architectures reflect"),
        ("parsec", True, "Its scores of architectures reflect"),
        ("parsec", False, "What the prior prefers reflects"),
    ],
)
def test_what_a_supernet_at_chance_says_is_told_of_a_prior_that_opens_without_evidence_or_of_the_scores(
    tmp_path: Path, strategy: str, proxy: bool, what: str
) -> None:
    settings = settings_for(load_space("tiny"), proxy=proxy, videos=144, steps=2, strategy=strategy)
    record = {"step": 0, "part": 0.0, "held_out_loss": 3.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record))
    says = evidence_against_chance(tmp_path / "metrics.jsonl", 9, settings, Chance.uniform(12)).sentence()
    assert f"{what} " in says


@pytest.mark.parametrize("mean", [LN12, LN12 + 0.015, LN12 - 0.015, 9.0])
def test_at_chance_says_so_and_what_follows(tmp_path: Path, mean: float) -> None:
    """Also a little below, where the noise explains it, and far above."""
    judged = evidence(tmp_path, {number: noisy(mean) for number in range(3)})
    assert not judged.better_than_chance
    assert judged.at_chance == ["sparse", "dense", "attention"]
    assert judged.sentence().startswith("The supernet is at chance: held-out loss ")
    says = "chance 2.485 for 12 classes. Its scores of architectures reflect noise, not accuracy."
    assert judged.sentence().endswith(says)


def test_what_the_noise_does_not_explain_is_below_chance(tmp_path: Path) -> None:
    losses = [LN12 - 0.02 + (0.001 if step % 2 else -0.001) for step in range(30)]
    assert evidence(tmp_path, {0: losses}).better_than_chance


def test_only_the_last_quarter_of_a_part_counts(tmp_path: Path) -> None:
    """Of 30 steps the last 8: before them a supernet is still learning."""
    judged = evidence(tmp_path, {0: [9.0] * 22 + [1.0, 1.5] * 4})
    assert judged.parts[0].loss == 1.25  # sums of such fractions are exact in any format
    assert evidence(tmp_path, {0: [1.0] * 22 + [9.0, 9.5] * 4}).at_chance == ["sparse"]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_few_steps_at_chance_are_hardly_ever_called_better(steps: int) -> None:
    """One in a hundred, whose deviation is small by luck: of 5,000 about 50, by the binomial less than 80 (4 s.d.).

    Three standard errors would let through 510, 240 and 145 with 2, 3 and 4 steps.
    """
    losses = np.random.default_rng(steps).normal(LN12, 0.1, (5000, steps))
    errors = losses.std(1, ddof=1) / math.sqrt(steps)
    chance = Chance.uniform(12)
    judged = [PartEvidence("joint", *pair, chance, steps) for pair in zip(losses.mean(1).tolist(), errors.tolist())]
    assert sum(not one.at_chance for one in judged) < 80


def test_a_short_search_that_still_learns_is_judged_by_its_end(tmp_path: Path) -> None:
    judged = evidence(tmp_path, {0: [2.48, 2.47, 2.45, 2.4, 2.1, 1.95, 1.85, 1.8]})
    assert judged.parts[0].loss == pytest.approx(1.925, rel=1e-12)  # the mean of four float64 numbers: two roundings
    assert judged.better_than_chance


def test_a_second_pass_over_the_same_videos_tells_nothing_new(tmp_path: Path) -> None:
    losses = {0: [1.0, 1.5] * 15}
    once, twice = (evidence(tmp_path, losses, Chance(LN12, 12, videos)) for videos in (160, 32))
    assert SETTINGS.batch == 16
    # the deviation of eight steps, over the root of 8 and of 2 steps on different videos: two roundings apart
    assert twice.parts[0].error == pytest.approx(2 * once.parts[0].error, rel=1e-12)


def test_a_part_alone_at_chance_is_named(tmp_path: Path) -> None:
    judged = evidence(tmp_path, {0: noisy(1.0), 1: noisy(2.6), 2: noisy(1.0)})
    assert not judged.better_than_chance
    assert judged.at_chance == ["dense"]
    assert judged.sentence().startswith("The supernet is at chance in dense: held-out loss 2.")
    assert "(sparse)" not in judged.sentence()
    assert "Its scores of architectures there reflect" in judged.sentence()


def test_classes_that_are_drawn_alike_count_alike_and_all_videos_are_evidence(tmp_path: Path) -> None:
    labels = [0] * 300 + [1] * 40 + [2] * 20
    balanced = Chance.of(labels, 3, balanced=True)
    assert balanced.loss == pytest.approx(math.log(3), abs=1e-12)
    assert balanced.accuracy == pytest.approx(1 / 3, abs=1e-12)
    losses = {0: noisy(0.5)}
    alike, other = (evidence(tmp_path, losses, chance) for chance in (balanced, Chance.of(labels, 3)))
    assert alike.parts[0].error == other.parts[0].error


def test_learning_how_frequent_the_classes_are_is_chance(tmp_path: Path) -> None:
    """Three of four videos are of one class: ln(2) is beaten by who knows that and nothing else."""
    chance = Chance.of([0, 0, 0, 1], 2)
    assert chance.loss < 0.57 < math.log(2)
    losses = [0.57 + (0.001 if step % 2 else -0.001) for step in range(30)]
    assert evidence(tmp_path, {0: losses}, chance).at_chance == ["sparse"]
    assert evidence(tmp_path, {0: losses}, Chance.uniform(2)).better_than_chance


def test_one_step_has_no_standard_error_and_proves_nothing(tmp_path: Path) -> None:
    judged = evidence(tmp_path, {0: [0.1]})
    assert judged.at_chance == ["sparse"]
    assert "held-out loss 0.100 (sparse), chance" in judged.sentence()


def test_without_a_held_out_loss_nothing_is_claimed(tmp_path: Path) -> None:
    missing = evidence_against_chance(tmp_path / "none.jsonl", 9, SETTINGS, Chance.uniform(12))
    for judged in (evidence(tmp_path, {0: []}), missing):
        assert judged.parts == ()
        assert not judged.better_than_chance
        assert judged.sentence() == "The supernet is not compared with chance: there is no held-out loss yet."


def test_a_torn_line_and_steps_after_the_checkpoint_are_left_out(tmp_path: Path) -> None:
    judged = evidence(tmp_path, {0: [1.0] * 15 + [9.0] * 15}, step=25, end='\n{"step": 12, "held_out_l')
    assert [(one.part, one.loss) for one in judged.parts] == [("sparse", 1.0)]


def test_where_the_joint_phase_decides_parts_at_chance_say_nothing(tmp_path: Path) -> None:
    losses = {0: noisy(2.5), 1: noisy(1.5), 2: noisy(2.5)}
    judged = evidence(tmp_path, {**losses, 3: noisy(1.0)}, step=160)
    assert [one.part for one in judged.parts] == ["dense", "joint"]
    assert judged.better_than_chance
    judged = evidence(tmp_path, {**losses, 3: noisy(2.5)}, step=160)
    assert judged.at_chance == ["joint"]
