"""A range of latency, alone and beside one of FLOPs, from a table that is made up: what blocks take is chance."""

import io
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import msgspec
import numpy as np
import pytest
import torch
from prior_draws import draw_from

from autovid.cli import _parser, main, search_by_training
from autovid.costs import Latency, LatencyFile, Macs, latency_table, read_latency_file
from autovid.costs.latency import distinct_blocks
from autovid.data import open_videos
from autovid.errors import ConfigError, CostRangeError, RunError
from autovid.kernels.compute import Compute
from autovid.report.runs import read_run
from autovid.report.search import curves
from autovid.run import Progress, RunDirectory
from autovid.search import Constraint, PartConstraint, derive, read_search, resolve_part_ranges, search, settings_for
from autovid.search.constraints import drawable, final_constraints, part_constraints, probability_inside
from autovid.search.feasibility import Feasibility, choose, decided
from autovid.search.monitor import search_curve
from autovid.search.objective import Beta, CostTerm, cost_shares, surrogate
from autovid.search.run import SearchResult, supernet_search
from autovid.search.strategies.parsec import Parsec, Prior
from autovid.search.strategy import Scores, make_strategy
from autovid.solver import CostRange, TableConstraint
from autovid.space import SearchSpace, load_architecture, load_space
from autovid.space.layout import sites
from autovid.space.space import site_choices
from autovid.studies import open_supernet
from autovid.studies.by_training import draw

SPACE = load_space("tiny")
FLOPS = CostRange(7_500_000, 8_000_000)


def made_up(space: SearchSpace, **changes: Any) -> LatencyFile:
    blocks = {key: 50_000 + zlib.crc32(key.encode()) % 200_000 for key in distinct_blocks([space])}
    facts: dict[str, Any] = {"space": space.name, "frames": 16, "crop": 32, "classes": 12, "batch": 1, "device": "cpu"}
    facts |= {"hardware": "made up", "precision": "fp32", "threads": 1, "versions": {}, "overhead": 7, "blocks": blocks}
    return LatencyFile(**{**facts, **changes})


