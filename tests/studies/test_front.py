"""The front of a search: one architecture a slice, its figures, and what is left out."""

import csv
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import msgspec
import pytest

from autovid.api import SearchRun
from autovid.cli import main
from autovid.costs import Macs, Params
from autovid.errors import CostRangeError
from autovid.search import Constraint, derive, read_constraints, read_search
from autovid.search.chance import Evidence
from autovid.search.derivation import Searched
from autovid.solver import UNLIMITED, CostRange
from autovid.space import load_architecture, load_space
from autovid.studies.front import Front, FrontEntry, find_front, front_png, keep_best, sentences, slices, within

SPACE = load_space("tiny")
SHORT = ["--steps", "1", "--batch", "4", "--crop", "16", "--decoders", "0", "--precision", "fp32"]
LOW, HIGH = 7_000_000, 8_000_000


def search(out: Path, videos: Path, *words: str) -> Path:
    run = ["search", "--space", "tiny", "--data", str(videos), "--flops", "0.007:0.008", "-o", str(out), *SHORT]
    assert main([*run, *words]) == 0
    return out


@pytest.fixture(scope="module")
def videos(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_videos, tmp_path_factory.mktemp("front") / "videos"))


@pytest.fixture(scope="module")
def run(videos: Path) -> Path:
    return search(videos.parent / "run", videos, "--samples", "2")


@pytest.fixture(scope="module")
def searched(run: Path) -> Searched:
    return read_search(run)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "front.csv").open() as file:
        return list(csv.DictReader(file))


def test_slices_cover_the_range_once() -> None:
    ranges = slices(Constraint(Macs(), CostRange(LOW, HIGH)), SPACE, 3)
    assert (ranges[0].low, ranges[-1].high) == (LOW, HIGH)
    assert all(a.high + 1 == b.low for a, b in pairwise(ranges))
    assert max(b - a for a, b in ranges) - min(b - a for a, b in ranges) <= 1
    whole, table = slices(Constraint(Macs()), SPACE, 2), Macs().table(SPACE)
    assert (whole[0].low, whole[-1].high) == (table.smallest()[0], table.largest()[0])  # as far as the space reaches
    assert len(slices(Constraint(Macs(), CostRange(LOW, LOW + 1)), SPACE, 8)) == 2
    with pytest.raises(CostRangeError, match="no architecture costs at least 1 GFLOPs; the space has"):
        slices(Constraint(Macs(), CostRange(10**9, UNLIMITED)), SPACE, 8)


@pytest.mark.slow
def test_each_is_the_most_probable_of_its_slice(searched: Searched) -> None:
    front = find_front(searched, 3)
    (own,) = searched.constraints
    for entry, ends in zip(front.entries, slices(own, SPACE, 3), strict=True):
        assert ends.low <= entry.costs[Macs()] <= ends.high
        assert entry.arch.hash == derive(searched, [within(own, ends, SPACE)]).hash
        assert entry.score == entry.arch.provenance["log_probability"]
    other = find_front(searched, 2, read_constraints(SPACE, {"flops": "0.006:0.0065"}))
    assert all(6_000_000 <= entry.costs[Macs()] <= 6_500_000 for entry in other.entries)


