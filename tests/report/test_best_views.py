"""Which evaluation of a training the report names."""

from pathlib import Path
from typing import Any

import pytest

from autovid.report.accuracy import _measured
from autovid.report.runs import Run
from autovid.report.summary import views_label
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
