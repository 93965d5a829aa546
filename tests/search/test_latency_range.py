"""A range of latency, alone and beside one of FLOPs, from a table that is made up: what blocks take is chance."""

import io
import json
import zlib
from pathlib import Path
from typing import Any

import matplotlib.image
import msgspec
import numpy as np
import pytest
import torch

from autovid.cli import _parser, main, random_baseline
from autovid.costs import LatencyFile, LatencyRange, latency_table, read_latency_file
from autovid.costs.latency import distinct_blocks
from autovid.data import open_videos
from autovid.errors import ConfigError, CostRangeError, RunError
from autovid.kernels.compute import Compute
from autovid.report.runs import read_run
from autovid.report.search import curves
from autovid.run import Progress
from autovid.search import derive, read_search, search, settings_for
from autovid.search.feasibility import decided
from autovid.search.latency import LatencyTerm, choose_timely, latencies_of, latency_of_parts, probability_within
from autovid.search.part_targets import Target
from autovid.search.picture import search_curve
from autovid.search.prior import Prior
from autovid.search.run import Found
from autovid.search.task import SearchTask
from autovid.solver import CostRange
from autovid.solver.several_constraints import Limit
from autovid.space import SearchSpace, load_architecture, load_space
from autovid.space.layout import sites
from autovid.space.site_table import site_choices
from autovid.studies import open_supernet
from autovid.studies.random_baseline import draw

SPACE = load_space("tiny")
FLOPS = CostRange(7_500_000, 8_000_000)


def made_up(space: SearchSpace, **changes: Any) -> LatencyFile:
    blocks = {key: 50_000 + zlib.crc32(key.encode()) % 200_000 for key in distinct_blocks([space])}
    given: dict[str, Any] = {"space": space.name, "frames": 16, "crop": 32, "classes": 12, "batch": 1, "device": "cpu"}
    given |= {"hardware": "made up", "precision": "fp32", "threads": 1, "versions": {}, "overhead": 7, "blocks": blocks}
    return LatencyFile(**{**given, **changes})


