"""experiments/proof.py: its statistics, and what it says of searches with planted answers.

Tests take 2,000 permutations. Of these, the share that does something with probability q has a standard deviation of
sqrt(q (1 - q) / 2000), and tolerances are three of these. Everything else is worked out in float64 by some hundred
operations of 1e-16 each: approx's 1e-6 is far above.
"""

import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from autovid.space import load_space
from autovid.studies import TableEvaluator
from autovid.studies.table_file import TableFile, TrainedArchitecture

SPACE = load_space("bench")
ROWS = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.sizes), axis=1)
MACS = SPACE.cost_table().macs(ROWS)


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "experiments"))
    module = importlib.import_module("proof")
    monkeypatch.setattr(module, "PERMUTATIONS", 2000)
    return module


def probably(q: float) -> Any:
    """Approximately a share of 2,000 permutations."""
    return pytest.approx(q, abs=3 * math.sqrt(q * (1 - q) / 2000))


def planted(low: int = 0, high: int = 10**9) -> TableEvaluator:
    """A table in which an architecture is the better the earlier it stands in the order of counting."""
    file = TableFile(
        space="bench",
        clips=100,
        chance=math.log(24),
        architectures=[
            TrainedArchitecture(dict(SPACE.architecture(row).choices), [0.01 * i, 0.01 * i + 0.004], [90, 91])
            for i, row in enumerate(ROWS)
            if low <= MACS[i] <= high
        ],
    )
    return TableEvaluator(file, Path("planted.json"))


def test_places(proof: ModuleType) -> None:
    loss = np.array([0.3, 0.1, 0.2, 0.3, 0.4])
    assert proof.place(1, [0, 2, 3, 4], loss) == 1
    assert proof.place(4, [0, 1, 2, 3], loss) == 5
    assert proof.place(0, [1, 2, 3, 4], loss) == 3.5


def among_all(proof: ModuleType, loss: np.ndarray, *found: int) -> tuple[np.ndarray, list[Any]]:
    """A range in which searches have found rows; each is compared with all others."""
    return loss, [proof.Comparison(one, [i for i in range(len(loss)) if i != one]) for one in found]


def test_searches_that_find_the_same_count_as_one_answer(proof: ModuleType) -> None:
    loss = np.arange(20.0)
    for found in [(0,), (0, 0, 0)]:  # three independent places would have 1 / 8,000
        assert proof.chance_of([among_all(proof, loss, *found)]) == probably(1 / 20)
    assert proof.chance_of([among_all(proof, loss, 19, 19)]) == 1
    assert proof.chance_of([among_all(proof, loss, 10)]) == probably(11 / 20)


def test_different_answers_and_different_ranges_add_evidence(proof: ModuleType) -> None:
    loss = np.arange(5.0)
    both = [among_all(proof, loss, 0, 1)]  # the two best of five, in any order
    assert proof.chance_of(both) == probably(2 / 20)
    assert proof.chance_of([among_all(proof, loss, 0)] * 2) == probably(1 / 25)
    best = np.arange(1000.0)
    assert proof.chance_of([among_all(proof, best, 0)] * 2) == 1 / (proof.PERMUTATIONS + 1)  # never 0


def test_rivals_stay_the_same_rows_when_losses_are_permuted(proof: ModuleType) -> None:
    loss = np.array([0.1, 0.3, 0.2, 0.2, 0.2])
    # the found one beats its one rival in half of the permutations, and ties never count as a win
    assert proof.chance_of([(loss, [proof.Comparison(0, [1])])]) == probably((1 - 6 / 20) / 2)


def test_an_interval_of_few_searches_has_students_quantile(proof: ModuleType) -> None:
    point = proof.point("ours", 1.5, np.array([60.0, 70.0, 80.0]))
    assert (point["percentile"], point["searches"]) == (70, 3)
    assert point["half_interval"] == pytest.approx(4.303 * 10 / math.sqrt(3), abs=0.01)
    seven = np.arange(7.0)  # between two quantiles the larger one
    assert proof.point("ours", 1, seven)["half_interval"] == pytest.approx(
        2.571 * seven.std(ddof=1) / math.sqrt(7), abs=0.01
    )
    assert math.isnan(proof.point("ours", 1, np.ones(1))["half_interval"])


def test_a_search_is_compared_with_a_random_one_that_costs_as_much_or_more(proof: ModuleType) -> None:
    random = [
        {"trainings": n, "percentile": value, "half_interval": 3.0} for n, value in ((1, 40.0), (2, 60.0), (4, 65.0))
    ]
    ours = {"trainings": 1.2, "percentile": 75.0, "half_interval": 4.0}
    assert proof.above(ours, random) == {"at": 2, "difference": 15, "half_interval": 5}
    assert proof.above(ours | {"trainings": 2}, random)["at"] == 2
    assert proof.above(ours | {"trainings": 9}, random)["at"] == 4


