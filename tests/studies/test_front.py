"""The front of a search: its candidates, how the supernet judges them, what is taken, and what is said of it."""

import csv
import shutil
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import msgspec
import numpy as np
import pytest

from autovid.api import SearchRun
from autovid.cli import main
from autovid.costs import Macs, Params
from autovid.errors import CostRangeError
from autovid.kernels.compute import Compute
from autovid.search import Constraint, derive, read_constraints, read_search
from autovid.search import supernet as supernet_module
from autovid.search.chance import Evidence
from autovid.search.choice import Judge
from autovid.search.derivation import Searched
from autovid.search.strategy import ScoredArchitectures
from autovid.search.supernet import Supernet
from autovid.solver import UNLIMITED, CostRange
from autovid.space import Architecture, load_architecture, load_space
from autovid.studies import front as front_module
from autovid.studies import supernet as supernet_study
from autovid.studies.front import front_png, sentences
from autovid.studies.front_candidates import (
    CANDIDATES,
    Front,
    FrontEntry,
    dominates,
    find_candidates,
    judge,
    slices,
    take_best,
    within,
)
from autovid.train.inherited import open_supernet_weights

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
    return search(videos.parent / "run", videos, "--recipe", "proxy")


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


def by_the_search(searched: Searched, n: int, ranges: dict[str, str] | None = None) -> Front:
    """The front where nothing can be judged."""
    front = find_candidates(searched, n, None if ranges is None else read_constraints(SPACE, ranges))
    front.not_scored = "the videos are not there"
    take_best(front, n)
    return front


def with_prior(searched: Searched, seed: int) -> Searched:
    """The search with another prior, which is not uniform."""
    rng = np.random.default_rng(seed)
    learned = {name: np.log(rng.dirichlet(np.ones(len(logp)))) for name, logp in searched.learned.items()}
    return msgspec.structs.replace(searched, learned=learned)


@pytest.mark.parametrize("opened", [False, True])
def test_candidates_of_a_slice(searched: Searched, opened: bool) -> None:
    """The search's own choice stands in its slice, even where the prior prefers others."""
    searched = with_prior(searched, 1) if opened else searched
    front, (constraint,) = find_candidates(searched, 3), searched.constraints
    own, places = derive(searched), []
    for ends in slices(constraint, SPACE, 3):
        some = [entry for entry in front.candidates if entry.slice == (within(constraint, ends, SPACE),)]
        hashes = [entry.arch.hash for entry in some]
        assert 1 < len(set(hashes)) == len(hashes) <= CANDIDATES
        assert all(ends.holds(entry.costs[Macs()]) and entry.costs == {Macs(): entry.arch.macs()} for entry in some)
        scores = [entry.score for entry in some]
        assert scores == pytest.approx([log_prob(searched, entry.arch) for entry in some], abs=1e-5)
        best = derive(searched, [within(constraint, ends, SPACE)])
        assert max(scores) == pytest.approx(log_prob(searched, best), abs=1e-5)
        places.append(own.hash in hashes)
    assert places == [ends.holds(own.macs()) for ends in slices(constraint, SPACE, 3)]
    assert sum(places) == 1
    assert front.own == own.hash


def log_prob(searched: Searched, arch: Architecture) -> float:
    return sum(logp[i] for logp, i in zip(searched.log_probs(SPACE), SPACE.index([arch])[0]))


def test_what_was_judged_at_the_end_of_the_search_is_a_candidate(searched: Searched) -> None:
    assert searched.choice is not None
    (raced, *_) = searched.choice.next_best
    front = find_candidates(with_prior(searched, 1), 1)
    hashes = [entry.arch.hash for entry in front.candidates]
    assert hashes[0] == searched.choice.chosen.hash
    assert raced.hash in hashes
    assert len(hashes) == CANDIDATES


def test_without_figures_the_most_probable_is_taken(searched: Searched) -> None:
    searched = with_prior(searched, 1)
    (constraint,) = searched.constraints
    front = by_the_search(searched, 3)
    for entry, ends in zip(front.entries, slices(constraint, SPACE, 3), strict=True):
        best = derive(searched, [within(constraint, ends, SPACE)])
        assert entry.score == pytest.approx(log_prob(searched, best), abs=1e-5)
    other = by_the_search(searched, 2, {"flops": "0.006:0.0065"})
    assert all(6_000_000 <= entry.costs[Macs()] <= 6_500_000 for entry in other.entries)


