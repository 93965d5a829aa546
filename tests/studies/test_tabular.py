"""Tables of trained architectures: how a search uses one, what is missing from it, and the script that makes ours."""

import csv
import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
import torch

import autovid
from autovid.cli import main
from autovid.costs import Params
from autovid.errors import ConfigError
from autovid.measure import Turns
from autovid.search import derive, parse_constraints, read_search
from autovid.space import load_architecture, load_space
from autovid.studies import TableEvaluator
from autovid.studies.table_file import LatencyConditions, Milliseconds, TableFile, TrainedArchitecture
from autovid.studies.tabular import TABLES, ordinal

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


def with_costs(band: Path, path: Path) -> Path:
    """The table of `band` with MACs and parameters that are not those of the networks, and with latencies."""
    file = msgspec.json.decode(band.read_bytes(), type=TableFile)
    conditions = LatencyConditions(
        hardware="Z80", threads=1, precision="fp32", repeats=9, versions={"torch": "2.99"}
    )  # fmt: skip
    costs = {"macs": 1_234_567, "params": 4321, "latency": Milliseconds(1.0, 1.25, 1.5)}
    rows = [msgspec.structs.replace(row, **costs) for row in file.architectures]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(file, architectures=rows, latency=conditions)))
    return path


def test_a_table_knows_results_and_costs(band: Path, tmp_path: Path) -> None:
    arch, expected = SPACE.architecture(ROWS[BAND][0]), loss(ROWS[BAND][0])
    known = autovid.load_benchmark(with_costs(band, tmp_path / "costs.json")).look_up(arch)
    assert known.accuracy == [1000 / 2400, 1001 / 2400]
    assert (known.correct, known.loss) == ([1000, 1001], [expected - 0.01, expected + 0.01])
    assert (known.macs, known.params, known.latency) == (1_234_567, 4321, Milliseconds(1.0, 1.25, 1.5))


def test_a_table_that_was_packed_without_costs_is_read_and_they_are_counted(band: Path) -> None:
    assert "macs" not in json.loads(band.read_bytes())["architectures"][0]
    arch = SPACE.architecture(ROWS[BAND][0])
    known, counted = autovid.load_benchmark(band).look_up(arch), autovid.count(autovid.build(arch))
    assert (known.macs, known.params, known.latency) == (counted.macs, counted.params, None)


def test_a_table_whose_machine_would_paint_the_screen_is_refused(band: Path, tmp_path: Path) -> None:
    path = with_costs(band, tmp_path / "costs.json")
    path.write_text(path.read_text().replace("Z80", "\\u001b[31mred"))
    with pytest.raises(ConfigError, match="control characters"):
        autovid.load_benchmark(path)


def test_the_rank_is_among_those_inside_the_constraints_and_equal_ones_share_it(band: Path) -> None:
    table, constraints = autovid.load_benchmark(band), parse_constraints(SPACE, {"flops": "0.00254:0.00258"})
    macs = SPACE.cost_table().macs(ROWS)
    inside = BAND & (macs >= 2_540_000) & (macs <= 2_580_000)
    for some, limits in ((BAND, ()), (inside, constraints)):
        losses = sorted(loss(row) for row in ROWS[some])
        for row in ROWS[inside]:
            expected = (losses.index(loss(row)) + 1, 1, int(some.sum()))  # the correct clips of all are equal
            assert table.rank(SPACE, SPACE.architecture(row), limits) == expected


def test_places_are_written_as_they_are_spoken() -> None:
    places = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 111: "111th"}
    assert {number: ordinal(number) for number in places} == places