def test_kernels_are_counted_by_stream(proof: ModuleType) -> None:
    trained = proof.Trained(planted(), *proof.WHOLE)
    assert np.bincount(trained.dense).tolist() == np.bincount(trained.sparse).tolist() == [64, 128, 64]
    band = proof.Trained(planted(), *proof.BAND)
    assert ((band.dense > 0).sum(), len(band.dense)) == (36, 52)


def test_agreement_within_a_group_says_nothing_of_the_others(proof: ModuleType) -> None:
    trained = proof.Trained(planted(), *proof.WHOLE)
    among = trained.dense > 0
    loss = np.where(among, np.arange(256), 1000 - np.arange(256)).astype(float)
    trained.seeds, trained.mean_loss, trained.loss = range(3), loss, [np.array([one, one, -one]) for one in loss]
    figures = {"order": np.arange(256), "group": -among.astype(int)}
    *lines, pairs = proof.agreement(trained, figures, among)
    assert [line[: len("order 1.00")] for line in lines] == ["order 1.00", "seed again"]  # the group is one tie there
    assert lines[-1].startswith("seed against seed, the mean of pairs -0.33")
    assert pairs == "each pair of seeds: tau 1.00, -1.00, -1.00; Spearman 1.00, -1.00, -1.00"
    group = proof.agreement(trained, figures, np.ones(256, bool))[1]
    share = 192 * 64 / math.comb(256, 2)  # of the pairs that the group orders, all of them right
    assert group.startswith(f"group {math.sqrt(share):.2f}")
    assert group.endswith(f"with ties as 0: {share:.2f}")


def test_a_search_of_the_whole_space_has_no_range(
    proof: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(proof, "open_videos", lambda index: type("Videos", (), {"train": [None] * 9600}))
    monkeypatch.setattr(proof.autovid, "search", lambda space, constraints, **_: asked.append(constraints))
    proof.search(Path("x.csv"), tmp_path / "new", None, 0, 1.0)
    proof.search(Path("x.csv"), tmp_path / "new", (2_000_000, 3_000_000), 0, 1.0)
    assert asked == [{}, {"flops": "0.002:0.003"}]


def test_the_ceiling_is_one_without_noise_and_falls_with_it(proof: ModuleType) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1, 50)
    clean = [np.array([value, value]) for value in true]
    assert proof.ceiling(clean, rng) == 1
    noisy = [value + rng.normal(0, 1, 2) for value in true]
    # noise as large as the differences: the mean of two seeds correlates by sqrt(2 / 3), tau 2 / pi * asin of that
    assert proof.ceiling(noisy, rng) == pytest.approx(2 / math.pi * math.asin(math.sqrt(2 / 3)), abs=0.15)


class FakeRun:
    """A search that has found an architecture."""

    path = Path("unused")

    def __init__(self, row: np.ndarray) -> None:
        self.row = row

    def derive(self) -> Any:
        return SPACE.architecture(self.row)


