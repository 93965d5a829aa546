"""Choosing on evidence: the race, the norms, the comparison with random architectures, and what is written down."""

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from search_loop import tiny_search

from autovid.cli import main
from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError, RunError
from autovid.kernels.compute import Compute
from autovid.models import build, inherit
from autovid.search import derive, read_search, settings_for
from autovid.search.choice import (
    EVIDENCE,
    ChoiceEvidence,
    Judge,
    Judged,
    choose,
    interval_of_percentile,
    passed_clips,
    percentile,
    race,
    read_choice,
)
from autovid.search.derivation import TOLD
from autovid.search.part_ranges import parse_constraints
from autovid.search.problem import whole_problem
from autovid.search.run import supernet_search
from autovid.search.settings import ChoiceSettings
from autovid.search.strategy import make_strategy
from autovid.search.supernet import HELD_OUT, WEIGHTS, Supernet
from autovid.space import load_architecture, load_space
from autovid.studies.supernet import choose_again
from autovid.train.task import recalibrate

SPACE = load_space("tiny")


@pytest.fixture(scope="module")
def supernet(tiny_videos: Path) -> Supernet:
    settings = settings_for(SPACE, proxy=True, videos=24, steps=2, batch=4, crop=16, jitter=(16, 20))
    task = supernet_search(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"))
    assert task.supernet is not None
    for step in range(3):
        task.step(step)
    return task.supernet


def test_norms_have_the_statistics_of_the_architecture_and_the_supernet_keeps_its_own(supernet: Supernet) -> None:
    arch = SPACE.sample(1, seed=4)[0]
    before = copy.deepcopy(supernet.net.state_dict())
    judge = Judge(supernet, SPACE, SPACE.index([arch]), clips=8)
    loss, right = judge.judge(supernet.batches(HELD_OUT, 0, 2), [0])
    after = supernet.net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    alone = build(arch, supernet.classes)
    inherit(alone, supernet.net)
    recalibrate(alone, supernet.batches(WEIGHTS, 0, 2), supernet.compute, "forward")
    alone.eval()
    logits, labels = [], []
    with torch.no_grad():
        for batch in supernet.batches(HELD_OUT, 0, 2):
            logits.append(alone(batch.x))
            labels.append(batch.y)
    expected = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(labels), reduction="none")
    # to the bit: both call the same operations on the same layouts (tests/models/test_builder.py)
    assert np.array_equal(loss[0], expected.double().numpy())
    assert right.shape == loss.shape == (1, 8)


class Planted:
    """A judge whose architectures have known qualities, with noise on each clip."""

    def __init__(self, quality: list[float], noise: float, batches: int) -> None:
        self.archs = quality
        self.noise, self.supernet = noise, self
        self.settings = ChoiceBatch
        self.count, self.held_out = batches, batches * ChoiceBatch.batch - 7  # the last batch is filled up
        self.asked: list[tuple[int, int]] = []

    def batches_of(self, part: int) -> int:
        return self.count

    def held_out_views(self) -> "Planted":
        return self

    def views_batches(self) -> Iterator[Any]:
        for number in range(self.count):
            size = min(ChoiceBatch.batch, self.held_out - number * ChoiceBatch.batch)
            yield SimpleNamespace(number=number, y=torch.arange(size) % 3)

    def close(self) -> None:
        pass

    def judge(self, batches: Iterator[Any], numbers: list[int]) -> tuple[Any, Any]:
        seen = [(batch.number, len(batch.y)) for batch in batches]
        self.asked.append((len(numbers), len(seen)))
        rows = [
            self.archs[n] + self.noise * np.random.default_rng((n, b)).standard_normal(size)
            for n in numbers
            for b, size in seen
        ]
        loss = np.concatenate(rows).reshape(len(numbers), -1)
        return loss, loss < 0


class ChoiceBatch:
    batch, balance = 16, False


