"""experiments/proof.py: its statistics, and what it says of searches with planted answers.

Probabilities are counts over powers of 17, worked out in float64 by some hundred operations of 1e-16 each: approx's
1e-6 is far above.
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
    return importlib.import_module("proof")


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


def test_places_and_how_likely_they_are_by_chance(proof: ModuleType) -> None:
    loss = np.array([0.3, 0.1, 0.2, 0.3, 0.4])
    assert proof.place(1, [0, 2, 3, 4], loss) == 1
    assert proof.place(4, [0, 1, 2, 3], loss) == 5
    assert proof.place(0, [1, 2, 3, 4], loss) == 3.5
    assert proof.chance_of([1], 17) == pytest.approx(1 / 17)
    assert proof.chance_of([17, 17], 17) == pytest.approx(1)
    assert proof.chance_of([1, 2], 17) == pytest.approx(3 / 17**2)  # (1, 1), (1, 2), (2, 1)
    assert proof.chance_of([2] * 6, 17) == pytest.approx(math.comb(12, 6) / 17**6)


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
    assert results["choice"]["p"] == pytest.approx(17.0**-4)
    assert results["ranking"]["architectures"] == 52
    assert results["ranking"]["tau"] == [1.0, 1.0]
    assert "seed against seed 1.00" in capsys.readouterr().out
    points = {(one["name"], one["trainings"]): one["percentile"] for one in results["curves"]["points"]}
    assert points["proxy", 1.5] == 100  # each of its searches finds the first of the band
    assert points["random", 1] < points["random", 8] < points["random", 32] > 90
    assert points["evolution", 1] < points["evolution", 32] > 90


def test_a_percentile_is_the_mean_of_those_by_each_seed(proof: ModuleType) -> None:
    trained = proof.Trained(planted(), *proof.BAND)
    trained.loss = [np.array(pair) for pair in [(0.3, 0.1), (0.2, 0.2), (0.1, 0.3)]]
    assert [trained.percentile(number, [0]) for number in range(3)] == [0, 50, 100]
    assert [trained.percentile(number, [0, 1]) for number in range(3)] == [50, 50, 50]


def test_a_table_that_lacks_architectures_of_the_range_ends_it_in_a_line(
    proof: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proof.autovid, "load_benchmark", lambda name: planted(2_500_000, 2_600_000))
    monkeypatch.setattr("sys.argv", ["proof.py", "x.csv", "-o", str(tmp_path), "--part", "choice"])
    assert proof.main() == 2
    assert "is not in the table" in capsys.readouterr().out
