import csv
import pickle
from pathlib import Path
from typing import Any

import matplotlib.image
import msgspec
import pytest
from small import ARCH, SPACE, recipe, train
from stopping import StopAt

from autovid.costs import Latency, LatencyFile, Macs
from autovid.costs.count import count
from autovid.costs.latency import distinct_blocks
from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError, CostRangeError, DivergedError, RunError
from autovid.models import build
from autovid.run import Interrupted, Progress, RunDirectory
from autovid.search import Constraint
from autovid.solver import CostRange
from autovid.studies import Comparison, Entry, Trainer, find_rival, range_around, search_by_training
from autovid.studies.by_training import cost_at
from autovid.studies.comparison import write_comparison
from autovid.train.task import TrainingTask

FLOPS = CostRange(11_000_000, 12_000_000)


def flops(low: int, high: int) -> tuple[Constraint, ...]:
    return (Constraint(Macs(), CostRange(low, high)),)


def comparison_of(n: int, *others: Constraint, data: str = "few", **options: Any) -> Comparison:
    constraints = (*flops(*FLOPS), *others)
    return Comparison("tiny", constraints, FLOPS, SPACE.reference, data, 12, recipe(), n, **options)


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture
def trained_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that trainings do."""
    steps: list[int] = []
    step = TrainingTask.step

    def counted(task: TrainingTask, index: int) -> dict[str, float]:
        steps.append(index)
        return step(task, index)

    monkeypatch.setattr(TrainingTask, "step", counted)
    return steps


def trainer(videos: VideoSet, **options: Any) -> Trainer:
    """One step for each architecture."""
    chosen = options.pop("recipe", None) or recipe(epochs=0.3)
    return Trainer(videos, str(videos.root), chosen, "cpu", **options)


def baseline(out: Path, videos: VideoSet, **options: Any) -> Comparison:
    keywords = {"constraints": flops(*FLOPS), "trainer": trainer(videos), **options}
    architectures = {"architectures": keywords.pop("n", 3)}
    return search_by_training(SPACE, out=out, options=architectures, **keywords)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_distinct_architectures_of_the_range_are_trained_and_compared(videos: VideoSet, tmp_path: Path) -> None:
    reports: list[int] = []
    compared = baseline(tmp_path / "b", videos, report=lambda comparison: reports.append(len(comparison.entries)))
    rows = table(tmp_path / "b")
    assert reports == [1, 2, 3]
    assert len({row["architecture"] for row in rows}) == len(rows) == 3
    assert all(FLOPS.low <= int(row["macs"]) <= FLOPS.high for row in rows)
    assert all("1 GFLOPs = 1e9 MACs" in row["convention"] for row in rows)
    for row in rows:
        run = RunDirectory.open(tmp_path / "b" / f"arch-{row['architecture']}")
        assert run.steps() == [1]
    assert [float(row["top1"]) for row in rows] == [entry.top1 for entry in compared.entries]
    assert compared.summary() in (tmp_path / "b" / "table.md").read_text()
    assert matplotlib.image.imread(tmp_path / "b" / "plot.png").shape == (900, 1400, 4)


@pytest.mark.slow
def test_going_on_trains_nothing_twice(videos: VideoSet, tmp_path: Path, trained_steps: list[int]) -> None:
    """Interrupted in the second of three, in the second of its two steps."""
    long = recipe(epochs=0.6)
    displays = iter([Progress(), StopAt(1)])
    stopped = trainer(videos, recipe=long, progress=lambda title: next(displays), resume_command="autovid again")
    with pytest.raises(Interrupted, match="autovid again"):
        baseline(tmp_path / "b", videos, trainer=stopped)
    assert trained_steps == [0, 1, 0]
    first = table(tmp_path / "b")
    assert len(first) == 1
    baseline(tmp_path / "b", videos, trainer=trainer(videos, recipe=long), resume=True)
    assert trained_steps == [0, 1, 0, 1, 0, 1]
    assert table(tmp_path / "b")[:1] == first
    baseline(tmp_path / "b", videos, trainer=trainer(videos, recipe=long), resume=True)
    assert len(trained_steps) == 6


@pytest.mark.slow
def test_all_trainings_share_the_decoded_frames_of_both_splits(videos: VideoSet, tmp_path: Path) -> None:
    long = recipe(epochs=1)  # every training video has its turn
    sharing = trainer(videos, recipe=long, cache=10**7)
    baseline(tmp_path / "shared", videos, trainer=sharing)
    assert sharing.frames is not None
    assert sharing.frames.used == (24 + 12) * 16 * 40 * 40 * 3
    baseline(tmp_path / "alone", videos, trainer=trainer(videos, recipe=long))
    assert table(tmp_path / "shared") == table(tmp_path / "alone")
    elsewhere = pickle.loads(pickle.dumps(sharing))
    assert "frames" not in vars(elsewhere)
    assert elsewhere == sharing
    sharing.frames.close()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": 2}, r"settings\.options\.architectures: 3 there, 2 now"),
        ({"seed": 1}, r"settings\.seed: 0 there, 1 now"),
        ({"constraints": flops(11_000_000, 12_100_000)}, r"constraints\.flops\.whole: 0\.011:0\.012 there"),
    ],
)
def test_another_configuration_is_refused(
    videos: VideoSet, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(Interrupted):
        baseline(tmp_path / "b", videos, trainer=trainer(videos, progress=lambda title: StopAt(1)))
    with pytest.raises(RunError, match=message):
        baseline(tmp_path / "b", videos, resume=True, **changed)
    with pytest.raises(RunError, match=r"recipe\.lr"):
        baseline(tmp_path / "b", videos, resume=True, trainer=trainer(videos, recipe=recipe(epochs=0.3, lr=1.0)))


def test_a_number_that_nobody_gave_is_recorded(videos: VideoSet, tmp_path: Path) -> None:
    """So that a run goes on whether the number was given or not."""
    with pytest.raises(Interrupted):
        search_by_training(
            SPACE, flops(*FLOPS), trainer(videos, progress=lambda title: StopAt(1)), tmp_path / "b"
        )  # fmt: skip
    assert RunDirectory.open(tmp_path / "b").config["settings"]["options"] == {"architectures": 16}


@pytest.mark.slow
def test_the_searched_architecture_is_trained_by_the_same_recipe(videos: VideoSet, tmp_path: Path) -> None:
    ARCH.save(tmp_path / "searched.yaml")
    rival = find_rival(tmp_path / "searched.yaml", videos, recipe())
    comparison = baseline(tmp_path / "b", videos, n=1, rival=rival)
    assert (comparison.entries[0].kind, comparison.entries[0].hash) == ("searched", ARCH.hash)
    theirs = RunDirectory.open(tmp_path / "b" / f"searched-{ARCH.hash}").config
    mine = RunDirectory.open(tmp_path / "b" / f"arch-{comparison.entries[1].hash}").config
    assert (theirs["recipe"], theirs["data"]) == (mine["recipe"], mine["data"])
    assert "searched" in comparison.summary()


@pytest.mark.slow
def test_a_finished_training_of_the_searched_one_is_taken_over(
    videos: VideoSet, tmp_path: Path, trained_steps: list[int]
) -> None:
    short = recipe(epochs=0.3)
    done = train(tmp_path / "mine", videos, recipe=short)
    rival = find_rival(tmp_path / "mine", videos, short)
    comparison = baseline(tmp_path / "b", videos, n=1, rival=rival, trainer=trainer(videos, recipe=short))
    assert comparison.entries[0].top1 == done.top1
    assert len(trained_steps) == 2
    with pytest.raises(RunError, match=r"trained otherwise.*recipe.lr.*architecture.yaml"):
        find_rival(tmp_path / "mine", videos, recipe(epochs=0.3, lr=1.0))
    (tmp_path / "mine" / "evaluation-center.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        find_rival(tmp_path / "mine", videos, short)


@pytest.mark.slow
def test_one_that_diverges_is_an_entry_without_accuracy(
    videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = TrainingTask.step, []

    def once(task: TrainingTask, index: int) -> dict[str, float]:
        calls.append(index)
        if len(calls) == 2:
            raise DivergedError("the loss is nan")
        return step(task, index)

    monkeypatch.setattr(TrainingTask, "step", once)
    comparison = baseline(tmp_path / "b", videos)
    assert [entry.top1 is None for entry in comparison.entries] == [False, True, False]
    assert "diverged" in (tmp_path / "b" / "table.md").read_text()
    assert comparison.summary().startswith("2 of 3 random architectures")


def test_impossible_ranges_and_numbers_are_refused_before_anything_is_made(videos: VideoSet, tmp_path: Path) -> None:
    with pytest.raises(CostRangeError) as error:
        baseline(tmp_path / "b", videos, constraints=flops(10**12, 2 * 10**12))
    assert error.value.exit_code == 3
    smallest, _ = SPACE.cost_table().smallest()
    with pytest.raises(CostRangeError):
        baseline(tmp_path / "b", videos, constraints=flops(smallest, smallest), n=1000)
    for n in (0, 10_001):
        with pytest.raises(ConfigError, match=f"^{n} architectures: give 1 to 10,000"):
            baseline(tmp_path / "b", videos, n=n)
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_a_searched_one_outside_the_range_is_noted_wherever_it_is_compared(tmp_path: Path) -> None:
    comparison = comparison_of(1)
    comparison.entries += [
        Entry("random", name, 11_100_000, 1_000_000, top1, 80.0) for name, top1 in (("a", 4), ("c", 44))
    ]
    for macs, away in [(11_000_000, ""), (12_000_000, ""), (5_500_000, "50 % below"), (12_600_000, "5 % above")]:
        comparison.entries[2:] = [Entry("searched", "b", macs, 1_200_000, 50.0, None)]
        write_comparison(tmp_path, comparison)
        written = (tmp_path / "table.md").read_text()
        note = f"has {macs / 1e9:g} GFLOPs, {away} the range of the random ones, 0.011–0.012 GFLOPs"
        assert [note in text for text in (comparison.note(), written)] == [bool(away)] * 2
        assert comparison.summary().endswith("searched 50.0 %" + " (outside the range)" * bool(away))
        assert comparison.summary() in written
    picture = matplotlib.image.imread(tmp_path / "plot.png")
    assert (picture[:, :2] == 1).all()  # the title fits


@pytest.mark.slow
def test_a_table_says_what_flops_and_parameters_mean(videos: VideoSet, tmp_path: Path) -> None:
    """FLOPs at the space's reference input, parameters of what was trained: with the classes of the data."""
    comparison = baseline(tmp_path / "b", videos, n=1)
    assert comparison.classes == len(videos.classes) == 12
    lines = comparison.conventions().splitlines()
    assert "16 frames at 32x32, 12 classes" in lines[0]
    assert lines[1] == "parameters: of the networks as trained, with 12 classes"
    assert all(f"\n{line}." in (tmp_path / "b" / "table.md").read_text() for line in lines)
    assert all(line in table(tmp_path / "b")[0]["convention"] for line in lines)
    (entry,) = comparison.entries
    (arch,) = SPACE.sample(1, 0, FLOPS)
    counted = {classes: count(build(arch, classes)).params for classes in (12, 400)}
    assert entry.params == counted[12] < counted[400]