def test_a_race_halves_its_field_and_doubles_its_clips_and_finds_the_best() -> None:
    quality = [2.0] * 32
    quality[17] = 1.0
    judge: Any = Planted(quality, noise=1.0, batches=1000)
    ranked = race(judge, 128, lambda *shown: None)
    best, loss, _ = ranked[0]
    assert best == 17  # of 128 clips the mean has a standard error of 0.09, and 1.0 is eleven of them
    assert judge.asked == [(32, 8), (16, 8), (8, 16), (4, 32), (2, 64)]
    assert len(loss) == 128 * 16
    assert sorted(number for number, *_ in ranked) == list(range(32))
    assert [len(loss) // 16 for _, loss, _ in ranked] == [128] * 2 + [64] * 2 + [32] * 4 + [16] * 8 + [8] * 16


def test_a_race_ends_with_its_clips() -> None:
    judge: Any = Planted([1.0, 3.0, 2.0, 4.0], noise=0.0, batches=3)
    ranked = race(judge, 32, lambda *shown: None)
    assert [number for number, *_ in ranked] == [0, 2, 1, 3]
    assert judge.asked == [(4, 2), (2, 1)]
    assert len(ranked[0][1]) == 41


def test_a_percentile_counts_equal_ones_half() -> None:
    assert percentile(np.array([1.0, 2.0, 3.0, 0.5, 1.0])) == 62.5
    assert percentile(np.array([1.0, 1.0, 1.0])) == 50


def test_the_interval_holds_the_percentile_and_is_wide_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    alike = rng.standard_normal((65, 500))
    low, high = interval_of_percentile(alike, np.random.default_rng(1))
    assert low <= percentile(alike.mean(1)) <= high
    better = alike.copy()
    better[0] -= 1.0  # seven standard errors of a difference of means, 0.063 each, and more
    # 64 of 64 beaten: Beta(64.5, 0.5) has its 2.5 % quantile at 0.962; 1,000 draws know it to 0.01
    assert interval_of_percentile(better, np.random.default_rng(1))[0] == pytest.approx(96.2, abs=1.0)
    assert high - low > 20


def test_few_rivals_that_are_beaten_say_little() -> None:
    beaten = np.linspace(0.0, 1.0, 3)[:, None] + np.zeros((3, 50))
    low, high = interval_of_percentile(beaten, np.random.default_rng(0))
    assert low < 50 < 95 < high


@pytest.mark.parametrize("rivals", [4, 64])
def test_the_interval_holds_the_share_of_all_that_are_beaten_as_often_as_it_says(rivals: int) -> None:
    """True losses are uniform, clips without noise: of 200 choices 190 are held on average, s.d. 3.1."""
    rng, held = np.random.default_rng(rivals), 0
    for _ in range(200):
        loss_K = rng.random(1 + rivals)
        low, high = interval_of_percentile(loss_K[:, None] + np.zeros((1, 2)), rng)
        held += low <= 100 * (1 - loss_K[0]) <= high
    assert held >= 180


def test_a_search_writes_its_evidence_and_derives_what_it_chose(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    result = tiny_search(out, tiny_videos)
    searched = read_search(out)
    choice = searched.choice
    assert isinstance(choice, ChoiceEvidence)
    assert result.architecture.hash == choice.chosen.hash == load_architecture(out / "architecture.yaml").hash
    assert 7_500_000 <= choice.chosen.macs <= 8_000_000
    assert all(7_500_000 <= one.macs <= 8_000_000 for one in choice.random)
    assert choice.on_val is not None
    assert choice.on_val.hash == choice.chosen.hash
    assert choice.val_chance_accuracy == 1 / 12  # one video of each class: a ratio of whole numbers, rounded once
    assert len({one.hash for one in choice.random} | {choice.chosen.hash}) == 1 + len(choice.random)
    assert choice.percentile is not None
    assert choice.percentile == percentile(np.array([choice.on_val.loss, *[one.loss for one in choice.random]]))
    assert derive(searched).hash == choice.chosen.hash
    assert not choice.without_preference  # this prior has not waited for evidence
    assert len(choice.next_best) == min(15, choice.raced - 1)
    assert {"chosen", "against_random"} <= derive(searched).provenance.keys() & set(TOLD)
    capsys.readouterr()
    assert main(["derive", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"of {len(choice.random)} random architectures of the same ranges" in shown
    assert f"% of {choice.on_val.clips} validation clips (chance 8.3 %): better than " in shown
    assert main(["derive", str(out), "--no-range"]) == 0
    without = load_architecture(out / "architecture-no-range.yaml")
    assert str(without.provenance["chosen"]).startswith(
        "not scored: the supernet has learned 0.0075–0.008 GFLOPs alone"
    )
    (out / EVIDENCE).write_text("{")
    with pytest.raises(RunError, match=r"evidence\.json cannot be read"):
        read_search(out)


def test_where_the_ranges_hold_few_architectures_the_losers_of_the_race_are_rivals_too(
    tiny_videos: Path, supernet: Supernet
) -> None:
    space = SPACE.fix({d.name: d.candidates[0] for d in SPACE.decisions if d.name != "attention.stage1"})
    problem = whole_problem(space)
    strategy = make_strategy("parsec", problem, {})
    evidence = choose(supernet, strategy, problem, open_videos(tiny_videos))
    assert evidence.raced == 3
    assert evidence.rivals_raced == len(evidence.random) == 2
    assert "of which 2 lost the race" in evidence.lines()[1]


def test_a_balanced_search_is_judged_by_classes_that_count_alike(
    tiny_videos: Path, supernet: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four clips of val are of one class and one of another: the loss is the mean of the two classes' means."""
    videos = open_videos(tiny_videos)
    ours = [next(video for video in videos.val if video.label == label) for label in (0, 0, 0, 0, 3)]
    few = VideoSet(videos.name, videos.root, videos.classes, videos.train, tuple(ours))
    monkeypatch.setattr(supernet, "settings", msgspec.structs.replace(supernet.settings, balance=True))
    problem = whole_problem(SPACE)
    evidence = choose(supernet, make_strategy("parsec", problem, {}), problem, few)
    assert evidence.on_val is not None
    assert evidence.val_chance_accuracy == pytest.approx(0.5, abs=1e-12)  # 4 x 5/8 and 1 x 5/2, a rounding each
    row = [d.candidates.index(evidence.on_val.choices[d.name]) for d in SPACE.decisions]
    judge = Judge(supernet, SPACE, np.array([row]), supernet.choice.calibration)
    loss, right = judge.judge(supernet.validation(few).views_batches(), [0])
    # written with six decimals
    assert evidence.on_val.loss == pytest.approx((loss[0, :4].mean() + loss[0, 4]) / 2, abs=1e-6)
    assert evidence.on_val.accuracy == pytest.approx((right[0, :4].mean() + right[0, 4]) / 2, abs=1e-12)


def judged(loss: float) -> Judged:
    return Judged("a" * 12, {}, 1, 100, loss, 0.5)


def test_what_is_no_evidence_says_so() -> None:
    evidence = ChoiceEvidence(
        chosen=judged(1.0), raced=4, chance=2.0, chance_accuracy=0.1, on_val=judged(1.0), random=(judged(2.0),) * 8,
        percentile=70.0, interval=(40.0, 90.0), moved_by_cost={"sparse": 0.9, "joint": 0.25},
    )  # fmt: skip
    assert "no evidence" in evidence.lines()[1]
    assert "due to cost by 90 % in part sparse, 25 % in part joint" in evidence.said()["moved_by"]
    alone = msgspec.structs.replace(evidence, on_val=None)
    assert alone.said().keys() == {"chosen", "moved_by"}
    assert "moved_by" not in msgspec.structs.replace(evidence, at_chance=True).said()  # it moved by noise then
    assert "drawn at random" not in evidence.lines()[0]
    drawn = msgspec.structs.replace(evidence, without_preference=True)
    assert drawn.lines()[0].startswith("chosen among 4 candidates, drawn at random as the prior prefers none, on 100 ")
    assert "chance 10.0 %" in evidence.lines()[0]
    assert evidence.lines()[1].startswith("right on 50.0 % of 100 validation clips: better than 70 %")
    known = msgspec.structs.replace(evidence, val_chance_accuracy=0.25)
    assert known.lines()[1].startswith("right on 50.0 % of 100 validation clips (chance 25.0 %): better than 70 %")


def test_the_evidence_of_an_earlier_run_is_read(tmp_path: Path) -> None:
    """Which says nothing of chance on validation clips."""
    evidence = ChoiceEvidence(chosen=judged(1.0), raced=4, chance=2.0, chance_accuracy=0.1, on_val=judged(1.0))
    content = msgspec.to_builtins(evidence)
    del content["val_chance_accuracy"]
    (tmp_path / EVIDENCE).write_text(json.dumps(content))
    assert read_choice(tmp_path) == evidence


def test_a_search_races_what_its_updates_are_worth() -> None:
    assert ChoiceSettings.after(8, {}) == ChoiceSettings(candidates=4, random=4)
    assert ChoiceSettings.after(5000, {}) == ChoiceSettings(candidates=64, random=64)
    assert ChoiceSettings.after(5000, {"candidates": 200}) == ChoiceSettings(candidates=200, random=64)
    assert ChoiceSettings.after(5000, {"candidates": 0}) is None
    with pytest.raises(ConfigError, match="choice: .*clips"):
        ChoiceSettings.after(5000, {"clips": 0})
    assert settings_for(SPACE, proxy=False, videos=100).choice is None


def test_other_videos_are_read_from_their_own_folder(supernet: Supernet, tiny_videos: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_videos, tmp_path / "moved")
    videos = open_videos(tmp_path / "moved")
    (first, *_) = videos.val
    (tmp_path / "moved" / first.path).unlink()
    loader = supernet.validation(videos)
    with closing(loader):
        batches = list(loader.views_batches())
    assert list(loader.faults.reasons) == [str(first.path)]
    assert sum(len(batch.y) for batch in batches) == len(videos.val) - 1


@pytest.mark.slow
def test_other_ranges_are_scored_again_and_what_cannot_be_says_why(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    tiny_search(out, tiny_videos)
    narrower = ["derive", str(out), "--flops", "0.0076:0.0077", "--data", str(tiny_videos), "--device", "cpu"]
    assert main(narrower) == 0
    arch = load_architecture(out / "architecture-0.0076-0.0077.yaml")
    assert "candidates on" in str(arch.provenance["chosen"])
    assert "random architectures of the same ranges" in str(arch.provenance["against_random"])
    assert 7_600_000 <= arch.macs() <= 7_700_000
    assert main(["derive", str(out), "--flops", "0.0076:0.0077"]) == 0  # the run does not know its videos
    assert "not scored" in str(load_architecture(out / "architecture-0.0076-0.0077.yaml").provenance["chosen"])
    assert main(["derive", str(out), "--flops", "0.009:0.0095", "--data", str(tiny_videos)]) == 0
    wider = load_architecture(out / "architecture-0.009-0.0095.yaml")
    assert "not scored: the supernet has learned 0.0075–0.008 GFLOPs" in str(wider.provenance["chosen"])
    assert "not scored" in " ".join(capsys.readouterr().out.split())
    assert main(["derive", str(out), "--data", str(tiny_videos)]) == 2
    assert "--data is for choosing anew" in capsys.readouterr().err


@pytest.mark.slow
def test_the_best_of_the_search_take_part_where_another_range_holds_them(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the chosen one lies inside, and one that came behind it."""
    out, asked = tmp_path / "run", []
    tiny_search(out, tiny_videos)
    searched = read_search(out)
    assert searched.choice is not None
    own, *others = (searched.choice.chosen, *searched.choice.next_best)
    nearest = min(others, key=lambda one: abs(one.macs - own.macs))
    low, high = sorted((own.macs, nearest.macs))

    def noted(*args: Any) -> Any:
        asked.append(args)
        return choose(*args)

    monkeypatch.setattr("autovid.studies.supernet.choose", noted)
    constraints = parse_constraints(searched.space, {"flops": f"{low / 1e9}:{high / 1e9}"})
    again = choose_again(out, searched, constraints, data=str(tiny_videos), device="cpu")
    assert not isinstance(again, str)
    ((*_, known),) = asked
    assert searched.settings.choice is not None
    assert known.tolist() == searched.rows([own, nearest])[: searched.settings.choice.candidates // 2].tolist()
    raced = {again.chosen.hash, *(one.hash for one in again.next_best)}
    assert raced >= {searched.space.architecture(row).hash for row in known}
    assert not raced & {one.hash for one in again.random}


@pytest.mark.parametrize("val", [0, 4, 8])
def test_the_clips_that_pass_are_counted(
    supernet: Supernet, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch, val: int
) -> None:
    """The held-out clips come in whole batches."""
    videos = open_videos(tiny_videos)
    videos = msgspec.structs.replace(videos, val=(videos.val * 12)[:val])
    settings = ChoiceSettings(candidates=5, clips=4, random=3, val_clips=8, calibration=8)
    monkeypatch.setattr(supernet, "choice", settings)
    passed, logits = [], supernet.logits

    def counted(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        passed.append(len(x))
        return logits(x, *rest)

    monkeypatch.setattr(supernet, "logits", counted)
    problem = whole_problem(SPACE, ())
    choose(supernet, make_strategy("parsec", problem, {}), problem, videos)
    assert sum(passed) == passed_clips(settings, supernet.held_out, val)


def test_what_a_supernet_at_chance_prefers_is_no_evidence() -> None:
    judged = Judged("0" * 12, {}, 1, 8, 2.5, 0.125)
    evidence = ChoiceEvidence(
        chosen=judged, raced=4, chance=2.48, chance_accuracy=0.1, on_val=judged, random=(judged,), percentile=98.0,
        interval=(52.0, 100.0),
    )  # fmt: skip
    assert "no evidence" not in evidence.lines()[1]
    assert "no evidence" in msgspec.structs.replace(evidence, at_chance=True).lines()[1]