@pytest.mark.slow
def test_a_front_is_written_scored_and_replaced(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is outside the ranges of the search is not scored."""
    words = ["derive", str(run), "--front"]
    assert main([*words, "3"]) == 0
    shown = capsys.readouterr().out
    assert "Top-1 of val (12 videos, centre view) with the supernet's weights, recalibrated on 64" in shown
    assert "Chance is 8.3 %" in shown
    assert shown.index("The supernet is at chance: ") < shown.index("front of 3") < shown.index("Top-1 of val")
    rows = table(run / "front")
    assert [row["file"] for row in rows] == ["01.yaml", "02.yaml", "03.yaml"]
    assert [float(row["gflops"]) for row in rows] == sorted(float(row["gflops"]) for row in rows)
    for row in rows:
        assert load_architecture(run / "front" / row["file"]).hash == row["hash"]
        assert 0 <= float(row["supernet_top1"]) <= 100
        assert row["trained_top1"] == ""
    assert matplotlib.image.imread(run / "front" / "front.png").shape[1] == 1400
    # The first of the two slices ends where the range of the search does, whatever the prior has learned.
    assert main([*words, "2", "--flops", "0.0076:0.0084"]) == 0
    assert "1 of 2 are outside the ranges that the supernet was trained in" in capsys.readouterr().out
    assert [row["supernet_top1"] == "" for row in table(run / "front")] == [False, True]
    assert sorted(file.name for file in (run / "front").iterdir()) == ["01.yaml", "02.yaml", "front.csv", "front.png"]
    assert main([*words, "2", "-o", str(run)]) == 2
    assert "is not empty and holds no front" in capsys.readouterr().err


@pytest.mark.thorough
def test_they_are_trained_where_that_is_asked(run: Path, tmp_path: Path) -> None:
    words = ["derive", str(run), "--front", "2", "--train", "0.3", "-o", str(tmp_path / "f"), "--decoders", "0"]
    assert main(words) == 0
    rows = table(tmp_path / "f")
    assert all(0 <= float(row["trained_top1"]) <= 100 for row in rows)
    assert all((tmp_path / "f" / f"train-{row['hash']}" / "evaluation-center.json").is_file() for row in rows)
    assert main(words) == 0  # finished trainings are not repeated
    assert table(tmp_path / "f") == rows


def test_chance_comes_first_where_the_supernet_is_better_too(searched: Searched) -> None:
    (part, *_) = searched.evidence.parts
    better = msgspec.structs.replace(searched, evidence=Evidence((part._replace(loss=0.1, error=0.01),)))
    front = find_front(searched, 2)
    assert sentences(front, better)[0].startswith("The supernet is better than chance: ")
    assert sentences(front, searched)[0].startswith("The supernet is at chance: ")
    front.trained, front.chance = "1 epoch", 25.0
    assert "Trained: each from scratch for 1 epoch; one seed. Chance is 25.0 %." in sentences(front, better)


def test_without_the_data_it_is_not_scored(
    run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(videos, tmp_path / "away")
    try:
        front = SearchRun(run).front(2, out=tmp_path / "f")
        assert not front.accuracy
        assert "Not scored by the supernet: the videos of the search are not there" in " ".join(
            sentences(front, read_search(run))
        )
        words = ["derive", str(run), "--front", "2", "-o", str(tmp_path / "f")]
        assert main([*words, "--train", "1"]) == 4
        assert "no videos to train the front on" in capsys.readouterr().err
        assert main([*words, "--data", str(tmp_path / "nothing")]) == 4
    finally:
        shutil.move(tmp_path / "away", videos)


def test_a_search_that_keeps_scores_gives_its_best(tmp_path: Path, videos: Path) -> None:
    pairs = ("rounds=2", "batch=4", "population=4", "sample=2")
    options = [word for pair in pairs for word in ("--set", f"strategy.{pair}")]
    out = search(tmp_path / "run", videos, "--strategy", "evolution", *options)
    searched = read_search(out)
    scored = searched.state["scored"]
    rows, scores = scored["rows"].numpy(), scored["scores"].numpy()
    macs = Macs().table(SPACE).total(rows)
    for entry, ends in zip(find_front(searched, 2).entries, slices(searched.constraints[0], SPACE, 2), strict=True):
        inside = scores[ends.holds(macs)]
        if len(inside):
            assert entry.score == pytest.approx(inside.max(), abs=1e-5)  # the same number, kept with five decimals
        else:
            assert entry.score is None


def test_of_several_costs_the_dominated_are_left_out(searched: Searched) -> None:
    archs = SPACE.sample(4, seed=0)

    def entry(i: int, macs: int, params: int, score: float | None, top1: float | None = None) -> FrontEntry:
        return FrontEntry(archs[i], {Macs(): macs, Params(): params}, score, top1)

    worse, rest = entry(1, 11, 10, -3.0), [entry(0, 10, 10, -2.0), entry(2, 9, 11, -3.0), entry(3, 12, 12, -1.0)]
    front = Front([rest[0], worse, *rest[1:]], [Macs(), Params()], "log_probability")
    keep_best(front)
    assert front.entries == rest
    assert front.dominated == 1
    assert "1 more were no better" in " ".join(sentences(front, searched))
    better = replace(worse, supernet=50.0)  # by accuracy where both have one, else by the search's score
    front = Front([replace(rest[0], supernet=40.0), better, entry(2, 12, 12, None)], [Macs(), Params()], "x")
    keep_best(front)
    assert len(front.entries) == 3
    front = Front([rest[0], worse], [Macs()], "log_probability")
    keep_best(front)
    assert len(front.entries) == 2  # one cost: the best of each slice stays
    both = find_front(searched, 2, read_constraints(SPACE, {"flops": "0.007:0.008", "params": ":0.09"}))
    assert all(entry.costs[Params()] <= 90_000 for entry in both.entries)


def test_a_picture_has_what_there_is(searched: Searched) -> None:
    front = find_front(searched, 2)
    for supernet, alone in ((None, None), (8.3, None), (8.3, 50.0), (None, 50.0)):
        front.entries = [replace(entry, supernet=supernet, alone=alone) for entry in front.entries]
        front.videos, front.chance = 12, 8.3
        assert len(front_png(front, "$a", sentences(front, searched))) > 1000
    front.entries = [replace(entry, supernet=None, alone=None, score=None) for entry in front.entries]
    assert len(front_png(front, "none", [])) > 1000


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = [
        (["--front", "2", "--no-range"], 2, "leave out --no-range and --scale"),
        (["--train", "1"], 2, "give --front N"),
        (["--front", "2", "--flops", "1:2"], 3, "no architecture costs"),
        (["--front", "2", "-o", str(run / "space.yaml")], 2, "is a file"),
    ]
    for words, code, message in mistakes:
        assert main(["derive", str(run), *words]) == code
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