@pytest.fixture(autouse=True)
def _quick_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which would take longer than all else together."""
    monkeypatch.setattr("autovid.search.run.IMAGE_EVERY", 0)
    monkeypatch.setattr("autovid.search.run.search_curve", lambda *given: b"")


FILE = made_up(SPACE)
TABLE = latency_table(SPACE, FILE)


def typical(low: float = 0.4, high: float = 0.6, flops: CostRange | None = FLOPS) -> LatencyRange:
    """A range between two quantiles of what architectures of the FLOPs range take."""
    rows = SPACE.index(draw(SPACE, 200, 0, flops))
    ends = np.quantile(TABLE.total(rows), [low, high])
    return LatencyRange(FILE, CostRange(int(ends[0]), int(ends[1])))


def within(latency: LatencyRange, archs: list[Any]) -> bool:
    costs = TABLE.total(SPACE.index(archs))
    return bool(((costs >= latency.range.low) & (costs <= latency.range.high)).all())


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
    archs = draw(SPACE, 20, 0, FLOPS, latency)
    assert len(set(archs)) == 20
    assert within(latency, archs)
    assert all(FLOPS.low <= arch.macs() <= FLOPS.high for arch in archs)
    alone = draw(SPACE, 20, 0, None, latency)
    assert within(latency, alone)
    assert not all(FLOPS.low <= arch.macs() <= FLOPS.high for arch in alone)
    assert draw(SPACE, 5, 0, FLOPS) == SPACE.sample(5, 0, FLOPS)
    slow = LatencyRange(FILE, CostRange(TABLE.largest()[0], TABLE.largest()[0] + 1))
    with pytest.raises(CostRangeError, match="the latency reaches up to"):
        draw(SPACE, 2, 0, FLOPS, slow)


def test_the_term_moves_the_expected_latency_towards_the_range() -> None:
    there = SPACE.part_space(2, {})
    prior = Prior(there)
    table = latency_table(there, FILE)
    low = table.smallest()[0]
    term = LatencyTerm(there, LatencyRange(FILE, CostRange(low, low)), CostRange(low, low + 1000), "auto")
    before, generator = term.expected(prior.log_probs()), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(prior.parameters(), 0.2)
    for _ in range(15):
        archs_KD = prior.sample(32, generator)
        adam.zero_grad()
        term.loss(prior.log_prob(archs_KD), archs_KD).backward()
        adam.step()
        term.update(prior.log_probs())
    after = term.expected(prior.log_probs())
    assert after < before - 0.2 * (before - low)


def test_inside_its_ranges_a_search_weighs_latency_like_flops(tiny_videos: Path) -> None:
    """Draws that are all one architecture, which is too slow: the weights of a conditioned prior cancel."""
    changes = {"flops": ("0.0075:0.008",), "in_range": True, "batch": 2, "crop": 16}
    settings = settings_for(SPACE, proxy=True, videos=12, **changes)
    task = SearchTask(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"))
    slowest, choices = latency_table(task.there, FILE).largest()
    wanted = CostRange(slowest // 4, slowest // 2)
    task.timed = LatencyTerm(task.there, LatencyRange(FILE, wanted), wanted, "auto")
    batch = torch.zeros(2, 3, 16, 16, 16), torch.tensor([0, 1])
    task._learn_prior(batch, torch.from_numpy(np.repeat(choices[None], 3, axis=0)))
    largest = max(float(alpha.grad.abs().max()) for alpha in task.prior.alpha if alpha.grad is not None)
    assert largest < 1e-12  # float64 until the end: weights of 1/3 and beta/3, below 1, cancel to some 1e-16


def test_parts_may_use_what_they_use_on_average() -> None:
    latency = typical()
    ranges = latency_of_parts(SPACE, Target(FLOPS), latency)
    assert ranges[-1] == latency.range
    assert 0 < ranges[0].low < ranges[1].low < ranges[2].low
    with pytest.raises(CostRangeError, match="--latency: no architecture has both"):
        latency_of_parts(SPACE, Target(FLOPS), LatencyRange(FILE, CostRange(1, TABLE.smallest()[0] + 1)))


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


def narrow(file: LatencyFile) -> LatencyRange:
    """Around what a typical architecture of the FLOPs range takes."""
    table = latency_table(SPACE, file)
    middle = int(np.sort(table.total(SPACE.index(draw(SPACE, 21, 0, FLOPS))))[10])
    return LatencyRange(file, CostRange(middle - 20_000, middle + 20_000))


@pytest.mark.parametrize("flops", [FLOPS, None])
def test_what_a_part_takes_can_still_come_into_both_ranges(coarse: LatencyFile, flops: CostRange | None) -> None:
    latency, target, table = narrow(coarse), Target(flops), latency_table(SPACE, coarse)
    ranges = latency_of_parts(SPACE, target, latency)
    space, rng = SPACE, np.random.default_rng(2)
    for number in range(len(SPACE.parts)):
        there = SPACE.part_space(number, {d.name: d.candidates[0] for d in space.decisions if len(d.candidates) == 1})
        log_probs = [np.log(rng.dirichlet(np.ones(size))) for size in there.sizes]
        own, wanted = [Limit(latency.of(there).table, ranges[number])], target.of(SPACE, number)
        own = [Limit(there.cost_table(), wanted), *own] if wanted else own
        arch = choose_timely(space, number, there, log_probs, target, latency, own)
        assert arch is not None
        if wanted:
            assert wanted.low <= there.cost_table().macs([arch])[0] <= wanted.high
        space = space.fix(decided(SPACE, number, arch))
    (last,) = space.sample(1)
    assert latency.range.low <= table.total(SPACE.index([last]))[0] <= latency.range.high
    assert flops is None or flops.low <= last.macs() <= flops.high


def test_parts_stay_as_they_were_chosen_where_later_ones_fit_only_some_of_them(
    coarse: LatencyFile, tiny_videos: Path, tmp_path: Path
) -> None:
    latency = narrow(coarse)
    arch = searched(tmp_path / "run", tiny_videos, latency, ("0.0075:0.008",)).architecture
    chosen = read_search(tmp_path / "run").chosen
    assert any(name.startswith("sparse.") for name in chosen)
    assert {name: arch.choices[name] for name in chosen} == chosen
    assert latency.range.low <= latency.of(arch.as_space()).table.smallest()[0] <= latency.range.high


def test_how_much_of_a_prior_lies_in_both_ranges_is_that_of_the_list() -> None:
    there = SPACE.part_space(0, {})
    limits = [Limit(there.cost_table(), CostRange(2_800_000, 3_400_000)), latency_limit(there, 0.2, 0.7)]
    rng = np.random.default_rng(0)
    log_probs = [np.log(rng.dirichlet(np.full(size, 5.0))) for size in there.sizes]
    every = np.indices(there.sizes).reshape(len(there.sizes), -1).T
    inside = [(c >= limit.range.low) & (c <= limit.range.high) for limit in limits for c in [limit.table.total(every)]]
    chance = np.exp(np.sum([logp[column] for logp, column in zip(log_probs, every.T)], axis=0))
    exact = [float(chance[one].sum()) for one in (inside[0] & inside[1], inside[1])]
    assert 0.02 < exact[0] < 0.8 * exact[1]
    # two limits are counted in bins, which decides, on any machine; rounding in float64 is far below
    assert probability_within(limits, log_probs, 2048) == pytest.approx(exact[0], abs=0.025)
    assert probability_within(limits[1:], log_probs, 16384) == pytest.approx(exact[1], abs=1e-6)


def latency_limit(there: SearchSpace, low: float, high: float) -> Limit:
    """Between two quantiles of what uniform draws take."""
    table = latency_table(there, FILE)
    ends = np.quantile(table.total(there.index(there.sample(400, seed=1))), [low, high])
    return Limit(table, CostRange(int(ends[0]), int(ends[1])))


@pytest.mark.parametrize("flops", [("0.0075:0.008",), ()])
def test_in_range_draws_from_the_range_of_latency_too(flops: tuple[str, ...], tiny_videos: Path) -> None:
    given: dict[str, Any] = {"steps": 2, "samples": 6, "batch": 4, "crop": 16, "jitter": (16, 20), "in_range": True}
    settings = settings_for(SPACE, proxy=True, videos=12, flops=flops, latency=True, **given)
    latency = typical(flops=FLOPS if flops else None)
    task = SearchTask(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"), latency=latency)
    assert len(task.limits) == len(flops) + 1
    for warm in (True, False):
        rows = task._draw(0, warm).numpy()
        for limit in task.limits:
            costs = limit.table.total(rows)
            assert ((costs >= limit.range.low) & (costs <= limit.range.high)).all()
    if not flops:
        with pytest.raises(ConfigError, match="--flops MIN:MAX .or --latency"):
            settings_for(SPACE, proxy=True, videos=12, flops=flops, **given)


def test_a_part_that_ends_outside_its_latency_says_so(tiny_videos: Path) -> None:
    settings = settings_for(SPACE, proxy=True, videos=12, steps=2, samples=2, batch=4, crop=16, jitter=(16, 20))
    latency = typical(flops=None)
    task = SearchTask(SPACE, open_videos(tiny_videos), settings, Compute("cpu", "fp32"), latency=latency)
    low, high = (end / 1e6 for end in task.latencies[0])
    for expected, lines in ((low, 0), (high, 0), (high * 1.01, 1), (low * 0.99, 1)):
        task.watch.see(task, 1, {"expected_latency_ms": expected})
        said = [line for line in task.notices() if "ends outside its range" in line]
        assert len(said) == lines
        assert all(f"{expected:.4g} ms expected" in line for line in said)


def searched(out: Path, videos: Path, latency: LatencyRange, flops: tuple[str, ...], **options: Any) -> Found:
    small: dict[str, Any] = {
        "steps": options.pop("steps", 1),
        "samples": 2,
        "batch": 4,
        "crop": 16,
        "jitter": (16, 20),
        "seed": 3,
    }
    settings = settings_for(SPACE, proxy=True, videos=12, flops=flops, **small)
    options = {"device": "cpu", "precision": "fp32", "checkpoint_every": 1, **options}
    return search(SPACE, open_videos(videos), settings, out, latency=latency, **options)


def test_a_search_ends_in_both_ranges_and_derives_others(tiny_videos: Path, tmp_path: Path) -> None:
    latency = typical()
    found = searched(tmp_path / "run", tiny_videos, latency, ("0.0075:0.008",))
    arch = found.architecture
    assert within(latency, [arch])
    assert FLOPS.low <= arch.macs() <= FLOPS.high
    # written with four decimals
    assert arch.cost["latency_ms"] == pytest.approx(TABLE.total(SPACE.index([arch]))[0] / 1e6, abs=1e-4)
    assert "made up" in str(arch.found["latency_on"])
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(record["expected_latency_ms"] > 0 and record["latency_beta"] > 0 for record in records)
    again = read_search(tmp_path / "run")
    assert again.latency == latency
    shown(tmp_path / "run", latency)
    assert derive(again) == arch
    other = typical(0.8, 0.9)
    assert within(other, [derive(again, FLOPS, other)])
    alone = derive(again, None, LatencyRange(FILE, CostRange(TABLE.smallest()[0], TABLE.smallest()[0])))
    assert "range" not in alone.found
    file = tmp_path / "t.json"
    file.write_bytes(msgspec.json.encode(FILE))
    low, high = (end / 1e6 for end in other.range)
    assert main(["derive", str(tmp_path / "run"), "--latency", f"{low}:{high}"]) == 0  # by the table that it has kept
    (written,) = (tmp_path / "run").glob("architecture-*ms.yaml")
    assert "latency_ms" in written.read_text()


def shown(run: Path, latency: LatencyRange) -> None:
    """What others make of a search with a range of latency."""
    found, arch = read_search(run), load_architecture(run / "architecture.yaml")
    height = len(matplotlib.image.imread(io.BytesIO(search_curve(run / "metrics.jsonl", found, arch)), format="png"))
    assert height > 800  # a row more
    page = str(curves([read_run(run)]))
    assert f"found: {arch.cost['latency_ms']:.4g} ms" in page
    assert page.index("Expected latency, ms") < page.index("P(in both ranges)")
    supernet = open_supernet(run, "sparse")
    assert supernet.latency == LatencyRange(FILE, latencies_of(found)[0])
    job = random_baseline._flags(_parser("random-baseline").parse_args(["random-baseline", "--searched", str(run)]))
    assert job.latency == latency
    assert job.flops is not None
    assert job.flops.low < arch.macs() < job.flops.high


def test_a_stopped_search_goes_on_to_the_same_end_and_no_other(tiny_videos: Path, tmp_path: Path) -> None:
    class Stop(Progress):
        def update(self, done: int, status: str, metrics: dict[str, float]) -> None:
            assert " ms" in status
            if done == 4:  # saved is step 3, the first of the two of a part
                raise KeyboardInterrupt

    latency = typical(flops=None)
    whole = searched(tmp_path / "whole", tiny_videos, latency, (), steps=2)
    with pytest.raises(Exception, match="stopped at once"):
        searched(tmp_path / "halves", tiny_videos, latency, (), steps=2, progress=Stop())
    other = LatencyRange(made_up(SPACE, overhead=8), latency.range)
    with pytest.raises(RunError, match=r"latency\.table"):
        searched(tmp_path / "halves", tiny_videos, other, (), steps=2, resume=True)
    halves = searched(tmp_path / "halves", tiny_videos, latency, (), steps=2, resume=True)
    assert halves.architecture == whole.architecture
    assert within(latency, [whole.architecture])
    for name, alpha in read_search(tmp_path / "whole").alpha.items():
        assert np.array_equal(alpha, read_search(tmp_path / "halves").alpha[name])
    betas = [
        [json.loads(line)["latency_beta"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
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
    given = [str(file) if word == "T" else word for word in words]
    common = ["--space", "tiny", "--data", str(tiny_videos), "-o", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr("autovid.cluster.run_workers", None)  # nothing is started on Ray
    for command in ("search", "search --workers 2", "random-baseline"):
        more = ["--flops", "0.0075:0.008"] if command == "random-baseline" and "--flops" not in words else []
        assert main([*command.split(), *common, *given, *more]) == code
        error = capsys.readouterr().err.strip()
        assert says in error
        assert "\n" not in error
        assert not (tmp_path / "out").exists()