def test_all_parts_of_it_on_planted_answers(
    proof: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def best(index: Path, out: Path, macs: tuple[int, int], seed: int, *length: Any) -> FakeRun:
        return FakeRun(ROWS[np.flatnonzero((macs[0] <= MACS) & (macs[1] >= MACS))[0]])

    order = {tuple(row): i for i, row in enumerate(ROWS.tolist())}
    monkeypatch.setattr(proof, "search", best)
    monkeypatch.setattr(
        proof,
        "supernet_scores",
        lambda run, rows: (np.array([float(order[tuple(r)]) for r in rows.tolist()]), np.ones(len(rows))),
    )
    monkeypatch.setattr(proof, "synaptic_flow", lambda arch: float(arch.hash[:2] > "80"))
    monkeypatch.setattr(proof, "parameters", lambda arch: arch.macs() // 200)
    monkeypatch.setattr(proof.autovid, "load_benchmark", lambda name: planted())
    monkeypatch.setattr(proof, "trainings", lambda run: 1.5)
    monkeypatch.setattr(proof, "REPEATS", 4)
    monkeypatch.setattr("sys.argv", ["proof.py", "x.csv", "-o", str(tmp_path), "--seeds", "2"])
    assert proof.main() == 0
    results = json.loads((tmp_path / "proof.json").read_text())
    assert [one["place_among_17"] for one in results["choice"]["comparisons"]] == [1.0] * 4
    assert results["choice"]["different"] == [1, 1]
    # by chance 1 / (23 * 29) or 3 of 2,000 permutations; four independent places would have 17**-4, which is 0 of them
    assert 1 / 2001 < results["choice"]["p"] < 0.005
    assert results["ranking"]["architectures"] == 52
    assert results["ranking"]["tau"] == [1.0, 1.0]
    assert "seed against seed, the mean of pairs 1.00" in capsys.readouterr().out
    assert "the 36 with a dense temporal kernel of 3:" in results["ranking"]["lines"]
    assert "ranking-all" not in results
    points = {(one["name"], one["trainings"]): one["percentile"] for one in results["curves"]["points"]}
    assert points["proxy", 1.5] == 100  # each of its searches finds the first of the band
    assert points["random", 1] < points["random", 8] < points["random", 32] > 90
    assert points["evolution", 1] < points["evolution", 32] > 90
    (proxy, *_) = [one for one in results["curves"]["points"] if one["name"] == "proxy"]
    assert (proxy["above_random"]["at"], proxy["half_interval"]) == (2, 0)


def test_more_ranges_go_on_with_the_searches_of_the_first_two(
    proof: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranges touch but do not overlap. Each search finds the best of its range here."""
    asked = []

    def best(index: Path, out: Path, macs: tuple[int, int], *_: Any) -> FakeRun:
        asked.append((out.name, macs))
        return FakeRun(ROWS[np.flatnonzero((macs[0] <= MACS) & (macs[1] >= MACS))[0]])

    monkeypatch.setattr(proof, "search", best)
    monkeypatch.setattr(proof.autovid, "load_benchmark", lambda name: planted())
    words = ["proof.py", "x.csv", "-o", str(tmp_path), "--seeds", "2", "--part", "choice", "--part", "choice-more"]
    monkeypatch.setattr("sys.argv", words)
    assert proof.main() == 0
    assert [name for name, _ in asked[:4]] == [name for name, _ in asked[4:8]]
    spans = sorted({macs for _, macs in asked})
    assert len(asked) == 4 + 14
    assert [high for _, high in spans[:-1]] == [low for low, _ in spans[1:]]
    results = json.loads((tmp_path / "proof.json").read_text())["choice-more"]
    assert [one["place_among_17"] for one in results["comparisons"]] == [1.0] * 14
    assert max(results["p_of"].values()) < 0.005
    assert "the ranges after the first two" in results["p_of"]


def test_beside_a_rule_only_those_that_follow_it_are_permuted(proof: ModuleType) -> None:
    """A search that finds any of those that the rule takes is no better than the rule."""
    trained = proof.Trained(planted(), *proof.RANGES[0])
    ruled = np.flatnonzero(trained.dense)
    assert 0 < len(ruled) < len(trained.rows)
    middle = int(ruled[np.argsort(trained.mean_loss[ruled])[len(ruled) // 2]])
    loss, comparisons = proof.within_the_rule(trained, [middle])
    assert len(loss) == len(ruled)
    assert len(comparisons[0].drawn) == len(ruled) - 1
    assert proof.chance_of([(loss, comparisons)]) > 0.4
    outside = int(np.flatnonzero(trained.dense == 0)[0])
    assert len(proof.within_the_rule(trained, [outside])[0]) == len(ruled) + 1


def test_the_whole_space_is_ranked_by_searches_without_a_range(
    proof: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def last(index: Path, out: Path, macs: object, *_: Any) -> FakeRun:
        asked.append((out.name, macs))
        return FakeRun(ROWS[-1])

    monkeypatch.setattr(proof, "search", last)
    monkeypatch.setattr(proof, "supernet_scores", lambda run, rows: (np.arange(256.0), np.ones(256)))
    monkeypatch.setattr(proof, "interval", lambda *_: (0.0, 1.0))
    monkeypatch.setattr(proof, "synaptic_flow", lambda arch: float(arch.hash[:2] > "80"))
    monkeypatch.setattr(proof.autovid, "load_benchmark", lambda name: planted())
    monkeypatch.setattr("sys.argv", ["proof.py", "x.csv", "-o", str(tmp_path), "--seeds", "2", "--part", "ranking-all"])
    assert proof.main() == 0
    assert asked == [("whole-1-0", None), ("whole-1-1", None)]
    results = json.loads((tmp_path / "proof.json").read_text())
    assert (results["ranking-all"]["architectures"], results["ranking-all"]["tau"]) == (256, [1.0, 1.0])


def test_a_percentile_is_the_mean_of_those_by_each_seed(proof: ModuleType) -> None:
    trained = proof.Trained(planted(), *proof.BAND)
    trained.loss = [np.array(pair) for pair in [(0.3, 0.1), (0.2, 0.2), (0.1, 0.3)]]
    assert [trained.percentile(number, [0]) for number in range(3)] == [0, 50, 100]
    assert [trained.percentile(number, [0, 1]) for number in range(3)] == [50, 50, 50]


def test_a_table_that_lacks_architectures_of_the_range_ends_it_in_a_line(
    proof: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proof.autovid, "load_benchmark", lambda name: planted(2_500_000, 2_600_000))
    for part in ("choice", "ranking-all"):
        monkeypatch.setattr("sys.argv", ["proof.py", "x.csv", "-o", str(tmp_path), "--part", part])
        assert proof.main() == 2
        assert "is not in the table" in capsys.readouterr().out


def test_a_ranking_of_single_trainings_ends_in_a_line(proof: ModuleType, tmp_path: Path) -> None:
    table = planted()
    table.file.architectures[7].loss.pop()
    with pytest.raises(proof.ConfigError, match="two of each"):
        proof.ranking(Path("x.csv"), tmp_path, table, 1, 1.0, None)
