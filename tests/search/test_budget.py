"""Dividing a time: what a plan is made of, and that it is made once."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from autovid.cli import main, options
from autovid.data import open_videos
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.kernels.machine import threads
from autovid.run import RunDirectory
from autovid.search import settings_for
from autovid.search.budget import (
    CHOOSING,
    LONGER,
    REST,
    SCORING,
    TRIALS,
    Rates,
    choice_within,
    measure,
    plan_budget,
    within_budget,
)
from autovid.search.choice import passed_clips
from autovid.search.settings import ChoiceSettings
from autovid.search.strategy import strategy_settings
from autovid.search.supernet import Supernet
from autovid.space import load_space

SPACE = load_space("tiny")
RATES = Rates((0.02, 0.05, 0.05, 0.05), 0.001)
SMALL = [
    "--batch",
    "4",
    "--crop",
    "16",
    "--jitter",
    "16:20",
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--decoders",
    "0",
]


def settings() -> Any:
    return settings_for(SPACE, proxy=True, videos=400)


@pytest.mark.parametrize("seconds", [120.0, 600.0, 3600.0])
def test_a_plan_takes_its_time(seconds: float) -> None:
    before = settings()
    plan = plan_budget(before, RATES, seconds)
    learning = LONGER * sum(part.steps * rate for part, rate in zip(plan.parts, RATES.updates))
    assert plan.choice is not None
    choosing = min(CHOOSING * seconds, passed_clips(plan.choice) * RATES.clip)
    assert learning + choosing == pytest.approx((1 - SCORING - REST) * seconds, rel=0.05)  # steps are whole numbers
    shares = [part.steps / sum(one.steps for one in plan.parts) for part in plan.parts]
    asked = [part.steps / sum(one.steps for one in before.parts) for part in before.parts]
    # A part's steps are rounded to whole ones, of some hundred and more; float64 adds 1e-15, on any machine the same.
    assert shares == pytest.approx(asked, abs=0.02)
    assert plan.choice.random >= 64
    assert passed_clips(plan.choice) * RATES.clip <= CHOOSING * seconds
    assert plan.budget == seconds


def test_what_has_gone_is_not_planned_again() -> None:
    plan = plan_budget(settings(), RATES, 600.0, spent=200.0)
    assert plan.budget == 600.0
    for part, expected in zip(plan.parts, plan_budget(settings(), RATES, 400.0).parts):
        assert part.steps == expected.steps
    with pytest.raises(ConfigError, match=r"a budget of 600 s is too short.*give 6\d\d s or more"):
        plan_budget(settings(), RATES, 600.0, spent=600.0)


def test_what_a_choice_cannot_use_goes_to_the_weights() -> None:
    many, few = plan_budget(settings(), RATES, 600.0), plan_budget(settings(), RATES, 600.0, 0.0, 58, 96)
    assert few.choice is not None
    assert many.choice is not None
    assert few.steps > many.steps
    assert passed_clips(few.choice, 58, 96) < passed_clips(many.choice) * 0.8


@pytest.mark.parametrize(
    ("seconds", "expected", "asked"), [({1: 1.0, 2: 3.0}, 1, 1), ({1: 1.0, 2: 0.95}, 1, 3), ({1: 1.0, 2: 0.8}, 2, 3)]
)
def test_the_faster_number_of_threads_is_planned_for(
    seconds: dict[int, float], expected: int, asked: int, monkeypatch: pytest.MonkeyPatch, tiny_videos: Path
) -> None:
    """All threads are taken where they are clearly faster; where they are much slower one update is enough."""
    clock, counted = [0.0], []

    def learn(*args: Any) -> None:
        counted.append(torch.get_num_threads())
        clock[0] += seconds[torch.get_num_threads()]

    def score(*args: Any) -> None:
        clock[0] += 0.1

    monkeypatch.setattr(Supernet, "learn", learn)
    monkeypatch.setattr(Supernet, "score", score)
    clocks = SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: 0.0)
    monkeypatch.setattr("autovid.search.budget.time", clocks)
    few = settings_for(
        SPACE, proxy=True, videos=16, steps=20, batch=4, frames=8, crop=16, jitter=(16, 20)
    )  # fmt: skip
    videos, compute = open_videos(tiny_videos), Compute("cpu", "fp32")
    with threads(2):
        plan = within_budget(SPACE, videos, few, 600.0, compute)
        assert torch.get_num_threads() == 2
    assert plan.threads == expected
    assert counted[: 4 + asked] == [1] * 4 + [2] * asked
    assert set(counted[4 + asked :]) == {expected}
    counted.clear()
    given = msgspec.structs.replace(few, threads=2)
    assert within_budget(SPACE, videos, given, 600.0, compute).threads == 2
    assert set(counted) == {2}
    with threads(1):  # nothing to choose
        assert within_budget(SPACE, videos, few, 600.0, compute).threads is None


def test_a_part_with_few_updates_is_measured_by_one(tiny_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = {"sparse": 5, "dense": 100, "attention": 5, "joint": 100}
    few = settings_for(
        SPACE, proxy=True, videos=16, steps=lengths, batch=4, frames=8, crop=16, jitter=(16, 20)
    )  # fmt: skip
    learned: list[float] = []
    monkeypatch.setattr(Supernet, "learn", lambda *args: learned.append(args[-1]))
    measure(SPACE, open_videos(tiny_videos), few, Compute("cpu", "fp32"))
    assert len(learned) == 2 * (1 + 1) + 2 * (1 + TRIALS)


def test_a_time_that_is_too_short_says_how_much_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"a budget of 1 s is too short.*give \d+ s or more"):
        plan_budget(settings(), RATES, 1.0)


def test_the_smallest_choice_is_planned_as_long_as_it_takes() -> None:
    slow = Rates((0.45,) * 4, 0.006)
    with pytest.raises(ConfigError, match=r"give \d+ s or more") as refused:
        plan_budget(settings(), slow, 45.0, 5.0, 58, 96)
    enough = float(str(refused.value).partition("give ")[2].split()[0])
    plan = plan_budget(settings(), slow, enough + 1, 5.0, 58, 96)
    assert plan.choice is not None
    assert time_of(plan, slow, 58, 96) <= enough + 1 - 5.0


@pytest.mark.parametrize("strategy", ["evolution", "random", "parsec"])
@pytest.mark.parametrize("rates", [Rates((0.5,) * 4, 0.05), Rates((0.02, 0.05, 0.05, 0.05), 0.001)])
def test_the_time_that_a_refusal_names_is_enough(strategy: str, rates: Rates) -> None:
    options = {"architectures": 16} if strategy == "random" else {}
    usual = settings_for(SPACE, proxy=True, videos=20_000, strategy=strategy, options=options)
    with pytest.raises(ConfigError, match=r"give \d+ s or more") as refused:
        plan_budget(usual, rates, 4.0, 3.0, 4000, 2000)
    plan_budget(usual, rates, float(str(refused.value).partition("give ")[2].split()[0]), 3.0, 4000, 2000)


def time_of(plan: Any, rates: Rates, held_out: float, val: float) -> float:
    """The seconds of a plan: updates, rounds and the choice."""
    updates = sum(part.steps for part in plan.parts) * LONGER * rates.update(plan.parts)
    batch = getattr(strategy_settings(plan.strategy, plan.options), "batch", 1)
    rounds = sum(part.rounds for part in plan.parts) * batch * plan.score_clips * rates.clip
    return float(updates + rounds + passed_clips(plan.choice, held_out, val) * rates.clip)


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_rounds_after_the_updates_are_planned(strategy: str) -> None:
    options = {"architectures": 16} if strategy == "random" else {}
    usual = settings_for(SPACE, proxy=True, videos=20_000, strategy=strategy, options=options)
    rates = Rates((0.45,) * 4, 0.006)
    plan = plan_budget(usual, rates, 600.0, 30.0, 4000, 2000)
    assert 450 < time_of(plan, rates, 4000, 2000) <= 570
    if strategy == "evolution":
        assert 0 < plan.parts[-1].rounds == plan.options["rounds"] < usual.parts[-1].rounds


@pytest.mark.parametrize("given", [["--alpha-every", "7"], ["--set", "choice.random=3"]])
def test_what_a_budget_plans_is_not_given(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for length in ([], ["--budget", "5m"]):
        assert main(["search", "--space", "tiny", *length, *given, "-o", str(tmp_path / "run")]) == 2
        assert "plans --alpha-every and --set choice.KEY" in capsys.readouterr().err


def test_a_choice_is_as_large_as_it_may_be() -> None:
    assert choice_within(1e9).candidates == 64
    assert choice_within(1.0).random == 64
    small = ChoiceSettings(candidates=4, random=4)
    assert choice_within(1e9, small) == small


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "0m", "m", "-5m", "1d"])
def test_what_is_no_time_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["search", "--space", "tiny", f"--budget={text}", "-o", str(tmp_path / "run")])
    assert "give a time such as 10m" in capsys.readouterr().err


@pytest.mark.parametrize("other", [["--steps", "3"], ["--epochs", "1"], ["--recipe", "full"]])
def test_a_budget_beside_another_length_is_refused(
    other: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["search", "--space", "tiny", "--budget", "60m", *other, "-o", str(tmp_path / "run")])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert "--budget" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_search_computes_with_its_threads(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, before = set[int](), torch.get_num_threads()

    def run_task(*args: Any, **kwargs: Any) -> None:
        seen.add(torch.get_num_threads())
        raise ConfigError("enough is known")

    monkeypatch.setattr("autovid.search.run.run_task", run_task)
    words = ["search", "--space", "tiny", "--data", str(tiny_videos), *SMALL, "--recipe", "proxy", "--steps", "1"]
    words += ["--threads", str(before + 1), "-o", str(tmp_path / "run")]
    assert main(words) == 2
    assert (seen, torch.get_num_threads()) == ({before + 1}, before)
    assert main([*words, "--processes", "2"]) == 2
    assert "--threads are those of one process" in capsys.readouterr().err


@pytest.mark.slow
def test_a_planned_search_is_repeated_without_a_clock_and_goes_on_by_its_plan(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autovid.search.budget.measure", lambda *args, **kwargs: Rates((54.0,) * 4, 3.0, 1))
    few = ChoiceSettings(candidates=2, clips=4, random=2, val_clips=4, calibration=4)
    monkeypatch.setattr("autovid.search.budget.choice_within", lambda clips, **kwargs: few)
    words = ["search", "--space", "tiny", "--data", str(tiny_videos), "--flops", "0.0075:0.008", *SMALL]
    budgeted = [*words, "--budget", "60m", "-o", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["autovid", *budgeted])
    assert main(budgeted) == 0
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "without a clock:" in line]
    again = shlex.split(line.partition("without a clock:")[2])[1:]
    assert again[again.index("--threads") + 1] == "1"
    assert str(tmp_path / "run") not in again  # where a run is already
    again += ["-o", str(tmp_path / "again")]
    monkeypatch.setattr("sys.argv", ["autovid", *again])
    assert main(again) == 0
    first, second = (RunDirectory.open(tmp_path / name).config["settings"] for name in ("run", "again"))
    assert {**first, "budget": None} == {**second, "budget": None}
    files = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("run", "again")]
    ours, theirs = ([{k: v for k, v in json.loads(x).items() if k != "time"} for x in lines] for lines in files)
    assert ours == theirs  # one process repeats its own steps to the bit
    monkeypatch.setattr("autovid.search.budget.measure", lambda *args, **kwargs: pytest.fail("planned again"))
    assert main([*budgeted, "--resume"]) == 0
    capsys.readouterr()
    assert main(budgeted) == 5  # before anything is measured
    assert "holds a run already; go on with --resume" in capsys.readouterr().err
    assert main([*words, "--budget", "60m", "-o", str(tmp_path / "again"), "--resume"]) == 5
    said = capsys.readouterr().err
    assert "was not planned for a time; go on with the options that it was begun with: autovid search" in said
    assert "--steps" in said
