"""Which evaluation of a training the report names."""

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from autovid.report.accuracy import _measured
from autovid.report.runs import Run
from autovid.report.summary import comparison, summary, views_label
from autovid.run import RunDirectory
from autovid.train import Evaluation


def evaluation(views: str, number: int) -> Evaluation:
    texts: dict[str, Any] = dict.fromkeys(("architecture", "data", "fingerprint", "convention"), "")
    numbers = dict.fromkeys(
        ("step", "steps", "videos", "decoded", "frames", "stride", "crop", "params", "macs_per_view"), 1
    )
    figures = dict.fromkeys(("top1", "top5", "gflops_per_view", "gflops_per_video"), 1.0)
    return Evaluation(split="val", views=views, views_per_video=number, **texts, **numbers, **figures)


@pytest.mark.parametrize(
    ("counts", "best", "said"),
    [
        ({"center": 1}, "center", "centre view"),
        ({"center": 1, "center@256": 1}, "center@256", "centre view, center@256"),
        ({"center": 1, "center@256": 1, "10-lcr": 30}, "10-lcr", "10-lcr, 30 views each"),
    ],
)
def test_the_most_views_count_and_of_equals_the_short_side_that_was_asked_for(
    counts: dict[str, int], best: str, said: str
) -> None:
    files = tuple((Path(f"evaluation-{views}.json"), evaluation(views, number)) for views, number in counts.items())
    run = Run(Path("run"), "run", None, (), (), (), evaluations=files)  # type: ignore[arg-type]
    assert run.best is not None
    assert run.best[1].views == best
    assert views_label(run.best[1]) == said


def test_runs_of_other_views_and_lengths_are_compared_as_they_are() -> None:
    """In the centre view, which all have, and with their epochs; a single run keeps its best."""

    def run(name: str, epochs: float, *views: str) -> Run:
        files = tuple((Path(f"evaluation-{one}.json"), evaluation(one, number + 1)) for number, one in enumerate(views))
        directory = RunDirectory(Path(name), {"kind": "train", "recipe": {"epochs": epochs}}, None)
        return Run(Path(name), name, directory, (), (), (), evaluations=files)

    one, other = run("one", 8, "center", "3-lcr"), run("other", 4, "center")
    points, legend = _measured([one, other])
    assert ["center" in point.title for point in points] == [True, True]
    assert [entry.name for entry in legend] == [
        "<bdi>one</bdi>, 8 epochs: trained",
        "<bdi>other</bdi>, 4 epochs: trained",
    ]
    assert ["3-lcr" in point.title for point in _measured([one])[0]] == [True]
    assert "epochs" not in _measured([one])[1][0].name


def test_the_accuracy_on_test_stands_beside_that_on_val() -> None:
    """In the views of the best one on val, where it was measured in these."""

    def run(name: str, tests: tuple[Evaluation, ...], **changes: Any) -> Run:
        directory = RunDirectory(Path(name), {"kind": "train", "data": "mine"}, None)
        val = replace(evaluation("center", 1), **changes)
        return Run(Path(name), name, directory, (), (), (), evaluations=((Path("e.json"), val),), tests=tests)

    center = replace(evaluation("center", 1), split="test", top1=47.123, decoded=9)
    lcr = replace(evaluation("10-lcr", 30), split="test", top1=50.0)
    both, other, none = run("both", (lcr, center)), run("other", (lcr,)), run("none", (), mean_ap=33.0)
    said = summary([both])
    assert "On test, which has chosen nothing: <b>47.1 %</b> of 9 videos (centre view)." in said
    assert "On test" not in summary([none])
    table = comparison([both, other, none])
    assert table is not None
    rows = {cells[0]: cells[1:] for line in table.split("<tr>") if (cells := re.findall(r"<t[hd]>(.*?)</t", line))}
    assert rows["test: top-1 (%)"] == ["47.12", "50.00 (10-lcr)", ""]
    assert rows["mAP (%)"] == ["", "", "33.00"]
