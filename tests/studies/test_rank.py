"""Supernet against training from scratch: the figures, the weights that are used, and what is refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from tolerance import DEEP

from autovid.cli import main
from autovid.data import open_videos
from autovid.errors import ConfigError, DataError
from autovid.kernels.compute import Compute
from autovid.models import build_space, inherit
from autovid.search import parse_constraints, search, settings_for
from autovid.space import load_space
from autovid.studies import open_supernet, rank
from autovid.studies.correlation import kendall
from autovid.studies.rank import RankedArchitecture, Ranking, rank_png

pytestmark = pytest.mark.slow

SPACE = load_space("tiny")
TRAINING = ["--epochs", "0.3", "--batch", "8", "--frames", "8", "--crop", "24", "--stride", "1", "--recipe", "proxy"]
TRAINING += ["--device", "cpu", "--precision", "fp32", "--decoders", "0"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Path:
    small: dict[str, Any] = {
        "steps": 1,
        "samples": 2,
        "alpha_every": 1,
        "open_prior": "quarter",
        "batch": 4,
        "crop": 16,
        "jitter": (16, 20),
        "seed": 3,
    }
    settings = settings_for(SPACE, proxy=True, videos=12, **small)
    out = tmp_path_factory.mktemp("rank") / "search"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autovid.search.run.search_curve", lambda *args: b"")
        constraints = parse_constraints(SPACE, {"flops": "0.0075:0.008"})
        how = {"device": "cpu", "precision": "fp32", "source": str(tiny_videos)}
        search(SPACE, open_videos(tiny_videos), settings, out, constraints=constraints, **how)
    return out


def test_architectures_of_a_part_are_ranked_both_ways(
    searched: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "rank",
        str(searched),
        "-n",
        "3",
        "--part",
        "sparse",
        "--data",
        str(tiny_videos),
        "-o",
        str(tmp_path / "r"),
    ]
    assert main([*words, *TRAINING]) == 0
    shown = capsys.readouterr().out
    assert shown.index("The supernet is at chance: ") < shown.index("3 of 3 architectures of part sparse of tiny")
    content = json.loads((tmp_path / "r" / "rank.json").read_text())
    rows = content["architectures"]
    assert len({entry["hash"] for entry in rows}) == 3
    (constraint,) = open_supernet(searched, "sparse").constraints
    low, high = constraint.range
    assert all(low <= entry["macs"] <= high for entry in rows)
    assert all((tmp_path / "r" / f"arch-{entry['hash']}" / "evaluation-center.json").is_file() for entry in rows)
    assert content["evidence"].startswith("The supernet is at chance: ")
    assert set(content["correlations"]) == {"supernet", "recalibrated", "macs", "params", "synaptic_flow"}
    assert all(entry["params"] > 1000 and 0 < entry["synaptic_flow"] < 100 for entry in rows)
    assert "MACs alone: " in shown
    assert matplotlib.image.imread(tmp_path / "r" / "plot.png").shape[1] == 1200
    assert main([*words, *TRAINING, "--resume"]) == 0
    again = json.loads((tmp_path / "r" / "rank.json").read_text())
    assert again == content


def test_what_the_supernet_has_said_is_kept_when_it_is_stopped(
    searched: Path,
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def seen(supernet: Any, arch: Any, *args: object) -> RankedArchitecture:
        asked.append(arch.hash)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return RankedArchitecture(arch.hash, 1, 1, 1.0, 10.0 * len(asked), 20.0)

    monkeypatch.setattr(sys.modules["autovid.studies.rank"], "_evaluate", seen)
    monkeypatch.setattr("autovid.studies.by_training.Job.run", lambda *args: "not trained here")
    words = ["rank", str(searched), "-n", "4", "--part", "sparse"]  # on the videos of the search
    words += ["-o", str(tmp_path / "r"), *TRAINING]
    assert main(words) == 130
    assert "stopped; what is known is kept. Go on with: autovid " in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert len(asked) == 5
    assert asked[2] == asked[3]
    content = json.loads((tmp_path / "r" / "rank.json").read_text())["architectures"]
    assert [entry["supernet"] for entry in content] == [10.0, 20.0, 40.0, 50.0]


def test_the_weights_are_those_of_the_part_at_its_end(searched: Path, tiny_videos: Path) -> None:
    """By default of the joint phase; an architecture runs as the supernet routed to it."""
    assert open_supernet(searched).part == "joint"
    assert open_supernet(searched).space == SPACE
    supernet = open_supernet(searched, "dense")
    fixed = {d.name for d in supernet.space.decisions if len(d.candidates) == 1}
    assert any(name.startswith("sparse.") for name in fixed)
    assert any(d.name.startswith("dense.") and len(d.candidates) > 1 for d in supernet.space.decisions)
    arch = supernet.space.sample(1, seed=0)[0]
    net = build_space(arch.as_space(), supernet.net.classes)
    inherit(net, supernet.net)
    x = torch.randn(2, 3, 16, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        own, routed = net.double().eval()(x), supernet.net.double().eval()(x, arch)
    assert (own - routed).norm() < DEEP * routed.norm()


def test_recalibrated_norms_have_the_architectures_own_statistics(
    searched: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autovid.studies import supernet as module

    seen: list[Any] = []
    monkeypatch.setattr(module, "evaluate_network", lambda net, *arguments, **options: seen.append(net) or Top1())  # type: ignore[func-returns-value]
    supernet, videos, compute = open_supernet(searched, "sparse"), open_videos(tiny_videos), Compute("cpu", "fp32")
    arch = supernet.space.sample(1, seed=0)[0]
    for calibrated in (False, True):
        supernet.accuracy(arch, videos, compute, calibrated)
    plain, own = (net.state_dict() for net in seen)
    theirs = build_space(arch.as_space(), supernet.net.classes)
    inherit(theirs, supernet.net)
    expected = theirs.state_dict()
    statistics = [name for name in plain if "running" in name]
    # Copies, but for the statistics.
    assert all(torch.equal(plain[name], expected[name]) for name in plain)
    assert all(torch.equal(own[name], expected[name]) for name in plain if name not in statistics)
    assert all(not torch.equal(own[name], expected[name]) for name in statistics)


class Top1:
    top1 = 0.0


def test_correlations_leave_out_what_has_no_accuracy() -> None:
    ranking = Ranking("tiny", "sparse", 5, "few", "alone for 1 epoch")
    pairs = [(10.0, 20.0, 30.0), (20.0, 10.0, 40.0), (30.0, 40.0, 50.0), (40.0, 30.0, 60.0), (50.0, 50.0, None)]
    ranking.entries = [RankedArchitecture(str(i), 1, 9 - i, float(i), *pair) for i, pair in enumerate(pairs)]
    correlations = ranking.correlations()
    assert correlations["supernet"]["Kendall's tau-b"]["value"] == 1
    assert correlations["recalibrated"]["Kendall's tau-b"]["value"] == kendall(
        [2, 1, 4, 3], [1, 2, 3, 4]
    )  # the same ratio
    assert not np.isfinite(correlations["recalibrated"]["Spearman's rho"]["interval"]).any()
    assert ranking.lines()[0].startswith("4 of 5 architectures")
    ranking.data = r"$\frac$"
    ranking.entries = [RankedArchitecture(str(i), 1, 9 - i, 1.0, 8.0, i, 10.0 + i) for i in range(3)]
    assert ranking.lines()[1] == "supernet: no ranking, since all have the same accuracy, there or alone"
    assert ranking.lines()[2] == (
        "recalibrated: Kendall's tau-b 1.00 (no interval from so few), Spearman's rho 1.00 (no interval from so few)"
    )
    assert ranking.lines()[3].startswith("MACs alone: no ranking, since all have the same value")
    assert ranking.lines()[4].startswith("parameters alone: Kendall's tau-b -1.00")
    ranking.entries[1].recalibrated = 0.0
    assert ranking.lines()[2].endswith("; 1 of 3 pairs are tied")
    ranking.entries = ranking.entries[:1]
    assert len(ranking.lines()) == 1
    ranking.evidence = "The supernet is better than chance: " + 40 * "a loss "
    assert ranking.lines()[0] == ranking.evidence
    assert len(rank_png(ranking)) > 1000


def test_what_cannot_be_ranked_is_refused(searched: Path, tiny_videos: Path, tmp_path: Path) -> None:
    from autovid.studies import Trainer
    from autovid.train import make_recipe

    supernet = open_supernet(searched, "sparse")
    recipe = make_recipe(supernet.space, name="proxy")
    with pytest.raises(ConfigError, match="there is no such part"):
        open_supernet(searched, "nothing")
    with pytest.raises(ConfigError, match="give 3 to 10,000"):
        rank(supernet, 2, Trainer(open_videos(tiny_videos), "x", recipe), tmp_path / "r")
    other = replace(supernet, fingerprint="of other data")
    with pytest.raises(DataError, match="other data"):
        rank(other, 3, Trainer(open_videos(tiny_videos), "x", recipe), tmp_path / "r")
    assert not (tmp_path / "r").exists()