def test_a_prior_that_has_not_moved_prefers_none(searched: Searched) -> None:
    assert "the prior has not moved" in " ".join(sentences(by_the_search(searched, 2), searched))
    opened = with_prior(searched, 1)
    assert "the prior has not moved" not in " ".join(sentences(by_the_search(opened, 2), opened))


def test_the_smallest_loss_on_held_out_clips_is_taken(run: Path, searched: Searched) -> None:
    """As the race judges: the losses are those of the networks alone, with norms of their own statistics."""
    weights = open_supernet_weights(run)
    videos, compute = weights.open_videos(), Compute("cpu", "fp32")
    front = find_candidates(searched, 2)
    judge(front, weights, videos, compute)
    take_best(front, 2)
    losses = {entry.arch.hash: entry.loss for entry in front.candidates}
    with closing(Supernet(SPACE, videos, searched.settings, compute, 0, None)) as supernet:
        supernet.net.load_state_dict(weights.net.state_dict())
        judged = Judge(supernet, SPACE, SPACE.index([entry.arch for entry in front.candidates[:2]]), 128)
        loss_KN, _ = judged.judge(supernet.held_out_views().views_batches(), range(2))
    assert [losses[entry.arch.hash] for entry in front.candidates[:2]] == pytest.approx(loss_KN.mean(1).tolist())
    assert front.clips == loss_KN.shape[1]
    for entry in front.entries:
        of_slice = [other for other in front.candidates if other.slice == entry.slice]
        assert entry.loss == min(losses[other.arch.hash] for other in of_slice)
    assert len(front.entries) == 2


@pytest.mark.parametrize("by_file", [False, True])
def test_what_is_held_out_is_what_the_search_held_out(
    run: Path, searched: Searched, monkeypatch: pytest.MonkeyPatch, by_file: bool
) -> None:
    """A search of before dealt parts one by one, and says nothing of it: by file its weights have seen the held-out."""
    weights, asked = open_supernet_weights(run), []
    weights = replace(weights, config=weights.config | ({"held_out": "by file"} if by_file else {}))
    monkeypatch.setattr(supernet_study, "open_supernet_weights", lambda path: weights)

    def note(*args: object, by_file: bool = True) -> None:
        asked.append(by_file)
        raise InterruptedError

    monkeypatch.setattr(supernet_module, "hold_out", note)
    with pytest.raises(InterruptedError):
        judge(find_candidates(searched, 1), weights, weights.open_videos(), Compute("cpu", "fp32"))
    with pytest.raises(InterruptedError):
        supernet_study.choose_again(run, searched, searched.constraints, device="cpu")
    assert asked == [by_file, by_file]


@pytest.mark.parametrize("ranges", [None, {"flops": "0.007:0.008", "params": ":0.09"}])
def test_val_decides_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: dict[str, str] | None
) -> None:
    fronts = []
    monkeypatch.setattr(front_module, "calibrate", lambda *args: 64)
    for answers in ([10.0, 20.0, 30.0, 40.0], [40.0, 30.0, 20.0, 10.0]):
        results = iter(answers)
        monkeypatch.setattr(
            front_module,
            "evaluate_network",
            lambda *args: SimpleNamespace(top1=next(results)),  # noqa: B023
        )
        front = SearchRun(run).front(4, ranges, out=tmp_path / "f")
        assert [entry.supernet for entry in front.entries] == answers[: len(front.entries)]
        fronts.append([entry.arch.hash for entry in front.entries])
    assert fronts[0] == fronts[1]