@pytest.fixture(autouse=True)
def _quick_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which would take longer than all else together."""
    monkeypatch.setattr("autovid.search.run.search_curve", lambda *arguments: b"")


FILE = made_up(SPACE)
TABLE = latency_table(SPACE, FILE)


MACS = Constraint(Macs(), FLOPS)


def inside(*constraints: Constraint) -> list[PartConstraint]:
    """The ranges of the finished network."""
    return final_constraints(constraints, SPACE)


def typical(low: float = 0.4, high: float = 0.6, flops: bool = True) -> Constraint:
    """A range between two quantiles of what architectures of the FLOPs range take."""
    rows = SPACE.index(draw(SPACE, 200, 0, inside(MACS) if flops else []))
    ends = np.quantile(TABLE.total(rows), [low, high])
    return timed(int(ends[0]), int(ends[1]))


def timed(low: int, high: int, file: LatencyFile | None = None) -> Constraint:
    return Constraint(Latency(file or FILE), CostRange(low, high))


def within(latency: Constraint, archs: list[Any]) -> bool:
    assert latency.whole is not None
    return bool(latency.whole.holds(TABLE.total(SPACE.index(archs))).all())


def test_a_latency_is_the_sum_of_its_blocks_and_the_overhead() -> None:
    for arch in SPACE.sample(20, seed=4):
        placed = sites(arch.network, arch.reference)
        keys = [site.block.key(site, site.choice(arch.choices)) for site in placed]
        expected = 7 + sum(FILE.blocks[key] for key in keys if key)
        assert TABLE.total(SPACE.index([arch])).tolist() == [expected]
        assert latency_table(arch.as_space(), FILE).smallest()[0] == expected
    part = SPACE.part_space(0, {})
    assert latency_table(part, FILE).smallest()[0] < TABLE.smallest()[0]


def test_equal_blocks_share_an_entry_and_others_do_not() -> None:
    """Block 2 of a stage with as many channels as block 1 gives, but another stride or without SE, is another block."""
    keys = list(distinct_blocks([SPACE]))
    assert len(keys) == len(set(keys))
    bigger = load_space("two_stream")
    placed, candidates = sites(bigger.network, bigger.reference), bigger.candidates
    every = sum(int(np.prod([len(candidates[name]) for name in site.scope])) for site in placed)
    assert len(distinct_blocks([bigger])) < 0.6 * every


def test_a_table_of_another_input_or_space_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks \d+ blocks of space two_stream .*autovid latency-table"):
        latency_table(load_space("two_stream"), FILE)
    some = dict(list(FILE.blocks.items())[5:])
    with pytest.raises(ConfigError, match="lacks 5 blocks"):
        latency_table(SPACE, made_up(SPACE, blocks=some))
    for content in ("{}", "[", json.dumps({**msgspec.to_builtins(FILE), "format": 2})):
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(ConfigError, match=r"t\.json"):
            read_latency_file(tmp_path / "t.json")
    with pytest.raises(ConfigError, match="No such file"):
        read_latency_file(tmp_path / "no.json")


def test_random_architectures_lie_in_both_ranges() -> None:
    latency = typical()
    archs = draw(SPACE, 20, 0, inside(MACS, latency))
    assert len(set(archs)) == 20
    assert within(latency, archs)
    assert all(FLOPS.low <= arch.macs() <= FLOPS.high for arch in archs)
    alone = draw(SPACE, 20, 0, inside(latency))
    assert within(latency, alone)
    assert not all(FLOPS.low <= arch.macs() <= FLOPS.high for arch in alone)
    assert draw(SPACE, 5, 0, inside(MACS)) == SPACE.sample(5, 0, FLOPS)
    slow = timed(TABLE.largest()[0], TABLE.largest()[0] + 1)
    with pytest.raises(CostRangeError, match="the latency reaches up to"):
        draw(SPACE, 2, 0, inside(MACS, slow))


def test_the_term_moves_the_expected_latency_towards_the_range() -> None:
    part_space = SPACE.part_space(2, {})
    prior = Prior(part_space)
    table = latency_table(part_space, FILE)
    low = table.smallest()[0]
    ends, beta = CostRange(low, low + 1000), Beta("auto")

    def expected() -> float:
        return table.expected([np.exp(logp) for logp in prior.log_probs()])

    before, generator = expected(), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(prior.parameters(), 0.2)
    alike = torch.full((32,), 1 / 32, dtype=torch.float64)
    for _ in range(15):
        archs_KD = draw_from(prior, 32, generator)
        adam.zero_grad()
        term = CostTerm(cost_shares(table.total(archs_KD.numpy()), beta.aim(ends)), beta.value)
        surrogate(prior.log_prob(archs_KD), alike, [term], control=True).backward()
        adam.step()
        beta.update(expected(), ends)
    after = expected()
    assert after < before - 0.2 * (before - low)


def test_inside_its_ranges_a_search_weighs_latency_like_flops(tiny_videos: Path) -> None:
    """Draws that are all one architecture, which is too slow: the weights of a conditioned prior cancel."""
    changes: dict[str, Any] = {"in_range": True, "batch": 2, "crop": 16}
    settings = settings_for(SPACE, proxy=True, videos=12, **changes)
    constraints = resolve_part_ranges(SPACE, [MACS, typical()])
    task = supernet_search(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"), constraints)
    slowest, choices = latency_table(task.problem.space, FILE).largest()
    macs, latency = task.problem.constraints
    slow = replace(latency, range=CostRange(slowest // 4, slowest // 2))
    strategy = make_strategy("parsec", replace(task.problem, constraints=(macs, slow)), {"in_range": True})
    alike = np.full(3, -2.5)
    strategy.tell(np.repeat(choices[None], 3, axis=0), Scores(alike, alike, np.zeros(3, np.int64), 2, 2.5))
    assert isinstance(strategy, Parsec)
    largest = max(float(alpha.grad.abs().max()) for alpha in strategy.prior.alpha if alpha.grad is not None)
    assert largest < 1e-12  # float64 until the end: weights of 1/3 and beta/3, below 1, cancel to some 1e-16


def test_parts_may_use_what_they_use_on_average() -> None:
    _, latency = resolve_part_ranges(SPACE, [MACS, typical()])
    ranges = [latency.parts[part.name] for part in SPACE.parts]
    assert ranges[-1] == latency.whole
    assert 0 < ranges[0].low < ranges[1].low < ranges[2].low
    with pytest.raises(CostRangeError, match="--flops, --latency: no architecture has both"):
        resolve_part_ranges(SPACE, [MACS, timed(1, TABLE.smallest()[0] + 1)])


@pytest.fixture(scope="module")
def coarse() -> LatencyFile:
    """What comes after the sparse stream takes whole milliseconds, so that the stream itself must fit in between."""
    part = SPACE.part_space(0, {})
    early = {
        site.block.key(site, site.choice(choices))
        for site in sites(part.network, part.reference)
        for choices in site_choices(site, part.candidates)
    }
    return made_up(SPACE, blocks={k: t if k in early else 1_000_000 * (1 + t % 2) for k, t in FILE.blocks.items()})


def narrow(file: LatencyFile) -> Constraint:
    """Around what a typical architecture of the FLOPs range takes."""
    table = latency_table(SPACE, file)
    middle = int(np.sort(table.total(SPACE.index(draw(SPACE, 21, 0, inside(MACS)))))[10])
    return timed(middle - 20_000, middle + 20_000, file)


@pytest.mark.slow
@pytest.mark.parametrize("flops", [True, False])
def test_a_part_chooses_what_can_still_come_into_all_ranges(coarse: LatencyFile, flops: bool) -> None:
    latency = narrow(coarse)
    constraints = resolve_part_ranges(SPACE, [MACS, latency] if flops else [latency])
    feasibility = Feasibility(SPACE, constraints)
    chosen: dict[str, Any] = {}
    rng = np.random.default_rng(2)
    for number in range(len(SPACE.parts)):
        part_space = SPACE.part_space(number, chosen)
        log_probs = [np.log(rng.dirichlet(np.ones(size))) for size in part_space.sizes]
        arch = choose(feasibility, number, part_space, log_probs)
        for constraint in part_constraints(constraints, number, SPACE, part_space):
            assert constraint.inside(part_space.index([arch])).all(), (number, str(constraint))
        chosen = decided(SPACE, number, arch)
    (last,) = SPACE.fix(chosen).sample(1)
    assert all(constraint.inside(SPACE.index([last])).all() for constraint in inside(*constraints))


@pytest.mark.thorough
def test_parts_stay_as_they_were_chosen_where_later_ones_fit_only_some_of_them(
    coarse: LatencyFile, tiny_videos: Path, tmp_path: Path
) -> None:
    latency = narrow(coarse)
    arch = searched(tmp_path / "run", tiny_videos, MACS, latency).architecture
    directory = RunDirectory.open(tmp_path / "run")
    sparse, dense = (directory.load(step).state.info["chosen"] for step in (2, 3))  # of the parts before
    assert {name.split(".")[0] for name in sparse} == {"sparse"}
    assert sparse.items() < dense.items()
    left = SPACE.fix(dense)
    rows = left.index(left.sample(200))
    assert np.all([limit.inside(rows) for limit in final_constraints([MACS, latency], left)], 0).any()
    assert latency.whole is not None
    assert latency.whole.low <= latency.cost.of(arch) <= latency.whole.high


def test_how_much_of_a_prior_lies_in_both_ranges_is_that_of_the_list() -> None:
    part_space = SPACE.part_space(0, {})
    constraints = [
        TableConstraint(part_space.cost_table(), CostRange(2_800_000, 3_400_000)),
        quantiles(part_space, 0.2, 0.7),
    ]
    rng = np.random.default_rng(0)
    log_probs = [np.log(rng.dirichlet(np.full(size, 5.0))) for size in part_space.sizes]
    every = np.indices(part_space.sizes).reshape(len(part_space.sizes), -1).T
    inside_each = [limit.inside(every) for limit in constraints]
    chance = np.exp(np.sum([logp[column] for logp, column in zip(log_probs, every.T)], axis=0))
    exact = [float(chance[one].sum()) for one in (inside_each[0] & inside_each[1], inside_each[1])]
    assert 0.02 < exact[0] < 0.8 * exact[1]
    # two ranges are counted in draws, one in bins, which decides, on any machine; rounding in float64 is far below
    assert probability_inside(constraints, log_probs, 2048) == pytest.approx(exact[0], abs=0.025)
    assert probability_inside(constraints[1:], log_probs, 16384) == pytest.approx(exact[1], abs=1e-6)


def quantiles(space: SearchSpace, low: float, high: float) -> TableConstraint:
    """Between two quantiles of what uniform draws take."""
    table = latency_table(space, FILE)
    ends = np.quantile(table.total(space.index(space.sample(400, seed=1))), [low, high])
    return TableConstraint(table, CostRange(int(ends[0]), int(ends[1])))


@pytest.mark.parametrize("flops", [True, False])
def test_in_range_draws_from_the_range_of_latency_too(flops: bool, tiny_videos: Path) -> None:
    options: dict[str, Any] = {
        "steps": 2,
        "samples": 6,
        "alpha_every": 1,
        "batch": 4,
        "crop": 16,
        "jitter": (16, 20),
        "in_range": True,
    }
    settings = settings_for(SPACE, proxy=True, videos=12, **options)
    constraints = resolve_part_ranges(SPACE, [MACS, typical()] if flops else [typical(flops=False)])
    task = supernet_search(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"), constraints)
    assert len(drawable(task.problem.constraints)) == len(task.problem.constraints) == flops + 1
    for step in (0, 1):
        rows = task.strategy.draw(step, None, np.random.default_rng(step))
        assert all(constraint.inside(rows).all() for constraint in task.problem.constraints)
    with pytest.raises(ConfigError, match="--flops MIN:MAX .or another"):
        settings_for(SPACE, proxy=True, videos=12, constrained=False, **options)


def test_a_part_that_ends_outside_its_latency_says_so(tiny_videos: Path) -> None:
    settings = settings_for(
        SPACE,
        proxy=True,
        videos=12,
        constrained=False,  # draws from anywhere
        steps=2,
        samples=2,
        alpha_every=1,
        open_prior="quarter",
        batch=4,
        crop=16,
        jitter=(16, 20),
    )
    constraints = resolve_part_ranges(SPACE, [typical(flops=False)])
    task = supernet_search(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"), constraints)
    low, high = (end / 1e6 for end in task.problem.constraints[0].range)
    for expected, lines in ((low, 0), (high, 0), (high * 1.01, 1), (low * 0.99, 1)):
        task.monitor.on_step_end(task, 1, {"expected_latency_ms": expected})
        said = [line for line in task.notices() if "ends outside its range" in line]
        assert len(said) == lines
        assert all(f"{expected:.4g} ms on average" in line for line in said)


def searched(out: Path, videos: Path, *constraints: Constraint, **options: Any) -> SearchResult:
    small: dict[str, Any] = {
        "steps": options.pop("steps", 1),
        "samples": 2,
        "alpha_every": 1,
        "batch": 4,
        "crop": 16,
        "jitter": (16, 20),
        "seed": 3,
        "open_prior": "quarter",
    }
    settings = settings_for(SPACE, proxy=True, videos=12, **small)
    options = {"device": "cpu", "precision": "fp32", "checkpoint_every": 1, **options}
    resolved = resolve_part_ranges(SPACE, constraints)
    return search(SPACE, open_videos(videos), settings, out, constraints=resolved, **options)


@pytest.mark.slow
def test_a_search_ends_in_both_ranges_and_derives_others(tiny_videos: Path, tmp_path: Path) -> None:
    latency = typical()
    result = searched(tmp_path / "run", tiny_videos, MACS, latency)
    arch = result.architecture
    assert within(latency, [arch])
    assert FLOPS.low <= arch.macs() <= FLOPS.high
    # written with four decimals
    assert arch.cost["latency_ms"] == pytest.approx(TABLE.total(SPACE.index([arch]))[0] / 1e6, abs=1e-4)
    assert "made up" in str(arch.provenance["conventions"])
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(record["expected_latency_ms"] > 0 for record in records)
    assert all(record["latency_beta"] > 0 for record in records if not record["warmup"])
    again = read_search(tmp_path / "run")
    assert again.constraints == resolve_part_ranges(SPACE, [MACS, latency])
    shown(tmp_path / "run", latency)
    assert derive(again) == arch
    other = typical(0.8, 0.9)
    assert within(other, [derive(again, [MACS, other])])
    smallest = TABLE.smallest()[0]
    alone = derive(again, [timed(smallest, smallest)])
    assert "GFLOPs" not in str(alone.provenance["range"])
    file = tmp_path / "t.json"
    file.write_bytes(msgspec.json.encode(FILE))
    low, high = (end / 1e6 for end in other.whole or ())
    assert main(["derive", str(tmp_path / "run"), "--latency", f"{low}:{high}"]) == 0  # by the table that it has kept
    (written,) = (tmp_path / "run").glob("architecture-latency*.yaml")
    assert "latency_ms" in written.read_text()


def shown(run: Path, latency: Constraint) -> None:
    """What others make of a search with a range of latency."""
    result, arch = read_search(run), load_architecture(run / "architecture.yaml")
    height = len(matplotlib.image.imread(io.BytesIO(search_curve(run / "metrics.jsonl", result, arch)), format="png"))
    assert height > 800  # a row more
    page = str(curves([read_run(run)]))
    assert f"the result: {arch.cost['latency_ms']:.4g} ms" in page
    assert page.index("Expected latency, ms") < page.index("P(in all ranges)")
    supernet = open_supernet(run, "sparse")
    assert [c.range for c in supernet.constraints] == [c.parts["sparse"] for c in result.constraints]
    words = ["random-baseline", "--searched", str(run), "--data", "synthetic"]
    job = search_by_training._flags(_parser("random-baseline").parse_args(words), "random")
    macs, other = job.constraints
    assert (other.cost, other.whole) == (latency.cost, latency.whole)
    assert macs.whole is not None
    assert macs.whole.low < arch.macs() < macs.whole.high


@pytest.mark.thorough
def test_a_stopped_search_goes_on_to_the_same_end_and_no_other(tiny_videos: Path, tmp_path: Path) -> None:
    class Stop(Progress):
        def update(self, done: int, status: str, metrics: dict[str, float]) -> None:
            assert " ms" in status
            if done == 4:  # saved is step 3, the first of the two of a part
                raise KeyboardInterrupt

    latency = typical(flops=False)
    whole = searched(tmp_path / "whole", tiny_videos, latency, steps=2)
    with pytest.raises(Exception, match="stopped at once"):
        searched(tmp_path / "halves", tiny_videos, latency, steps=2, progress=Stop())
    other = replace(latency, cost=Latency(made_up(SPACE, overhead=8)))
    with pytest.raises(RunError, match=r"latency\.table"):
        searched(tmp_path / "halves", tiny_videos, other, steps=2, resume=True)
    halves = searched(tmp_path / "halves", tiny_videos, latency, steps=2, resume=True)
    assert halves.architecture == whole.architecture
    assert within(latency, [whole.architecture])
    # To the bit: the same code with as many threads, and random numbers that are functions of the step.
    for name, logp in read_search(tmp_path / "whole").learned.items():
        assert np.array_equal(logp, read_search(tmp_path / "halves").learned[name])
    betas = [
        [json.loads(line).get("latency_beta") for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "halves")
    ]
    assert betas[0] == betas[1]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--latency", "1:2"], 2, "--latency-table"),
        (["--latency-table", "T"], 2, "--latency MIN:MAX"),
        (["--latency", "2:1", "--latency-table", "T"], 2, "the latency range '2:1' is reversed"),
        (["--latency", "1:2", "--latency-table", "no.json"], 2, "no.json"),
        (["--latency", "1e6:2e6", "--latency-table", "T"], 3, "ms"),
        (["--latency", "0:0.001", "--latency-table", "T", "--flops", "0.0075:0.008"], 3, "ms"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_made(
    words: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    tiny_videos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(msgspec.json.encode(FILE))
    arguments = [str(file) if word == "T" else word for word in words]
    common = ["--space", "tiny", "--data", str(tiny_videos), "-o", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr("autovid.cluster.run_workers", None)  # nothing is started on Ray
    for command in ("search", "search --workers 2", "random-baseline"):
        more = ["--flops", "0.0075:0.008"] if command == "random-baseline" and "--flops" not in words else []
        assert main([*command.split(), *common, *arguments, *more]) == code
        error = capsys.readouterr().err.strip()
        assert says in error
        assert "\n" not in error
        assert not (tmp_path / "out").exists()
