"""Tables of trained architectures: how a search uses one, what is missing from it, and the script that makes ours."""

import csv
import importlib
import math
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
import torch

import autovid
from autovid.cli import main
from autovid.errors import ConfigError
from autovid.search import derive, read_search
from autovid.space import load_space
from autovid.studies import TableEvaluator
from autovid.studies.tabular import TABLES, TableFile, TrainedArchitecture

SPACE = load_space("bench")
ROWS = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.sizes), axis=1)
BAND = abs(SPACE.cost_table().macs(ROWS) - 2_560_000) <= 0.03 * 2_560_000
RANGE = "0.0024832:0.0026368"


def loss(row: np.ndarray) -> float:
    """A sum over decisions: candidate 1 is better than 0, by more for the first decisions."""
    return 2.0 - float(row @ (0.5 ** np.arange(1, row.size + 1)))


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all architectures near one cost, with two seeds each, and of no others."""
    architectures = [
        TrainedArchitecture(dict(SPACE.architecture(row).choices), [loss(row) - 0.01, loss(row) + 0.01], [1000, 1001])
        for row in ROWS[BAND]
    ]
    table = TableFile(
        space="bench", clips=2400, chance=math.log(24), architectures=architectures,
        planned=576, covered=(2_483_200, 2_636_800),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("table") / "band.json"
    path.write_bytes(msgspec.json.encode(table))
    return path


def search(table: Path, out: Path, *words: str) -> int:
    return main(["search", "--space", "bench", "--score", f"table:{table}", "-o", str(out), *words])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "evolution", "parsec"])
def test_every_strategy_finds_a_good_architecture_of_an_unfinished_table(
    strategy: str, band: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(band, tmp_path / "run", "--flops", RANGE, "--strategy", strategy, "--steps", "30") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"52 of 256 architectures, 104 of 576 trainings; not complete, but all of --flops {RANGE} are there" in shown
    derived = derive(read_search(tmp_path / "run"))
    losses = [loss(row) for row in ROWS[BAND]]
    assert np.mean(TableEvaluator.read(band).look_up(derived).loss) < np.median(losses)


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        ([], "lacks 204 of 256 architectures of the space bench: give a range (52 of 256 architectures"),
        (["--flops", "0.0023:0.0026368"], "architectures of the ranges that are asked for (52 of 256 architectures"),
    ],
)
def test_architectures_that_are_missing_are_an_error_before_anything_is_made(
    words: list[str], lacks: str, band: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(band, tmp_path / "run", *words, "--strategy", "random") == 2
    error = capsys.readouterr().err
    assert lacks in error
    assert f"all of --flops {RANGE} are there" in error
    assert not (tmp_path / "run").exists()


def test_an_architecture_that_is_missing_is_an_error_that_says_how_much_is_there(band: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not in the table \(52 of 256 architectures"):
        TableEvaluator.read(band).look_up(SPACE.architecture(ROWS[~BAND][0]))


def test_scores_are_means_over_seeds_with_their_standard_error(band: Path) -> None:
    scores = autovid.load_benchmark(band).score(SPACE, ROWS[BAND][:2])
    # The mean of two numbers is exact to rounding; 0.01 sqrt(2) / sqrt(2) is the error of the mean of two.
    assert np.allclose(scores.log_likelihood_K, [-loss(row) for row in ROWS[BAND][:2]], rtol=1e-12)
    assert np.allclose(scores.standard_error_K, 0.01, rtol=1e-9)
    assert (scores.clips, scores.correct_K.tolist()) == (2400, [1000, 1000])


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "no benchmark is called nothing; give bench"), ("no.json", "No such file")]
)
def test_a_benchmark_that_does_not_exist(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        autovid.load_benchmark(name)


def test_a_table_of_another_space(band: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--space", "tiny", "--score", f"table:{band}", "-o", str(tmp_path / "run")]
    assert main(words) == 2
    assert "architectures of space bench, not of tiny" in capsys.readouterr().err


def test_the_benchmark_of_the_package_is_small_and_of_its_space() -> None:
    assert (TABLES / "bench.json").stat().st_size < 5_000_000
    table = autovid.load_benchmark("bench").file
    known = {tuple(SPACE.architecture(row).choices.items()) for row in ROWS}
    assert {tuple(one.choices.items()) for one in table.architectures} <= known
    assert all(0 < loss < table.chance for one in table.architectures for loss in one.loss)
    assert all(table.clips / 24 < correct <= table.clips for one in table.architectures for correct in one.correct)
    complete = sum(len(one.loss) for one in table.architectures) == 576
    assert table.planned == (0 if complete else 576)


# -- the script that makes it


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    return importlib.import_module("table")


def test_the_rows_of_all_shards_become_a_table(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "PACKED", tmp_path / "tables" / "packed.json")
    for shard, seed in enumerate((1, 0)):
        row = dict.fromkeys(script.COLUMNS, 0) | {"index": 7, "seed": seed, "loss": 0.5 + seed, "correct": 2000 + seed}
        script.add(tmp_path / f"shard-{shard}of2.csv", row)
    script.pack(SPACE)
    assert "1 of 256 architectures, 2 of 576 trainings; not complete" in capsys.readouterr().out
    kept = TableEvaluator.read(tmp_path / "tables" / "packed.json").look_up(SPACE.architecture(ROWS[7]))
    assert (kept.loss, kept.correct) == ([0.5, 1.5], [2000, 2001])  # by seed
    with (tmp_path / "shard-0of2.csv").open() as lines:
        assert [row["index"] for row in csv.DictReader(lines)] == ["7"]


def test_the_range_that_is_covered_has_no_architecture_missing(script: ModuleType) -> None:
    macs = np.array([10, 20, 30, 30, 40, 50, 60])
    assert script.covered(macs, {1, 2, 3, 4, 6}) == (20, 40)
    assert script.covered(macs, {1, 2, 4, 5, 6}) == (40, 60)  # one of the two with 30 is missing
    assert script.covered(macs, set(range(7))) == (10, 60)
    assert script.covered(macs, {2}) == (0, 0)
    assert script.covered(macs, set()) == (0, 0)


def test_architectures_near_one_cost_come_first_with_both_seeds(script: ModuleType) -> None:
    macs = SPACE.cost_table().macs(ROWS)
    jobs = script.jobs(macs, 2)
    assert len(jobs) == len(set(jobs)) == 2 * 256 + 64
    assert {number for number, _ in jobs[:104]} == set(np.flatnonzero(BAND))
    assert [seed for _, seed in jobs[:104]] == [0, 1] * 52
    distances = [abs(macs[number] - 2_560_000) for number, _ in jobs[:104]]
    assert distances == sorted(distances)  # so that what is done is a range of costs
    assert set(jobs[104:156]) == {(number, 2) for number in np.flatnonzero(BAND)}
    assert {seed for _, seed in jobs[-12:]} == {2}


def test_the_figures_of_rows_whose_seeds_agree_in_order(script: ModuleType) -> None:
    rows = [
        dict.fromkeys(script.COLUMNS, "0")
        | {"index": str(i), "seed": str(seed), "accuracy": str(0.5 + 0.05 * i + 0.02 * seed)}
        | {"macs": str(-i), "synaptic_flow": str(i)}
        for seed in (1, 0)
        for i in range(8)
    ]
    text = "\n".join(importlib.import_module("table_figures").figures([*rows, rows[0] | {"index": "9"}]))
    assert "8 architectures with two seeds" in text  # the ninth has one
    assert "accuracy, Spearman 1.00" in text
    assert "quartiles 59.8 and 77.2 %, range between them 17.5 points" in text
    assert "mean s.d. 1.4 points" in text  # 2 / sqrt(2)
    assert "MACs alone: Kendall -1.00" in text
    assert "synaptic flow alone: Kendall 1.00" in text


def test_quiet_clips_come_first_and_all_of_them_later(script: ModuleType) -> None:
    recipe = script.TableRecipe(steps=100, batch=8, easy=0.4, curriculum=0.5)
    drawn = [clips.numpy() for clips in script.batches(torch.arange(1000), recipe, np.random.default_rng(0))]
    assert len(drawn) == 100
    assert drawn[0].max() < 400
    assert max(clips.max() for clips in drawn[:25]) < 700  # half of the way from 0.4 to 1
    assert np.concatenate(drawn[50:]).max() > 950
    assert all(len(set(clips)) == 8 for clips in drawn)


def test_muon_moves_every_direction_alike_and_keeps_norms(script: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.zeros(shape, requires_grad=True) for shape in ((7, 5), (5, 7, 1, 1, 1), (5, 1, 3, 3, 3))]
    for weight in weights:
        gradient = torch.randn(weight.shape, generator=generator)
        gradient[0] = 0
        gradient[:, 0] *= weight.shape[1] == 1
        weight.grad = gradient
        weight.data.flatten(1)[0, 0] = 2.0  # where the gradient is 0, so that moving does not change the norm much
    script.Muon(weights).step(0.01)
    for weight in weights:  # of fp32, which rounds by 6e-8 a term: norms are sums of 135 squares at most, 8e-6 in all
        # The norm is restored by one division. Its square root halves what the sum has lost.
        assert torch.allclose(weight.norm(), torch.tensor(2.0), rtol=1e-5)
        moved = weight.detach().flatten(1)[1:]
        sizes = torch.linalg.svdvals(moved[:, 1:]) if weight.shape[1] > 1 else torch.linalg.vector_norm(moved, dim=1)
        still = 0 if weight.shape[1] > 1 else 1  # kernels without a gradient
        moves = sizes.square().mean().sqrt() * (len(sizes) + still) ** 0.5
        assert torch.allclose(moves, torch.tensor(0.02), rtol=1e-3)  # lr times the norm, but for its restoration
        assert sizes.max() < 2 * sizes.min()  # five rounds bring singular values to between 0.7 and 1.2
        assert weight.grad is None