def test_the_range_around_an_architecture_is_two_percent_either_side() -> None:
    macs = ARCH.macs()
    around = range_around(SPACE, ARCH)
    assert (around.low / macs, around.high / macs) == (pytest.approx(0.98), pytest.approx(1.02))  # ends are integers


def test_a_comparison_in_which_nothing_has_an_accuracy_is_drawn_too(tmp_path: Path) -> None:
    comparison = comparison_of(2, data="few $^$")  # which is no formula
    comparison.entries.append(Entry("random", "abc", 11_500_000, None, None, None))
    write_comparison(tmp_path, comparison)
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert comparison.summary() == "0 of 2 random architectures"


def test_a_range_of_latency_adds_a_column_and_is_held_against_the_searched_one(tmp_path: Path) -> None:
    blocks = dict.fromkeys(distinct_blocks([SPACE]), 100000)
    file = LatencyFile(
        space="tiny", frames=16, crop=32, classes=12, batch=1, device="cpu", hardware="a machine", precision="fp32",
        threads=1, versions={}, blocks=blocks, overhead=0,
    )  # fmt: skip
    time = cost_at(ARCH, Latency(file))
    assert time is not None
    assert time % 100_000 == 0
    comparison = comparison_of(1, Constraint(Latency(file), CostRange(time // 2, time * 2)))
    comparison.entries.append(Entry("random", "a", 11_100_000, 1_000_000, 40.0, 80.0, {"latency": time}))
    comparison.entries.append(Entry("searched", "b", 11_200_000, 1_000_000, 50.0, 80.0, {"latency": int(time * 2.1)}))
    comparison.entries.append(Entry("random", "c", 11_200_000, 1_000_000, 30.0, 80.0, {"latency": None}))
    write_comparison(tmp_path, comparison)
    assert [row["latency_ms"] for row in table(tmp_path)] == [f"{time / 1e6}", f"{int(time * 2.1) / 1e6}", ""]
    assert comparison.columns()[2:5] == ("GFLOPs", "latency (ms)", "params (M)")
    assert [row[3] for row in comparison.rows()] == [f"{time * 2.1 / 1e6:.2f}", f"{time / 1e6:.2f}", "-"]
    assert all(len(row) == len(comparison.columns()) for row in comparison.rows())
    assert f"has {time * 2.1 / 1e6:g} ms, 5 % above the range of the random ones" in comparison.note()
    assert "0.011–0.012 GFLOPs" not in comparison.note()  # which it is in
    assert "latency predicted for a machine" in (tmp_path / "table.md").read_text()
    other = comparison_of(1, entries=comparison.entries)
    write_comparison(tmp_path, other)
    assert "latency" not in (tmp_path / "table.md").read_text() + (tmp_path / "table.csv").read_text()
    assert cost_at(ARCH, Latency(msgspec.structs.replace(file, blocks={}))) is None


def test_the_table_has_the_best_first() -> None:
    comparison = comparison_of(2)
    comparison.entries += [
        Entry("random", "a", 11_100_000, 1_000_000, 40.0, 80.0),
        Entry("searched", "b", 11_200_000, 1_200_000, 50.0, None),
        Entry("random", "c", 11_300_000, None, None, None),
        Entry("random", "d", 11_400_000, 900_000, 44.0, 81.0),
    ]
    assert [row[0] for row in comparison.rows()] == ["b", "d", "a", "c"]
    assert comparison.rows()[0] == ("b", "searched", "0.0112", "1.20", "50.00", "-")
    assert comparison.summary() == "2 of 2 random architectures: top-1 42.0 % (s.d. 2.8), best 44.0 %; searched 50.0 %"