def test_a_search_says_what_the_table_knows_and_writes_it_down(
    band: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no line of the box is broken
    words = ["--flops", RANGE, "--strategy", "random", "--set", "strategy.architectures=8"]
    assert search(with_costs(band, tmp_path / "costs.json"), tmp_path / "run", *words) == 0
    shown, found = capsys.readouterr().out, load_architecture(tmp_path / "run" / "architecture.yaml")
    losses = sorted(loss(row) for row in ROWS[BAND])
    own = loss(SPACE.index([found])[0])
    place = ordinal(losses.index(own) + 1)
    expected = {
        "by_table": "trained alone, by the table: 41.7 % of 2,400 clips correct (each seed: 41.7, 41.7), loss "
        f"{own:.3f} nats (each seed: {own - 0.01:.3f}, {own + 0.01:.3f}; chance: 3.178)",
        "costs_by_table": "1.235 million MACs, 4,321 parameters, 1.25 ms a clip (Z80, 1 thread, fp32, torch 2.99)",
        "rank_in_table": f"{place} of the table's 52 inside the range by loss, 1st by accuracy",
    }
    for key, sentence in expected.items():
        assert sentence in shown
        assert found.provenance[key] == sentence


def test_an_architecture_that_is_derived_again_has_what_the_table_of_the_package_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, ranges = "bench", {"flops": "0.00254:0.00258"}
    options = {"architectures": 3}
    run = autovid.search(space, ranges, score="table:bench", strategy="random", options=options, out=tmp_path / "run")
    kept = load_architecture(tmp_path / "run" / "architecture.yaml").provenance
    assert "inside the range by loss" in kept["rank_in_table"]
    assert {key: run.derive().provenance[key] for key in kept} == kept
    assert "inside" not in run.derive(no_range=True).provenance["rank_in_table"]
    assert not {"by_table", "costs_by_table", "rank_in_table"} & run.derive(scale={"frames": 32}).provenance.keys()
    monkeypatch.setattr("autovid.studies.tabular.digest", lambda path: "another")
    assert "by_table" not in run.derive().provenance  # the table has changed since


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
    macs, params = SPACE.cost_table().macs(ROWS), Params().table(SPACE).of(ROWS)
    costs = {tuple(SPACE.architecture(row).choices.items()): pair for row, *pair in zip(ROWS, macs, params)}
    for one in table.architectures:
        assert [one.macs, one.params] in ([None, None], costs[tuple(one.choices.items())])
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


SOME = {number: SPACE.architecture(ROWS[number]) for number in (7, 200)}


def test_latencies_are_written_at_the_end_of_one_run_with_their_machine_and_packed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "PACKED", tmp_path / "packed.json")
    conditions, times = script.measure_latency(SOME, repeats=3, warm_up=1)
    assert "latency of 2 networks" in capsys.readouterr().out
    assert conditions.hardware
    assert (conditions.repeats, conditions.precision, conditions.threads) == (3, "fp32", torch.get_num_threads())
    assert all(0 < one.q1 <= one.median <= one.q3 for one in times.values())
    script.write_latency(tmp_path / "latency.csv", SOME, conditions, times)
    assert (tmp_path / "latency.csv").read_text().splitlines()[1] == "index,hash,ms_median,ms_q1,ms_q3"
    for number in (7, 8):
        row = dict.fromkeys(script.COLUMNS, 0) | {"index": number, "loss": 0.5, "correct": 2000}
        script.add(tmp_path / "shard-0of1.csv", row)
    script.pack(SPACE)
    table = TableEvaluator.read(tmp_path / "packed.json")
    assert table.file.latency == conditions
    one, other = (table.file.architectures[at] for at in (0, 1))
    counted = autovid.count(autovid.build(SOME[7]))
    assert (one.macs, one.params, one.latency) == (counted.macs, counted.params, times[7])
    assert other.latency is None  # it was not measured


def test_latencies_of_another_space_are_refused(script: ModuleType, tmp_path: Path) -> None:
    conditions = LatencyConditions(hardware="Z80", threads=1, precision="fp32", repeats=1, versions={})
    times = {7: Milliseconds(1.0, 2.0, 3.0)}
    script.write_latency(tmp_path / "latency.csv", SOME, conditions, times)
    assert script.read_latency(tmp_path / "latency.csv", SOME) == (conditions, times)
    with pytest.raises(ConfigError, match="architecture 7 is another one now; measure them anew"):
        script.read_latency(tmp_path / "latency.csv", {7: SOME[200]})


def test_a_measurement_of_latency_that_is_broken_off_writes_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "every_architecture", lambda space: SOME)
    monkeypatch.setattr(sys, "argv", ["table.py", "--latency"])
    whole_round = Turns.one_round

    def one_round(turns: Turns) -> None:
        whole_round(turns)
        if len(turns.rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Turns, "one_round", one_round)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    assert not list(tmp_path.iterdir())


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