@pytest.mark.slow
def test_a_front_is_written_scored_and_replaced(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is outside the ranges of the search is not scored."""
    words = ["derive", str(run), "--front"]
    assert main([*words, "3"]) == 0
    shown = capsys.readouterr().out
    assert "Top-1 of val (12 videos, centre view) with the supernet's weights, recalibrated on 64" in shown
    assert "Chance is 8.3 %" in shown
    assert "Val was not used for this" in shown
    assert "The search's own choice is " in shown
    assert shown.index("The supernet is at chance: ") < shown.index("front of 3") < shown.index("Top-1 of val")
    rows = table(run / "front")
    assert [row["file"] for row in rows] == ["01.yaml", "02.yaml", "03.yaml"]
    assert [float(row["gflops"]) for row in rows] == sorted(float(row["gflops"]) for row in rows)
    for row in rows:
        assert load_architecture(run / "front" / row["file"]).hash == row["hash"]
        assert 0 <= float(row["supernet_top1"]) <= 100
        assert float(row["held_out_loss"]) > 0
        assert row["trained_top1"] == ""
    assert matplotlib.image.imread(run / "front" / "front.png").shape[1] == 1400
    # The first of the two slices ends where the range of the search does, whatever the prior has learned.
    assert main([*words, "2", "--flops", "0.0076:0.0084"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    reason = "outside the ranges that the supernet was trained in"
    assert f"Not scored by the supernet: 02.yaml ({reason}). There stands what the search prefers." in shown
    for key in ("held_out_loss", "supernet_top1"):
        assert [row[key] == "" for row in table(run / "front")] == [False, True]
    assert load_architecture(run / "front" / "02.yaml").provenance["chosen"] == f"not scored by the supernet: {reason}"
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
    front = by_the_search(searched, 2)
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
    macs, front = Macs().table(SPACE).total(rows), by_the_search(searched, 2)
    for entry, ends in zip(front.entries, slices(searched.constraints[0], SPACE, 2), strict=True):
        inside = scores[ends.holds(macs)]
        if len(inside):
            assert entry.score == pytest.approx(inside.max())
        else:
            assert entry.score is None
    nothing = msgspec.structs.replace(searched, state={**searched.state, "scored": ScoredArchitectures(None).state()})
    front = by_the_search(nothing, 2)
    assert "Not scored by the search either, but drawn at random: 01.yaml, 02.yaml." in sentences(front, nothing)
    judged = SearchRun(out).front(2, out=tmp_path / "f")
    assert all(entry.loss is not None for entry in judged.candidates)
    assert "drawn at random" not in " ".join(sentences(judged, searched))


def test_of_several_costs_what_nothing_dominates_is_taken(searched: Searched) -> None:
    archs = SPACE.sample(4, seed=0)

    def entry(i: int, macs: int, params: int, score: float | None, loss: float | None = None) -> FrontEntry:
        return FrontEntry(archs[i], {Macs(): macs, Params(): params}, searched.constraints, score, loss)

    def taken(candidates: list[FrontEntry], n: int = 8) -> Front:
        front = Front(candidates, [Macs(), Params()], "log_probability", "")
        take_best(front, n)
        return front

    worse, cheap, good, best = (
        entry(1, 11, 10, -3.0),
        entry(2, 9, 11, -3.0),
        entry(0, 10, 10, -2.0),
        entry(3, 12, 12, -1.0),
    )
    front = taken([best, worse, good, cheap])
    assert front.entries == [cheap, good, best]  # by rising first cost
    assert (front.not_dominated, front.left_out) == (3, 0)
    assert "3 are not dominated: nothing that costs no more has a larger log-probability." in sentences(front, searched)
    front = taken([best, worse, good, cheap], 2)
    assert front.entries == [cheap, best]  # the ends of the order, of which the best is one
    assert "2 of these are shown, evenly spaced in the order of that." in sentences(front, searched)
    assert taken([worse, good, best], 1).entries == [best]
    # The held-out loss goes before the search's score; what has none is left out where others have one.
    front = taken([replace(worse, loss=0.5), replace(good, loss=0.7), best])
    assert front.entries == [replace(good, loss=0.7), replace(worse, loss=0.5)]
    assert front.left_out == 1
    assert any(line.startswith("1 candidates are left out") for line in sentences(front, searched))
    # Top-1 on val decides nothing.
    one, other = replace(good, loss=0.5, supernet=10.0), replace(worse, loss=0.7, supernet=90.0)
    assert dominates(one, other)
    assert not dominates(other, one)
    assert not dominates(entry(0, 1, 1, None), entry(1, 2, 2, None))  # without figures


def test_several_costs_are_those_of_all_candidates(searched: Searched) -> None:
    """Not of the best in each slice alone."""
    both = by_the_search(with_prior(searched, 1), 2, {"flops": "0.007:0.008", "params": ":0.09"})
    assert all(entry.costs[Params()] <= 90_000 for entry in both.candidates)
    assert len(both.entries) <= 2
    assert len(both.candidates) > 2
    for one in both.entries:
        assert not any(dominates(other, one) for other in both.candidates)


def test_a_picture_has_what_there_is(searched: Searched) -> None:
    front = by_the_search(searched, 2)
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
